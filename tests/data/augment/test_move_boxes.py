"""Boxes move with their images: every augmentation of a picture of filled boxes gives the boxes of the new picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.data.augment import AUGMENTATIONS, MOVES, make_augment, make_move_boxes
from jaxcnn.errors import InputError

UPRIGHT = [name for name in MOVES if name not in ("affine", "elastic", "cutout", "color_jitter")]
SIZE = (48, 64)
BOXES = np.float32([[8, 12, 24, 32], [30, 20, 44, 60], [0, 40, 10, 56]]) / np.float32([48, 64, 48, 64])


def pictures(count):
    """Each box in a channel of its own, filled with white."""
    images = np.zeros((count, *SIZE, 3), np.uint8)
    for channel, box in enumerate(np.round(BOXES * np.float32([48, 64, 48, 64])).astype(int)):
        images[:, box[0] : box[2], box[1] : box[3], channel] = 255
    return jnp.asarray(images)


@pytest.mark.slow
@pytest.mark.parametrize("name", UPRIGHT)
def test_a_moved_box_is_the_box_of_the_moved_pixels(name):
    key, count = jax.random.key(3), 12
    images = jax.jit(make_augment((name,)))(key, pictures(count))
    move = jax.jit(make_move_boxes((name,)), static_argnames="size")
    labels = jnp.tile(jnp.array([[0, 1, 2, -1]]), (count, 1))
    boxes = jnp.tile(jnp.concatenate([jnp.asarray(BOXES), jnp.zeros((1, 4))])[None], (count, 1, 1))
    moved, kept = move(key, boxes, labels, size=SIZE)
    assert (kept[:, 3] == -1).all()
    seen = 0
    for image, its, label in zip(np.asarray(images), np.asarray(moved), np.asarray(kept), strict=True):
        for channel in range(3):
            rows, columns = np.nonzero(image[..., channel] > 127)
            if label[channel] < 0:
                continue
            seen += 1
            pixels = np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
            slack = 1.01 if name in ("resized_crop", "zoom") else 1e-3
            if name == "translate":  # a reflection shows more of a box at the edge
                continue
            if name == "resized_crop":
                slack = 4.0  # a pixel of the old image is several of the new one
            assert np.abs(its[channel] * np.tile(SIZE, 2) - pixels).max() <= slack
    assert seen > count


def test_flips_are_exact_and_a_crop_drops_what_is_not_seen():
    key = jax.random.key(0)
    labels = jnp.zeros((64, 1), jnp.int32)
    boxes = jnp.tile(jnp.array([[[0.1, 0.2, 0.3, 0.6]]]), (64, 1, 1))
    moved, _ = jax.jit(make_move_boxes(("flip",)), static_argnums=3)(key, boxes, labels, SIZE)
    ways = {tuple(np.round(each, 4)) for each in np.asarray(moved)[:, 0].tolist()}
    assert ways == {(0.1, 0.2, 0.3, 0.6), (0.1, 0.4, 0.3, 0.8)}
    _, kept = jax.jit(make_move_boxes(("resized_crop",)), static_argnums=3)(key, boxes * 0.3, labels, SIZE)
    assert {-1, 0} == set(np.asarray(kept).ravel().tolist())


def test_turned_boxes_hold_their_corners():
    key = jax.random.key(1)
    images = jax.jit(make_augment(("affine",)))(key, pictures(8))
    labels, boxes = jnp.tile(jnp.arange(3), (8, 1)), jnp.tile(jnp.asarray(BOXES)[None], (8, 1, 1))
    moved, kept = jax.jit(make_move_boxes(("affine",)), static_argnums=3)(key, boxes, labels, SIZE)
    for image, its, label in zip(np.asarray(images), np.asarray(moved), np.asarray(kept), strict=True):
        for channel in np.flatnonzero(label >= 0):
            rows, columns = np.nonzero(image[..., channel] > 127)
            box = its[channel] * np.tile(SIZE, 2)
            assert box[0] - 1 <= rows.min()
            assert rows.max() + 1 <= box[2] + 1
            assert box[1] - 1 <= columns.min()
            assert columns.max() + 1 <= box[3] + 1


@pytest.mark.parametrize("name", sorted(set(AUGMENTATIONS) - set(UPRIGHT) - {"affine", "cutout", "color_jitter"}))
def test_what_is_no_affine_map_is_refused(name):
    with pytest.raises(InputError, match="does not move boxes"):
        make_move_boxes((name,))(jax.random.key(0), jnp.zeros((1, 1, 4)), jnp.zeros((1, 1), jnp.int32), SIZE)
