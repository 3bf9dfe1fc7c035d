"""Bilinear resizing against SciPy's interpolation, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from jaxcnn.analysis.complexity import count
from jaxcnn.errors import InputError
from jaxcnn.models import FcnHead
from jaxcnn.ops import resize_bilinear


@pytest.mark.parametrize("size", [(12, 20), (9, 7), (3, 2), (6, 5), (1, 1)])
def test_it_is_bilinear_between_pixel_centres(size):
    """The convention of torch's interpolate with align_corners=False: SciPy at (i + 1/2) old / new - 1/2."""
    x = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype(np.float32)
    places = [(np.arange(new) + 0.5) * old / new - 0.5 for old, new in zip(x.shape[1:3], size, strict=True)]
    grid = np.meshgrid(*places, indexing="ij")
    expected = np.stack(
        [[map_coordinates(x[n, ..., c], grid, order=1, mode="nearest") for c in range(3)] for n in range(2)]
    )
    np.testing.assert_allclose(resize_bilinear(jnp.asarray(x), size), expected.transpose(0, 2, 3, 1), atol=1e-5)


def test_a_constant_stays_and_gradients_spread_it():
    x = jnp.full((1, 4, 3, 2), 2.5)
    np.testing.assert_allclose(resize_bilinear(x, (11, 8)), 2.5, rtol=1e-6)
    spread = jax.grad(lambda x: resize_bilinear(x, (8, 6)).sum())(x)
    assert float(spread.sum()) == pytest.approx(8 * 6 * 2, rel=1e-5)


def test_it_costs_nothing_in_the_counts():
    """Only the head's two convolutions count: 9 x 8 x 2 and 2 x 5 per pixel of the map."""

    class Maps(FcnHead):
        def __call__(self, x, train=False):
            return super().__call__((x,), train, size=(32, 32))

    assert count(Maps(num_classes=5), (4, 4, 8)).macs == 16 * (9 * 8 * 2 + 2 * 5)


def test_bad_shapes_are_refused():
    with pytest.raises(InputError, match="must be maps"):
        resize_bilinear(jnp.zeros((2, 3)), (2, 2))
    with pytest.raises(InputError, match="at least 1 x 1"):
        resize_bilinear(jnp.zeros((1, 2, 3, 1)), (0, 2))
