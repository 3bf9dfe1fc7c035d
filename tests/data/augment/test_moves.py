"""Masks move with their images: exactly where pixels are only moved, else by the places of the pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.data.augment import AUGMENTATIONS, MOVES, example_keys, make_augment, make_move, make_move_boxes
from jaxcnn.data.boxes import boxes_of
from jaxcnn.errors import InputError

N, H, W = 6, 24, 32
KEY = jax.random.key(5)
GRID = np.stack(np.meshgrid(np.arange(H), np.arange(W), indexing="ij"), -1)  # rows and columns
MASKS = jnp.asarray(np.random.default_rng(0).integers(0, 4, (N, H, W)), jnp.uint8)


def moved(names, images, masks, start=0):
    return make_augment(names)(KEY, images, start), make_move(names)(KEY, masks, start)


@pytest.mark.parametrize("names", [("flip",), ("crop",), ("translate",), ("crop", "flip", "translate")])
def test_moved_pixels_keep_their_classes(names):
    """The image shows the mask itself, plus one: it must show the moved mask; black edges have no class."""
    images, masks = moved(names, (MASKS + 1)[..., None], MASKS)
    known = np.asarray(masks) != 255
    np.testing.assert_array_equal(np.asarray(images)[..., 0][known], np.asarray(masks)[known] + 1)
    np.testing.assert_array_equal(np.asarray(images)[..., 0][~known], 0)
    assert bool((~known).any()) == ("crop" in names)
    assert (np.asarray(masks) != np.asarray(MASKS)).any()


def test_instances_move_with_their_boxes():
    instances = np.zeros((N, H, W), np.uint8)
    instances[:, 4:10, 6:18], instances[:, 12:20, 20:24] = 1, 2
    shares = np.float32([[4, 6, 10, 18], [12, 20, 20, 24]]) / np.float32([H, W, H, W])
    boxes = jnp.tile(jnp.asarray(shares)[None], (N, 1, 1))
    names, labels = ("vertical_flip", "crop"), jnp.zeros((N, 2), jnp.int32)
    move_boxes = jax.jit(make_move_boxes(names), static_argnames="size")
    its, kept = map(np.asarray, move_boxes(KEY, boxes, labels, size=(H, W)))
    seen = np.asarray(jax.jit(make_move(names, fill=0))(KEY, jnp.asarray(instances)))
    assert set(np.unique(seen)) == {0, 1, 2}
    for n, k in np.argwhere(np.asarray(kept) >= 0):
        assert np.allclose(boxes_of([seen[n] == k + 1])[0], its[n, k] * np.array([H, W, H, W]), atol=1e-3)


@pytest.mark.parametrize(("name", "within"), [("resized_crop", 0.51), ("affine", 0.02), ("elastic", 0.02)])
def test_mixed_pixels_show_the_places_that_masks_take(name, within):
    """An image of its own rows and columns shows where each pixel comes from.

    `resized_crop` mixes no pixels beyond its box: at the box's edges, half a pixel.
    """
    images = jnp.broadcast_to(jnp.asarray(GRID, jnp.float32), (N, H, W, 2))
    found = np.asarray(make_augment((name,))(KEY, images))
    keys = example_keys(jax.random.fold_in(KEY, 0), N)
    rows, columns = (np.asarray(each) - 0.5 for each in jax.vmap(lambda key: MOVES[name](key, (H, W)))(keys))
    inner = (rows > 0.5) & (rows < H - 1.5) & (columns > 0.5) & (columns < W - 1.5)
    assert inner.mean() > 0.3
    np.testing.assert_allclose(found[..., 0][inner], rows[inner], atol=within)
    np.testing.assert_allclose(found[..., 1][inner], columns[inner], atol=within)
    numbers = jnp.broadcast_to(jnp.arange(H, dtype=jnp.uint8)[:, None], (N, H, W))
    taken = np.asarray(make_move((name,))(KEY, numbers)).astype(int)
    assert (np.abs(taken[inner] - rows[inner]) <= 0.5 + 1e-3).all()


def test_colours_and_holes_leave_masks_as_they_are():
    for name in ("color_jitter", "cutout"):
        np.testing.assert_array_equal(make_move((name,))(KEY, MASKS), MASKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MOVES))
def test_an_example_moves_alone(name):
    """The same on any number of devices: an example's place in the batch decides, not its neighbours."""
    move = jax.jit(make_move((name,)))
    whole = move(KEY, MASKS, 0)
    np.testing.assert_array_equal(move(KEY, MASKS[4:], 4), whole[4:])
    assert whole.dtype == jnp.uint8


def test_an_augmentation_without_a_move_is_refused():
    assert set(AUGMENTATIONS) - set(MOVES) == {"randaugment"}
    with pytest.raises(InputError, match="does not move masks"):
        make_move(("flip", "randaugment"))(KEY, MASKS)
