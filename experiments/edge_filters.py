"""Edge filters by hand: Sobel, Laplace and Gabor on a letter and on a photograph.

Runtime: seconds.
Expected: edge_filters.png: Sobel finds edges of one direction, Laplace thin lines, Gabor stripes of one direction.
"""

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_sample_image

from jaxcnn import ops
from jaxcnn.cli import launch
from jaxcnn.data import load
from jaxcnn.pictures.gallery import Row, gallery
from jaxcnn.pictures.style import write_png
from jaxcnn.pictures.tiles import photo, signed_image
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import DataConfig


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    letter: int = 10  # index in the test split of the drawn characters
    wavelength: float = 6.0  # of the Gabor filters, in pixels
    out: Path = Path("runs/edge_filters")


SMOKE = Config()


def gabor(angle: float, size: float) -> np.ndarray:
    """Return a wave of wavelength `size` under a Gaussian, mean 0; its stripes stand upright at angle 0."""
    y, x = np.mgrid[-7:8, -7:8]
    wave = np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / size) * np.exp(-2 * (x**2 + y**2) / size**2)
    return wave - wave.mean()


def main(config: Config) -> None:
    sobel, laplace = np.outer([1, 2, 1], [-1, 0, 1]), np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    filters = {"Sobel, rightwards": sobel, "Sobel, downwards": sobel.T, "Laplace": laplace}
    filters |= {f"Gabor, {n}°": gabor(np.deg2rad(n), config.wavelength) for n in (0, 45, 90)}
    kernels = np.stack([np.pad(f, (15 - len(f)) // 2) for f in filters.values()], axis=-1)[:, :, None]
    rows = list[Row]()
    config.out.mkdir(parents=True, exist_ok=True)
    letter = load(DataConfig("glyphs", size=64)).load_test()["images"][config.letter]
    for name, image in {"letter": letter, "photo": load_sample_image("china.jpg")[::2, ::2]}.items():
        grey = jnp.asarray(image, jnp.float32).mean(axis=-1)[None, :, :, None] / 255
        maps = np.asarray(ops.conv2d(grey, jnp.asarray(kernels, jnp.float32), padding="SAME")[0]).transpose(2, 0, 1)
        write_json(config.out / f"{name}.json", dict(zip(filters, np.abs(maps).mean((1, 2)).tolist(), strict=True)))
        rows.append(Row([photo(image), *map(signed_image, maps)], name, ["image", *filters]))
    write_png(gallery(rows, columns=4), config.out / "edge_filters.png")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
