"""Seeded drawn characters: any number of classes and images, from the fonts that ship with matplotlib."""

import functools
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.dataset import Example, Pool, Source
from jaxcnn.errors import InputError, require
from jaxcnn.spec import Size

FONTS = (
    *(f"DejaVuSans{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}" for style in ("", "Bol", "Italic", "BolIta")),
)
"""File names without .ttf; a character is drawn in the fonts that have it. DejaVu Sans has the most."""

SCRIPTS = ((0x41, 0x5A), (0x30, 0x39), (0x61, 0x7A), (0x391, 0x3C9), (0x410, 0x44F), (0x531, 0x586), (0x5D0, 0x5EA))
"""First code points: capitals, digits, small letters, Greek, Cyrillic, Armenian, Hebrew; all others follow in order."""

DEFAULT_SIZE, SMALLEST_SIZE, OVERSAMPLE = 28, 16, 3

SAME, SAME_AS_CAPITAL = 0.93, 0.6
"""Normalised drawings that overlap more (intersection over union) are one class: А and A, but also c and C."""


def glyphs_source(*, classes: int = 10, images: int = 2000, seed: int = 0, size: Size | None = None) -> Source:
    """Return drawn characters, white on black, as a source.

    Image i of all splits together shows character i % classes; it is a function of (seed, classes, size, i) alone, so a
    larger set starts with the smaller one. The default `size` is 28 pixels; of two sides, the shorter one is drawn on.
    """
    import matplotlib
    import PIL

    size = DEFAULT_SIZE if size is None else size
    smallest = min(size) if isinstance(size, tuple) else size
    require(smallest >= SMALLEST_SIZE, "size", size, f"must be at least {SMALLEST_SIZE} for characters; default: 28")
    require(seed >= 0, "data_seed", seed, "must be at least 0")
    chosen = alphabet(max(classes, 0))
    if not 2 <= classes <= len(chosen):
        most = len(alphabet(sys.maxunicode))
        raise InputError(f"classes={classes}: must be from 2 to {most}, the number of characters in the fonts")
    require(images >= 10 * classes, "images", images, f"must be at least {10 * classes} for {classes} classes")

    def read() -> Iterator[Example]:
        drawn = draw(chosen, images, seed=seed, size=size)
        for i, image in enumerate(drawn):
            yield Example(f"glyphs[{i}]", image, i % classes)

    identity = {"name": "glyphs", "classes": classes, "images": images, "seed": seed, "size": size}
    identity |= {"matplotlib": matplotlib.__version__, "pillow": PIL.__version__}  # fonts and rasteriser
    return Source("glyphs", "drawn", identity, chosen, {"train": Pool(images, read)})


def _file(font: str) -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf"))


@functools.cache
def load_font(name: str, pixels: int) -> Any:
    """Return one of `FONTS` at a size in pixels, for Pillow."""
    from PIL import ImageFont

    # The basic layout: the other one depends on whether libraqm is installed.
    return ImageFont.truetype(_file(name), pixels, layout_engine=ImageFont.Layout.BASIC)


@functools.cache
def _coverage(name: str) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(_file(name)).get_charmap())


@functools.cache
def alphabet(count: int) -> tuple[str, ...]:
    """Return the characters of the first `count` classes, fewer if the font has no more.

    A character that looks like an earlier one is left out, and so is a small letter shaped like its capital.
    """
    covered, first = _coverage(FONTS[0]), [code for low, high in SCRIPTS for code in range(low, high + 1)]
    candidates = [chr(code) for code in (*first, *sorted(covered - set(first))) if code in covered]
    kept: list[str] = []
    drawings = np.zeros((min(count, len(candidates)), 24 * 24), np.float32)
    for character in candidates:
        if len(kept) == len(drawings):
            break
        accented = unicodedata.normalize("NFKD", character) != character
        if accented or unicodedata.category(character) not in ("Lu", "Ll", "Lo", "Nd"):
            continue
        drawing, capital = draw_normalised(character).ravel(), character.upper()
        if not drawing.any() or (_overlap(drawings[: len(kept)], drawing) > SAME).any():
            continue
        small = capital != character and len(capital) == 1
        if not small or _overlap(draw_normalised(capital).ravel(), drawing) <= SAME_AS_CAPITAL:
            drawings[len(kept)] = drawing
            kept.append(character)
    return tuple(kept)


