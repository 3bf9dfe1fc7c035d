"""One key an example, and what every augmentation of pixels does around its own arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

Augment = Callable[..., jax.Array]
"""(key, images, start=0) -> images; `start` is the position of the first image in the whole batch."""

Change = Callable[[jax.Array, jax.Array], jax.Array]
"""(key, image (H, W, C) float32) -> image."""

WHITE = 255.0  # pixels are 0 .. 255, whatever their type


def example_keys(key: jax.Array, count: int, start: int | jax.Array = 0) -> jax.Array:
    """One key an example: fold_in(key, start + i) for i in range(count)."""
    positions = jnp.asarray(start, jnp.uint32) + jnp.arange(count, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, positions)


def per_example(
    change: Change, key: jax.Array, images: jax.Array, start: int | jax.Array = 0, *, branches: bool = False
) -> jax.Array:
    """Change each image with its own key, in float32; values stay within 0 .. 255 and integers are rounded.

    Args:
        change: (key, image (H, W, C) float32) -> image of the same shape.
        key: Random key of the step.
        images: (N, H, W, C), uint8 or float, pixel values 0 .. 255.
        start: Position of the first image in the whole batch.
        branches: Whether `change` chooses between costly branches by `lax.switch`; see `_in_turn`.

    Returns:
        Images of the same shape and dtype.
    """
    keys, values = example_keys(key, images.shape[0], start), images.astype(jnp.float32)
    if branches:
        changed = lax.platform_dependent(keys, values, cpu=partial(_in_turn, change), default=jax.vmap(change))
    else:
        changed = jax.vmap(change)(keys, values)
    changed = jnp.clip(changed, 0.0, WHITE)
    if jnp.issubdtype(images.dtype, jnp.integer):
        changed = jnp.round(changed)
    return changed.astype(images.dtype)


def _in_turn(change: Change, keys: jax.Array, images: jax.Array) -> jax.Array:
    """One example after another, each with its one branch.

    Under vmap a switch computes all its branches for every example. An accelerator does that faster than one small
    image at a time; on a CPU RandAugment of 128 CIFAR images took twelve times as long.
    """
    return lax.map(lambda example: change(*example), (keys, images))
