"""Where augmentations move pixels, so that masks move with their images: each draws again what its image drew.

An augmentation draws from the key of its example alone. From the same key a function here computes, for each new pixel,
the place in the old image that it shows; a mask takes the nearest pixel there.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data.augment.examples import example_keys, per_example
from jaxcnn.data.augment.geometry import crop_padding, random_box
from jaxcnn.errors import InputError
from jaxcnn.spec import UNLABELLED

Size = tuple[int, int]
Places = tuple[jax.Array, jax.Array]
"""Rows and columns (H, W) float32 in the old image, in pixels from its upper left corner: pixel i has its centre at
i + 0.5."""

TURN, SCALE, SHIFT = 15.0, 4 / 3, 0.1  # affine: degrees, factor, share of a side, at most
GRID, SPREAD = 4, 0.025  # elastic: displacements a side, and their deviation as a share of the shorter side


def flip_places(key: jax.Array, size: Size) -> Places:
    """Return the places that `flip` shows: mirrored left to right with probability one half."""
    rows, columns = _centres(size)
    return rows, jnp.where(jax.random.bernoulli(key), size[1] - columns, columns)


def vertical_flip_places(key: jax.Array, size: Size) -> Places:
    """Return the places that `vertical_flip` shows: mirrored top to bottom with probability one half."""
    rows, columns = _centres(size)
    return jnp.where(jax.random.bernoulli(key), size[0] - rows, rows), columns


def crop_places(key: jax.Array, size: Size) -> Places:
    """Return the places that `crop` shows; those outside the image are its black edges."""
    return _shifted(key, size, (crop_padding(size[0]), crop_padding(size[1])))


def translate_places(key: jax.Array, size: Size) -> Places:
    """Return the places that `translate` shows, reflected at the edges."""
    rows, columns = _shifted(key, size, (max(1, round(size[0] / 16)), max(1, round(size[1] / 16))))
    # As jnp.pad: the outermost pixels are not repeated, so their centres are the mirrors.
    return _reflected(rows, size[0], 0.5), _reflected(columns, size[1], 0.5)


def resized_crop_places(key: jax.Array, size: Size) -> Places:
    """Return the places that `resized_crop` shows."""
    top, left, high, wide = random_box(key, *size, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3))
    rows, columns = _centres(size)
    scales = high.astype(jnp.float32) / size[0], wide.astype(jnp.float32) / size[1]
    return top.astype(jnp.float32) + rows * scales[0], left.astype(jnp.float32) + columns * scales[1]


def still_places(key: jax.Array, size: Size) -> Places:
    """Return each pixel's own place: augmentations that change colours alone."""
    return _centres(size)


def affine_places(key: jax.Array, size: Size) -> Places:
    """Draw a turn by up to 15 degrees, a scale from 3/4 to 4/3 (even in its logarithm) and a shift by up to a tenth."""
    drawn = jax.random.uniform(key, (4,), jnp.float32, -1.0, 1.0)
    angle, scale = drawn[0] * (TURN * math.pi / 180), jnp.exp(drawn[1] * math.log(SCALE))
    cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    y, x = size[0] / 2, size[1] / 2
    down, right = drawn[2] * (SHIFT * size[0]), drawn[3] * (SHIFT * size[1])
    rows, columns = _centres(size)
    rows, columns = rows - y - down, columns - x - right
    return sin * columns + cos * rows + y, cos * columns - sin * rows + x


def zoom_places(key: jax.Array, size: Size) -> Places:
    """Draw a scale from 3/4 to 4/3 (even in its logarithm) and a shift by up to a tenth: `affine` without a turn."""
    drawn = jax.random.uniform(key, (3,), jnp.float32, -1.0, 1.0)
    scale = jnp.exp(-drawn[0] * math.log(SCALE))
    y, x = size[0] / 2, size[1] / 2
    rows, columns = _centres(size)
    down, right = drawn[1] * (SHIFT * size[0]), drawn[2] * (SHIFT * size[1])
    return scale * (rows - y - down) + y, scale * (columns - x - right) + x


def elastic_places(key: jax.Array, size: Size) -> Places:
    """Draw displacements on a grid of 4x4, interpolated smoothly; beyond the edges the image is mirrored.

    They are normal with a deviation of a fortieth of the shorter side. Ronneberger et al. 2015, section 3.1 (10 of 512
    pixels on a grid of 3x3).
    """
    drawn = SPREAD * min(size) * jax.random.normal(key, (2, GRID, GRID), jnp.float32)
    smooth = jax.image.resize(drawn, (2, *size), "cubic")
    rows, columns = _centres(size)
    return _reflected(rows + smooth[0], size[0], 0.0), _reflected(columns + smooth[1], size[1], 0.0)


