"""RandAugment (Cubuk et al. 2020): a few operations per image, drawn from fourteen, at one strength."""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn.data.augment import colour
from jaxcnn.data.augment.examples import WHITE, per_example
from jaxcnn.data.augment.geometry import affine, rotation, warp
from jaxcnn.errors import require

GREATEST = 30  # the magnitude at which an operation reaches its greatest strength

# (signed strength -1 .. 1, (height, width)) -> coefficients of `warp`; the greatest strengths are the authors'.
GEOMETRY: Mapping[str, Callable[[jax.Array, tuple[int, int]], jax.Array]] = {
    "shear_x": lambda strength, size: affine(b=0.3 * strength),
    "shear_y": lambda strength, size: affine(d=0.3 * strength),
    "translate_x": lambda strength, size: affine(c=150 / 331 * size[1] * strength),
    "translate_y": lambda strength, size: affine(f=150 / 331 * size[0] * strength),
    "rotate": lambda strength, size: rotation(30.0 * strength, size),
}

# (image, signed strength, strength 0 .. 1 as a Python number) -> image
COLOUR: Mapping[str, Callable[[jax.Array, jax.Array, float], jax.Array]] = {
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
OPERATIONS = (*GEOMETRY, *COLOUR)


def randaugment(
    key: jax.Array, images: jax.Array, start: int | jax.Array = 0, *, count: int = 2, magnitude: float = 9
) -> jax.Array:
    """Apply `count` operations to each image, each drawn from fourteen, at one magnitude.

    The operations: identity, autocontrast, equalize, rotate (30 degrees at most), posterize (to 4 bits), solarize,
    color, contrast, brightness and sharpness (factor 0.1 to 1.9), shear (0.3) and translate (150 / 331 of the side)
    along x and y. Directions are drawn. Pixels from outside the image are black. The numbers are the authors',
    in torchvision's reading; float images are equalized by their rounded values.

    Args:
        count: Operations per image: N in Cubuk et al. 2020, arXiv:1909.13719, section 3.
        magnitude: Their M: 0 to 30, at which strengths are greatest; others raise InputError.
    """
    require(0 <= magnitude <= GREATEST, "magnitude", magnitude, f"must be from 0 to {GREATEST}")
    change = partial(augment_one, count=count, strength=magnitude / GREATEST)
    return per_example(change, key, images, start, branches=True)


def augment_one(key: jax.Array, image: jax.Array, count: int, strength: float) -> jax.Array:
    """Apply `count` random operations to one image (H, W, C) float32, values 0 .. 255, at a strength of 0 .. 1."""
    for kind, sign in jax.random.uniform(key, (count, 2), jnp.float32):
        chosen = jnp.floor(kind * len(OPERATIONS)).astype(jnp.int32)
        image = operate(image, chosen, jnp.where(sign < 0.5, 1.0, -1.0), strength)
    return image


def operate(image: jax.Array, kind: jax.Array, sign: jax.Array, strength: float) -> jax.Array:
    """Apply operation number `kind` to one image (H, W, C) float32, with `sign` 1.0 or -1.0 and `strength` 0 .. 1.

    The five geometric operations share one `warp`: their switch only chooses its six coefficients, so that a platform
    that computes all branches warps once.
    """
    signed, moves, size = sign * strength, len(GEOMETRY), (image.shape[0], image.shape[1])
    places = [lambda signed, place=place: place(signed, size) for place in GEOMETRY.values()]
    coefficients = lax.switch(jnp.minimum(kind, moves - 1), places, signed)
    warped = warp(image, coefficients)
    colours = [lambda image, signed, change=change: change(image, signed, strength) for change in COLOUR.values()]
    coloured = lax.switch(jnp.maximum(kind - moves, 0), colours, image, signed)
    return jnp.where(kind < moves, warped, coloured)
