"""RandAugment: Cubuk et al. 2020. Every image passes a few operations, drawn from fourteen, at one strength."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.data.augment import colour
from jaxcnn.data.augment.examples import WHITE, per_example
from jaxcnn.data.augment.warp import rotation, shear_x, shear_y, shift_x, shift_y, warp
from jaxcnn.errors import InputError

GREATEST = 30  # the magnitude at which an operation reaches its greatest strength

Placing = Callable[[jax.Array, tuple[int, int]], jax.Array]
Colouring = Callable[[jax.Array, jax.Array, float], jax.Array]

# (signed strength -1 .. 1, (height, width)) -> coefficients of `warp`; the greatest strengths are the authors'.
GEOMETRY: Mapping[str, Placing] = MappingProxyType(
    {
        "shear_x": lambda strength, size: shear_x(0.3 * strength),
        "shear_y": lambda strength, size: shear_y(0.3 * strength),
        "translate_x": lambda strength, size: shift_x(150 / 331 * size[1] * strength),
        "translate_y": lambda strength, size: shift_y(150 / 331 * size[0] * strength),
        "rotate": lambda strength, size: rotation(30.0 * strength, size),
    }
)

# (image, signed strength, strength 0 .. 1 as a Python number) -> image
COLOUR: Mapping[str, Colouring] = MappingProxyType(
    {
        "identity": lambda image, signed, strength: image,
        "brightness": lambda image, signed, strength: colour.brightness(image, 1.0 + 0.9 * signed),
        "color": lambda image, signed, strength: colour.saturation(image, 1.0 + 0.9 * signed),
        "contrast": lambda image, signed, strength: colour.contrast(image, 1.0 + 0.9 * signed),
        "sharpness": lambda image, signed, strength: colour.sharpness(image, 1.0 + 0.9 * signed),
        "posterize": lambda image, signed, strength: colour.posterize(image, 8 - round(4 * strength)),
        "solarize": lambda image, signed, strength: colour.solarize(image, WHITE * (1.0 - strength)),
        "autocontrast": lambda image, signed, strength: colour.autocontrast(image),
        "equalize": lambda image, signed, strength: colour.equalize(image),
    }
)
OPERATIONS = (*GEOMETRY, *COLOUR)


def randaugment(
    key: jax.Array, images: jax.Array, start: int | jax.Array = 0, *, count: int = 2, magnitude: float = 9
) -> jax.Array:
    """Apply `count` operations to each image, each drawn from fourteen, at one common magnitude.

    The operations: identity, autocontrast, equalize, rotate (30 degrees at most), posterize (to 4 bits), solarize,
    color, contrast, brightness and sharpness (factor 0.1 to 1.9), shear (0.3) and translate (150 / 331 of the side)
    along x and y. Where one has a direction, it is drawn. Pixels that come from outside the image are black. The
    numbers are the authors', in torchvision's reading; float images are equalized by their rounded values.

    Args:
        key: Random key of the step.
        images: (N, H, W, C), uint8 or float, pixel values 0 .. 255.
        start: Position of the first image in the whole batch, where `images` is one device's part.
        count: Operations an image, the paper's N.
        magnitude: The paper's M, 0 to 30, at which strengths are greatest.

    Returns:
        Images of the same shape and dtype.

    Raises:
        InputError: The magnitude lies outside 0 to 30.

    Reference:
        Cubuk et al. 2020, arXiv:1909.13719, section 3.
    """
    if not 0 <= magnitude <= GREATEST:
        raise InputError(f"magnitude={magnitude}: must be from 0 to {GREATEST}")
    change = partial(augment_one, count=count, strength=magnitude / GREATEST)
    return per_example(change, key, images, start, branches=True)


def augment_one(key: jax.Array, image: jax.Array, count: int, strength: float) -> jax.Array:
    """`count` random operations on one image (H, W, C) float32, values 0 .. 255, at a strength of 0 .. 1."""
    for kind, sign in jax.random.uniform(key, (count, 2), jnp.float32):
        chosen = jnp.floor(kind * len(OPERATIONS)).astype(jnp.int32)
        image = operate(image, chosen, jnp.where(sign < 0.5, 1.0, -1.0), strength)
    return image


def operate(image: jax.Array, kind: jax.Array, sign: jax.Array, strength: float) -> jax.Array:
    """One operation on one image.

    The five geometric operations share one sampler: their switch chooses its six coefficients only, so that a platform
    which computes all branches samples once.

    Args:
        image: (H, W, C) float32, values 0 .. 255.
        kind: Index in `OPERATIONS`.
        sign: 1.0 or -1.0.
        strength: 0 .. 1.
    """
    signed, moves, size = sign * strength, len(GEOMETRY), (image.shape[0], image.shape[1])
    places = [lambda signed, place=place: place(signed, size) for place in GEOMETRY.values()]
    coefficients = lax.switch(jnp.minimum(kind, moves - 1), places, signed)
    warped = warp(image, coefficients)
    colours = [lambda image, signed, change=change: change(image, signed, strength) for change in COLOUR.values()]
    coloured = lax.switch(jnp.maximum(kind - moves, 0), colours, image, signed)
    return jnp.where(kind < moves, warped, coloured)
