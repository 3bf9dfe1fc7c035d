"""Whitening: the linear map after which patches of images have uncorrelated components of equal size."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxcnn.errors import InputError


def whitening_kernel(images: jax.Array, size: int = 2, *, epsilon: float = 5e-4) -> jax.Array:
    """Compute the kernel of a convolution that whitens patches; the negatives of all components follow them.

    The components are the eigenvectors v of the patches' second moments, each over sqrt(eigenvalue + epsilon): without
    the negatives and with epsilon = 0 the outputs have the identity as their second moments. The negatives let an
    activation such as ReLU or GELU keep both signs.

    Args:
        images: (N, H, W, C) float, normalised: their mean is taken to be zero.
        size: Side of the patches.
        epsilon: Keeps components that hardly vary from being blown up.

    Returns:
        (size, size, C, 2 size^2 C) float32: components from the largest eigenvalue down, then their negatives.

    Raises:
        InputError: No patch of that size fits.

    Reference:
        Page, "How to train your ResNet 8: bag of tricks", 2019; Jordan 2024, arXiv:2404.00498, section 3.2.

    >>> whitening_kernel(jax.random.normal(jax.random.key(0), (8, 6, 6, 3))).shape
    (2, 2, 3, 24)
    """
    n, height, width, channels = images.shape
    if n == 0:
        raise InputError(f"images of shape {images.shape}: there are none; give one at least")
    if size < 1 or min(height, width) < size:
        raise InputError(f"size={size}: no such patch fits into images of shape {images.shape}; give smaller patches")
    rows, columns = height - size + 1, width - size + 1
    taps = [images[:, y : y + rows, x : x + columns] for y in range(size) for x in range(size)]
    patches = jnp.concatenate(taps, axis=-1).reshape(-1, size * size * channels).astype(jnp.float32)
    moments = jnp.matmul(patches.T, patches, precision="highest") / len(patches)
    values, vectors = jnp.linalg.eigh(moments)
    components = (vectors / jnp.sqrt(jnp.maximum(values, 0) + epsilon)[None, :])[:, ::-1]
    return jnp.concatenate([components, -components], axis=1).reshape(size, size, channels, -1)
