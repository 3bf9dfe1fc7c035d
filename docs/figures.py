"""Draw the pictures of the tutorial and of the start page into docs/_static: `python docs/figures.py`.

Every call draws the same pictures.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from PIL import Image

from jaxcnn import ops
from jaxcnn.data import Dataset, batch_indices, load, normalize
from jaxcnn.models import build, named
from jaxcnn.spec import DataConfig, OptimizerConfig
from jaxcnn.tasks import classification
from jaxcnn.train import make_init, make_optimizer, make_train_step

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

STATIC = Path(__file__).parent / "_static"
DIGIT = 0  # index in scikit-learn's set, a zero: its edges run in every direction
SEVENS = {"seven": 8, "seven_unclear": 5}  # indices in the test split
BLUE, GREY = "#2166ac", "#dddddd"


def digit() -> jax.Array:
    """Return one handwritten digit of scikit-learn, (1, 8, 8, 1), ink 0 to 1."""
    from sklearn.datasets import load_digits

    return jnp.asarray(load_digits().images[DIGIT][None, :, :, None] / 16, jnp.float32)


def sobel() -> jax.Array:
    """Return Sobel's two filters as kernels (3, 3, 1, 2): change to the right, change downwards."""
    right = np.outer([1, 2, 1], [-1, 0, 1])
    return jnp.asarray(np.stack([right, right.T], axis=-1)[:, :, None, :], jnp.float32)


def edges() -> Figure:
    """Draw a digit, its response to Sobel's filters, and one response after ReLU."""
    image = digit()
    maps = ops.conv2d(image, sobel(), padding=1)
    figure, axes = plt.subplots(1, 5, figsize=(9, 2.05), layout="constrained")
    grey(axes[0], image[0, :, :, 0], "digit, 8 × 8")
    signed(axes[1], maps[0, :, :, 0], "change to the right")
    signed(axes[2], maps[0, :, :, 1], "change downwards")
    grey(axes[3], jnp.sqrt(jnp.sum(maps**2, axis=-1))[0], "strength of both")
    grey(axes[4], jax.nn.relu(maps)[0, :, :, 0], "to the right, after ReLU")
    return figure


def windows() -> Figure:
    """Draw 2 × 2 windows with stride 2 on a 5 × 5 map, for VALID and for CEIL."""
    figure, axes = plt.subplots(1, 2, figsize=(6, 2.9), layout="constrained")
    for axis, padding in zip(axes, ("VALID", "CEIL"), strict=True):
        size = ops.output_size(5, 2, stride=2, padding=padding)
        for row in range(5):
            for column in range(5):
                colour = GREY if row < 2 * size and column < 2 * size else "white"
                axis.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white"))
        for row in range(size):
            for column in range(size):
                corner = (2 * column + 0.06, 2 * row + 0.06)
                axis.add_patch(Rectangle(corner, 1.88, 1.88, fill=False, edgecolor=BLUE, linewidth=2))
        axis.add_patch(Rectangle((0, 0), 5, 5, fill=False, edgecolor="black", linewidth=1))
        axis.set(xlim=(-0.1, 6.1), ylim=(6.1, -0.1), aspect="equal", title=f'"{padding}": {size} × {size} windows')
        axis.axis("off")
    return figure


def pooling() -> Figure:
    """Draw a digit under max and average pooling."""
    image = digit()
    figure, axes = plt.subplots(1, 3, figsize=(5.8, 2.15), layout="constrained")
    grey(axes[0], image[0, :, :, 0], "digit, 8 × 8", limit=1)
    grey(axes[1], ops.max_pool(image, 2)[0, :, :, 0], "maximum, 4 × 4", limit=1)
    grey(axes[2], ops.avg_pool(image, 2)[0, :, :, 0], "mean, 4 × 4", limit=1)
    return figure


def feature_maps() -> Figure:
    """Draw the maps of LeNet-5's first convolution for one test digit, before and after training."""
    data = load(DataConfig("digits", size=28))
    module, task, steps = build(named("lenet5"), 10), classification(), 72
    tx = make_optimizer(OptimizerConfig(learning_rate=0.05), total_steps=steps, steps_per_epoch=9)
    image = normalize(data.load_test()["images"][:1], data.mean, data.std)
    step = jax.jit(make_train_step(module, tx, task, prepare=lambda key, batch, start: standardise(batch, data)))
    state, before = make_init(module, tx, data.image_shape)(jax.random.key(0)), None
    for number in range(steps):
        if number == 0:
            before = first_maps(state.params, image)
        indices, mask = batch_indices(len(data.train["labels"]), 128, seed=0, step=number)
        batch = {"images": data.train["images"][indices], "labels": data.train["labels"][indices], "mask": mask}
        state, _ = step(state, batch, jax.random.key(1))
    figure, axes = plt.subplots(2, 7, figsize=(9.5, 3.1), layout="constrained")
    for row, (maps, name) in enumerate(((before, "before"), (first_maps(state.params, image), "after"))):
        grey(axes[row, 0], image[0, :, :, 0], "digit" if row == 0 else "")
        axes[row, 0].set_ylabel(f"{name} training")
        for channel in range(6):
            grey(axes[row, channel + 1], maps[0, :, :, channel], f"channel {channel + 1}" if row == 0 else "")
    return figure


def standardise(batch: dict, data: Dataset) -> dict:
    """Normalise the images as `run` does."""
    return {**batch, "images": normalize(batch["images"], data.mean, data.std)}


def first_maps(params: dict, image: jax.Array) -> jax.Array:
    """Return the maps after LeNet-5's first convolution and its ReLU, (1, 28, 28, 6)."""
    layer = params["conv1"]
    return jax.nn.relu(ops.conv2d(image, layer["kernel"], layer["bias"], padding="SAME"))


def test_digit(number: int) -> Image.Image:
    """Return a digit of the test split, 8 × 8 pixels enlarged to 112 × 112."""
    pixels = load(DataConfig("digits")).load_test()["images"][number, :, :, 0]
    return Image.fromarray(pixels).resize((112, 112), Image.Resampling.NEAREST)


def grey(axis: Axes, values: jax.Array, title: str, limit: float | None = None) -> None:
    """Show an image or a map, dark for large values; black is `limit`, by default the largest value."""
    axis.imshow(np.asarray(values), cmap="Greys", vmax=limit, interpolation="nearest")
    frame(axis, title)


def signed(axis: Axes, values: jax.Array, title: str) -> None:
    """Show a map of signed values: blue below zero, white at zero, red above."""
    limit = float(jnp.abs(values).max())
    axis.imshow(np.asarray(values), cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    frame(axis, title)


def frame(axis: Axes, title: str) -> None:
    """Set a title and remove the ticks."""
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)


def main() -> None:
    """Write every picture, or those named on the command line."""
    pictures = {"edges": edges, "windows": windows, "pooling": pooling, "feature_maps": feature_maps}
    for name in sys.argv[1:] or [*pictures, *SEVENS]:
        file = STATIC / f"{name}.png"
        if name in SEVENS:
            test_digit(SEVENS[name]).save(file)
        else:
            figure = pictures[name]()
            # Without a software line the file depends on the picture alone.
            figure.savefig(file, dpi=110, metadata={"Software": None})
            plt.close(figure)
        print(file)


if __name__ == "__main__":
    main()
