"""Whitening: outputs that are uncorrelated and of one size, components as NumPy finds them."""

import jax
import numpy as np
import pytest

from jaxcnn import ops
from jaxcnn.errors import InputError


def correlated(seed, channels, n=40, side=9):
    """Smooth images: neighbouring pixels and channels depend on each other, as those of photographs do."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n, side + 2, side + 2, channels))
    smooth = noise[:, 2:, 2:] + noise[:, 1:-1, 1:-1] + 0.5 * noise[:, :-2, :-2]
    return (smooth @ rng.normal(size=(channels, channels))).astype(np.float32)


@pytest.mark.parametrize(("seed", "channels", "size"), [(0, 3, 2), (1, 1, 2), (2, 2, 3), (3, 3, 1)])
def test_patches_come_out_white(seed, channels, size):
    images = correlated(seed, channels)
    kernel = ops.whitening_kernel(images, size, epsilon=0.0)
    half = size * size * channels
    assert kernel.shape == (size, size, channels, 2 * half)
    out = np.asarray(ops.conv2d(images, kernel, padding="VALID"), np.float64).reshape(-1, 2 * half)
    np.testing.assert_allclose(out[:, :half].T @ out[:, :half] / len(out), np.eye(half), atol=2e-3)
    np.testing.assert_array_equal(kernel[..., half:], -kernel[..., :half])


def test_components_are_numpys_in_falling_order():
    images, epsilon = correlated(4, 2), 0.1
    windows = np.lib.stride_tricks.sliding_window_view(images.astype(np.float64), (2, 2), axis=(1, 2))
    patches = np.moveaxis(windows, 3, 5).reshape(-1, 8)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    expected = (vectors / np.sqrt(values + epsilon))[:, ::-1]
    found = np.asarray(ops.whitening_kernel(images, 2, epsilon=epsilon)).reshape(8, 16)[:, :8]
    signs = np.sign((found * expected).sum(axis=0))  # an eigenvector's sign is free
    np.testing.assert_allclose(found * signs, expected, rtol=1e-3, atol=1e-4)


def test_components_that_never_vary_stay_finite():
    grey = np.repeat(correlated(5, 1), 3, axis=-1)  # three equal channels: rank 4 of 12
    kernel = np.asarray(jax.jit(ops.whitening_kernel)(grey))
    assert np.isfinite(kernel).all()
    assert np.abs(kernel).max() <= 1 / np.sqrt(5e-4)


def test_patches_must_fit():
    with pytest.raises(InputError, match=r"size=4: no such patch fits into images of shape \(2, 3, 5, 1\)"):
        ops.whitening_kernel(np.zeros((2, 3, 5, 1), np.float32), 4)
