"""Apply a function to each example of a batch with a random key of its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Augment = Callable[..., jax.Array]
"""(key, images, start=0) -> images of the same shape and dtype.

`key` is the random key of the step, `images` (N, H, W, C) uint8 or float with pixel values 0 .. 255, and `start` the
position of the first image in the whole batch if `images` is the part of one device.
"""

Change = Callable[[jax.Array, jax.Array], jax.Array]
"""(key, image (H, W, C) float32) -> image of the same shape."""

WHITE = 255.0  # pixel values are 0 .. 255, whatever their dtype


def example_keys(key: jax.Array, count: int, start: int | jax.Array = 0) -> jax.Array:
    """Return one key per example: fold_in(key, start + i) for i in range(count)."""
    positions = jnp.asarray(start, jnp.uint32) + jnp.arange(count, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, positions)


def per_example(
    change: Change, key: jax.Array, images: jax.Array, start: int | jax.Array = 0, *, branches: bool = False
) -> jax.Array:
    """Apply `change` to each image in float32; clip the result to 0 .. 255 and round it for integer images.

    Set `branches` if `change` chooses between costly branches by `lax.switch`. Under vmap a switch computes all its
    branches for every example. An accelerator does that faster than one small image at a time; on a CPU RandAugment of
    128 CIFAR images took twelve times as long, so there examples are computed one by one.
    """
    keys, values, together = example_keys(key, images.shape[0], start), images.astype(jnp.float32), jax.vmap(change)

    def one_by_one(keys: jax.Array, values: jax.Array) -> jax.Array:
        return lax.map(lambda example: change(*example), (keys, values))

    if branches:
        changed = lax.platform_dependent(keys, values, cpu=one_by_one, default=together)
    else:
        changed = together(keys, values)
    changed = jnp.clip(changed, 0.0, WHITE)
    if jnp.issubdtype(images.dtype, jnp.integer):
        changed = jnp.round(changed)
    return changed.astype(images.dtype)