MOVES: dict[str, Callable[[jax.Array, Size], Places]] = {
    "flip": flip_places,
    "vertical_flip": vertical_flip_places,
    "crop": crop_places,
    "translate": translate_places,
    "resized_crop": resized_crop_places,
    "affine": affine_places,
    "zoom": zoom_places,
    "elastic": elastic_places,
    "cutout": still_places,
    "color_jitter": still_places,
}
"""(key of an example, (H, W)) -> places, by the name of the augmentation that draws the same from the same key."""


def take_nearest(labels: jax.Array, places: Places, fill: int = UNLABELLED) -> jax.Array:
    """Return a mask (H, W) whose pixels are the nearest ones to some places; `fill` outside the mask."""
    height, width = labels.shape
    row, column = (jnp.floor(place).astype(jnp.int32) for place in places)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    flat = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
    return jnp.where(inside, labels.reshape(-1)[flat], jnp.full_like(labels, fill))


def take_bilinear(image: jax.Array, places: Places) -> jax.Array:
    """Return an image (H, W, C) float32 whose pixels are means of the four around some places; black outside."""
    height, width, channels = image.shape
    row, column = places[0] - 0.5, places[1] - 0.5
    above, before = jnp.floor(row), jnp.floor(column)
    down, right = (row - above)[..., None], (column - before)[..., None]
    flat = image.reshape(height * width, channels)

    def corner(rows: jax.Array, columns: jax.Array) -> jax.Array:
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        index = jnp.clip(rows, 0, height - 1).astype(jnp.int32) * width
        return jnp.where(inside[..., None], flat[index + jnp.clip(columns, 0, width - 1).astype(jnp.int32)], 0.0)

    upper = (1 - right) * corner(above, before) + right * corner(above, before + 1)
    lower = (1 - right) * corner(above + 1, before) + right * corner(above + 1, before + 1)
    return (1 - down) * upper + down * lower


def affine_jitter(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
    """Turn, scale and shift each image (`affine_places`), bilinearly, black outside."""
    return _warp(affine_places, key, images, start)


def zoom(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
    """Scale and shift each image (`zoom_places`), bilinearly, black outside."""
    return _warp(zoom_places, key, images, start)


def elastic(key: jax.Array, images: jax.Array, start: int | jax.Array = 0) -> jax.Array:
    """Deform each image smoothly (`elastic_places`), bilinearly, mirrored at its edges."""
    return _warp(elastic_places, key, images, start)


def _warp(
    places: Callable[[jax.Array, Size], Places], key: jax.Array, images: jax.Array, start: int | jax.Array
) -> jax.Array:
    size = images.shape[1], images.shape[2]
    return per_example(lambda key, image: take_bilinear(image, places(key, size)), key, images, start)


def make_move(names: tuple[str, ...], fill: int = UNLABELLED) -> Callable[..., jax.Array]:
    """Return the function (key, masks (N, H, W), start=0) -> masks that moves them as `make_augment` does the images.

    What comes in from outside of an image has the value `fill`.
    It raises InputError when it is called, if an augmentation has no entry in `MOVES`.
    """

    def move(key: jax.Array, masks: jax.Array, start: int | jax.Array = 0) -> jax.Array:
        for i, name in enumerate(names):
            if name not in MOVES:
                known = ", ".join(MOVES)
                raise InputError(f"augment={name!r}: it does not move masks with their images; choose from {known}")
            if MOVES[name] is still_places:
                continue
            keys = example_keys(jax.random.fold_in(key, i), masks.shape[0], start)
            masks = jax.vmap(partial(_move_one, MOVES[name], fill))(keys, masks)
        return masks

    return move


def _move_one(places: Callable[[jax.Array, Size], Places], fill: int, key: jax.Array, mask: jax.Array) -> jax.Array:
    return take_nearest(mask, places(key, (mask.shape[0], mask.shape[1])), fill)


def _centres(size: Size) -> Places:
    rows, columns = np.meshgrid(*(np.arange(side, dtype=np.float32) + 0.5 for side in size), indexing="ij")
    return jnp.asarray(rows), jnp.asarray(columns)


def _shifted(key: jax.Array, size: Size, pads: tuple[int, int]) -> Places:
    """Return the places after padding by (rows, columns) and a random cut, drawn as `crop` and `translate` draw it."""
    limits = jnp.array([2 * pads[0] + 1, 2 * pads[1] + 1], jnp.int32)
    offset = jax.random.randint(key, (2,), 0, limits, jnp.int32).astype(jnp.float32)
    rows, columns = _centres(size)
    return rows + (offset[0] - pads[0]), columns + (offset[1] - pads[1])


def _reflected(places: jax.Array, side: int, edge: float) -> jax.Array:
    """Mirror places beyond `edge` and `side` - `edge` back into the image, once."""
    folded = jnp.where(places < edge, 2 * edge - places, places)
    return jnp.where(folded > side - edge, 2 * (side - edge) - folded, folded)
