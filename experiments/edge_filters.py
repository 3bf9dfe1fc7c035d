"""Edge filters by hand: Sobel, Laplace and Gabor on a letter and on a photograph.

Runtime: seconds.
Expected: edge_filters.png. Sobel answers to edges of one direction, Laplace to thin lines of all, Gabor to stripes of
one direction and width.
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
from jaxcnn.spec import DataConfig


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    letter: int = 10  # index in the test split of the drawn characters
    wavelength: float = 6.0  # of the Gabor filters, in pixels
    every: int = 2  # keep every n-th pixel of the photograph
    out: Path = Path("runs/edge_filters")


SMOKE = Config(every=8)


def gabor(angle: float, wavelength: float) -> np.ndarray:
    """Return a wave under a Gaussian, mean 0; its stripes stand upright at angle 0."""
    rows, columns = np.mgrid[-7:8, -7:8]
    wave = np.cos(2 * np.pi * (columns * np.cos(angle) + rows * np.sin(angle)) / wavelength)
    kernel = wave * np.exp(-(rows**2 + columns**2) / (2 * (wavelength / 2) ** 2))
    return kernel - kernel.mean()


def main(config: Config) -> None:
    sobel = np.outer([1, 2, 1], [-1, 0, 1])
    filters = {"Sobel, to the right": sobel, "Sobel, downwards": sobel.T, "Laplace": [[0, 1, 0], [1, -4, 1], [0, 1, 0]]}
    filters |= {f"Gabor, {n}°": gabor(np.deg2rad(n), config.wavelength) for n in (0, 45, 90)}
    letter = load(DataConfig("glyphs", size=64)).load_test()["images"][config.letter]
    rows = []
    for name, image in {
        "letter": letter,
        "photo": load_sample_image("china.jpg")[:: config.every, :: config.every],
    }.items():
        grey = jnp.asarray(image, jnp.float32).mean(axis=-1)[None, :, :, None] / 255
        maps = [
            ops.conv2d(grey, jnp.asarray(f, jnp.float32)[:, :, None, None], padding="SAME")[0, :, :, 0]
            for f in filters.values()
        ]
        rows.append(Row([photo(image), *map(signed_image, maps)], name, ["", *filters]))
    config.out.mkdir(parents=True, exist_ok=True)
    write_png(gallery(rows, columns=4), config.out / "edge_filters.png")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
