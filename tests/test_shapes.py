"""The array shapes and dtypes that docstrings promise, checked by jaxtyping and beartype; chex's variants agree."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import Array, Float, Float32, Int32, UInt8, jaxtyped

from jaxcnn import ops
from jaxcnn.data import batch_indices, make_augment, normalize
from jaxcnn.tasks import classification, cross_entropy

typed = jaxtyped(typechecker=beartype)
IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 255, (4, 8, 8, 3)).astype(np.uint8))


@typed
def conv(x: Float32[Array, "n h w c"], kernel: Float32[Array, "kh kw c o"]) -> Float32[Array, "n h w o"]:
    return ops.conv2d(x, kernel)


@typed
def halved(x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 c"]:
    return ops.max_pool(x, 2)


@typed
def norm(x: Float32[Array, "n h w c"], scale: Float32[Array, " c"], bias: Float32[Array, " c"]) -> tuple[
    Float32[Array, "n h w c"], Float32[Array, " c"], Float32[Array, " c"]
]:  # fmt: skip
    return ops.batch_norm_train(x, scale, bias)


@typed
def pooled(x: Float32[Array, "n h w c"]) -> Float32[Array, "n c"]:
    return ops.global_avg_pool(x)


@typed
def entropy(logits: Float32[Array, "n k"], labels: Int32[Array, " n"]) -> Float32[Array, " n"]:
    return cross_entropy(logits, labels)


@typed
def normalised(images: UInt8[Array, "n h w c"], mean: Float32[np.ndarray, " c"]) -> Float32[Array, "n h w c"]:
    return normalize(images, mean, mean + np.float32(1))


@typed
def augmented(images: UInt8[Array, "n h w c"]) -> UInt8[Array, "n h w c"]:
    return make_augment(("flip", "crop"))(jax.random.key(0), images)


@typed
def indices(n: int, b: int) -> tuple[Int32[np.ndarray, " b"], Float32[np.ndarray, " b"]]:
    return batch_indices(n, b, seed=0, step=0)


def test_promised_shapes():
    x = normalised(IMAGES, np.zeros(3, np.float32))
    conv(x, jnp.ones((3, 3, 3, 5)))
    assert halved(x).shape == (4, 4, 4, 3)
    norm(x, jnp.ones(3), jnp.zeros(3))
    pooled(x)
    augmented(IMAGES)
    indices(10, 4)
    logits, labels = jnp.ones((4, 7)), jnp.zeros(4, jnp.int32)
    entropy(logits, labels)
    decoded = classification().decode(logits)
    chex.assert_shape((decoded["predictions"], decoded["probabilities"]), ((4,), (4, 7)))
    with pytest.raises(Exception, match="labels"):
        entropy(logits, labels.astype(jnp.float32))


class Variants(chex.TestCase):
    """Eager, jitted and mapped over devices: one function, one result."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_ops(self):
        x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 6, 2)).astype(np.float32))

        def layers(x):
            y = ops.conv2d(x, jnp.ones((3, 3, 2, 3)) / 9, padding=1)
            return ops.global_avg_pool(
                ops.max_pool(jax.nn.relu(ops.batch_norm_train(y, jnp.ones(3), jnp.zeros(3))[0]), 2)
            )

        y = self.variant(layers)(x)
        chex.assert_tree_all_finite(y)
        chex.assert_trees_all_close(y, layers(x), rtol=1e-5)