def _overlap(others: np.ndarray, drawing: np.ndarray) -> np.ndarray:
    return np.minimum(others, drawing).sum(axis=-1) / np.maximum(others, drawing).sum(axis=-1).clip(1e-6)


def draw_normalised(character: str) -> np.ndarray:
    """Draw a character in DejaVu Sans, fitted into 24x24 pixels with its proportions kept: float32, 0..1."""
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (96, 96))
    ImageDraw.Draw(canvas).text((48, 48), character, fill=255, font=load_font(FONTS[0], 48), anchor="mm")
    box = canvas.getbbox()
    if box is None:
        return np.zeros((24, 24), np.float32)
    part = canvas.crop(box)
    scale = 24 / max(part.size)
    part = part.resize([max(1, round(side * scale)) for side in part.size], Image.Resampling.BILINEAR)
    fitted = Image.new("L", (24, 24))
    fitted.paste(part, ((24 - part.width) // 2, (24 - part.height) // 2))
    return np.asarray(fitted, np.float32) / 255


def draw(characters: tuple[str, ...], count: int, *, seed: int, size: Size) -> np.ndarray:
    """Draw images, uint8 (count, height, width, 1): image i shows characters[i % len(characters)], light on dark."""
    height, width = (size, size) if isinstance(size, int) else size
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    u = np.random.Generator(np.random.Philox([seed, 1])).random((count, 10))  # row i does not depend on count
    angle, shear = np.deg2rad(30 * u[:, 1] - 15), 0.4 * u[:, 2] - 0.2
    scale = np.stack([0.8 + 0.3 * u[:, 3], 0.8 + 0.3 * u[:, 4]], axis=1)
    cos, sin = np.cos(angle), np.sin(angle)
    # Output to input, as Pillow expects it: the inverse of rotation @ shear @ scale, up to the sign of the angle.
    matrices = np.stack([np.stack([cos, -sin + shear], 1), np.stack([sin, cos], 1)], axis=1) / scale[:, :, None]
    shifts, strokes = 0.16 * u[:, 5:7] - 0.08, (3 * u[:, 7]).astype(int)
    tones, noise = 0.55 + 0.45 * u[:, 8], 0.12 * u[:, 9]
    fonts = {character: [f for f in FONTS if ord(character) in _coverage(f)] for character in characters}
    images = np.zeros((count, height, width), np.float32)
    for i in range(count):
        character = characters[i % len(characters)]
        font = fonts[character][int(u[i, 0] * len(fonts[character]))]
        drawn = _draw_one(character, font, side * OVERSAMPLE, matrices[i], shifts[i], int(strokes[i]))
        images[i, top : top + side, left : left + side] = drawn
    generator = np.random.Generator(np.random.Philox([seed, 2]))
    images = images * (tones / 255).astype(np.float32)[:, None, None]
    for image, level in zip(images, noise.astype(np.float32), strict=True):
        image += level * generator.standard_normal(image.shape, np.float32)
    return np.rint(images.clip(0, 1) * 255).astype(np.uint8)[..., None]


def _draw_one(character: str, font: str, side: int, matrix: np.ndarray, shift: np.ndarray, stroke: int) -> np.ndarray:
    """Draw a character on a canvas of side x side, transform and reduce it to (size, size), 0..255."""
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (side, side))
    centre = side / 2
    options: Any = {"font": load_font(font, round(side * 0.72)), "anchor": "mm", "stroke_width": stroke * side // 84}
    ImageDraw.Draw(canvas).text((centre, centre), character, fill=255, **options)
    (a, b), (d, e) = matrix
    dx, dy = shift * side
    offset = (centre - a * (centre + dx) - b * (centre + dy), centre - d * (centre + dx) - e * (centre + dy))
    moved = canvas.transform(
        (side, side), Image.Transform.AFFINE, (a, b, offset[0], d, e, offset[1]), Image.Resampling.BILINEAR
    )
    return np.asarray(moved.reduce(OVERSAMPLE), np.float32)
