"""Small pictures with shades, noise and grey, and their forms in JAX, NumPy and Pillow."""

import jax.numpy as jnp
import numpy as np
from PIL import Image

RNG = np.random.default_rng(0)
SMOOTH = np.linspace(20, 200, 24)[:, None, None] + np.linspace(-15, 40, 20)[None, :, None] * np.array([1, -0.5, 0.3])
PHOTO = np.clip(SMOOTH + RNG.normal(0, 12, SMOOTH.shape), 0, 255).astype(np.uint8)  # (24, 20, 3), shades and noise
NOISE = RNG.integers(0, 256, (24, 20, 3)).astype(np.uint8)
GREY = PHOTO[..., :1]
IMAGES = {"photo": PHOTO, "noise": NOISE, "grey": GREY}


def floats(image):
    return jnp.asarray(image, jnp.float32)


def pillow(image):
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def array(picture):
    values = np.asarray(picture, np.float32)
    return values[..., None] if values.ndim == 2 else values


def images_of(shape, dtype="uint8"):
    return np.random.default_rng(0).integers(1, 256, shape).astype(dtype)
