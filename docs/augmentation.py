"""Draw the pictures of the page on augmentation into docs/_static: `python docs/augmentation.py`."""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from PIL import Image

from jaxcnn.data import AUGMENTATIONS
from jaxcnn.data.augment import make_mix
from jaxcnn.data.augment.randaugment import OPERATIONS, operate
from jaxcnn.ops.drop import stochastic_depth

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

STATIC = Path(__file__).parent / "_static"
SIDE, TILES = 96, 7
KEYS = {"flip": 2, "mixup": 2, "cutmix": 2}  # seeds whose few examples differ visibly; others take 0
BLOCKS, DROP = 9, 0.5  # residual blocks of ResNet-20, share dropped in the last one


def photographs() -> jax.Array:
    """Return a temple and a flower of scikit-learn, cropped to squares, (2, 96, 96, 3) uint8."""
    from sklearn.datasets import load_sample_image

    pictures = []
    for name in ("china.jpg", "flower.jpg"):
        photograph = Image.fromarray(load_sample_image(name))
        margin = (photograph.width - photograph.height) // 2
        square = photograph.crop((margin, 0, margin + photograph.height, photograph.height))
        pictures.append(np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
    return jnp.asarray(np.stack(pictures))


def varied(name: str) -> Figure:
    """Draw a photograph and six of its variations."""
    picture = photographs()[:1]
    examples = jnp.broadcast_to(picture, (TILES - 1, *picture.shape[1:]))
    changed = AUGMENTATIONS[name](jax.random.key(KEYS.get(name, 0)), examples)
    figure, axes = tiles()
    for axis, image, title in zip(axes, [picture[0], *changed], ["original"] + [""] * (TILES - 1), strict=True):
        show(axis, image, title)
    return figure


def mixed(name: str) -> Figure:
    """Draw two photographs and mixtures of them, with the shares of their labels."""
    pictures = photographs()
    count = 2 * (TILES - 2)
    batch = {
        "images": jnp.tile(pictures, (TILES - 2, 1, 1, 1)),
        "labels": jnp.tile(jnp.arange(2, dtype=jnp.int32), TILES - 2),
        "mask": jnp.ones(count),
    }
    mix = make_mix((name,))
    assert mix is not None
    changed = mix(jax.random.key(KEYS[name]), batch)
    figure, axes = tiles()
    show(axes[0], pictures[0], "temple")
    show(axes[1], pictures[1], "flower")
    for number, axis in enumerate(axes[2:]):
        share = float(changed["share"][2 * number])
        show(axis, changed["images"][2 * number], f"{share:.2f} / {1 - share:.2f}")
    return figure


def operations() -> Figure:
    """Draw each operation of RandAugment alone, at magnitude 9 of 30."""
    picture = photographs()[0].astype(jnp.float32)
    apply = jax.jit(operate, static_argnums=3)
    figure, axes = tiles(rows=2)
    for kind, (axis, name) in enumerate(zip(axes, OPERATIONS, strict=True)):
        show(axis, apply(picture, jnp.int32(kind), jnp.float32(1.0), 9 / 30), name.replace("_", " "))
    return figure


def stochastic() -> Figure:
    """Draw which residual branches the sixteen examples of a batch pass in one step."""
    rates = DROP * np.arange(1, BLOCKS + 1) / BLOCKS
    keys = jax.random.split(jax.random.key(0), BLOCKS)
    passed = [stochastic_depth(key, jnp.ones((16, 1)), float(p))[:, 0] > 0 for key, p in zip(keys, rates, strict=True)]
    figure, axis = plt.subplots(figsize=(4.2, 3.6), layout="constrained")
    axis.pcolormesh(
        np.stack(passed, axis=1), cmap=ListedColormap(["white", "#2166ac"]), edgecolors="#dddddd", vmin=0, vmax=1
    )
    axis.set_xticks(np.arange(BLOCKS) + 0.5, [f"{rate:.2f}" for rate in rates], fontsize=8)
    axis.set(yticks=[], xlabel="residual block, by its share dropped", ylabel="examples of a batch")
    axis.invert_yaxis()
    return figure


def tiles(rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Return axes for rows of photographs, shown at about their own resolution."""
    figure, axes = plt.subplots(rows, TILES, figsize=(7.3, 1.18 * rows), layout="constrained", squeeze=False)
    return figure, list(axes.ravel())


def show(axis: Axes, image: jax.Array, title: str) -> None:
    """Show a photograph without ticks."""
    axis.imshow(np.asarray(jnp.round(image.astype(jnp.float32))).astype(np.uint8), interpolation="nearest")
    axis.axis("off")
    axis.set_title(title or " ", fontsize=8)


def main() -> None:
    """Write every picture, or those named on the command line."""
    pictures = {
        **{name: (varied, (name,)) for name in AUGMENTATIONS},
        **{name: (mixed, (name,)) for name in ("mixup", "cutmix")},
        "operations": (operations, ()),
        "stochastic_depth": (stochastic, ()),
    }
    for name in sys.argv[1:] or pictures:
        draw, arguments = pictures[name]
        figure = draw(*arguments)
        path = STATIC / f"augmentation_{name}.png"
        # Without a software line the file depends on the picture alone.
        figure.savefig(path, dpi=100, metadata={"Software": None})
        plt.close(figure)
        print(path)


if __name__ == "__main__":
    main()
