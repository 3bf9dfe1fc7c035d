"""Pages of printed digits as a camera sees them: perspective, a shadow, blur, noise."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.data.sources.glyphs import load_font

HEIGHT, WIDTH = 900, 700
MARGIN, SPACING = 100, 50  # pixels around the text, and from line to line
PAPER = 235


class Look(NamedTuple):
    """How a page is photographed.

    Args:
        tilt: Most that a corner moves, as a share of the page's side.
        shadow: Share of the light that is missing where the shadow is darkest.
        blur: Standard deviation of the blur, in pixels.
        noise: Standard deviation of the noise, in grey values.
    """

    tilt: float
    shadow: float
    blur: float
    noise: float


LOOKS = {"mild": Look(0.02, 0.25, 0.5, 6.0), "strong": Look(0.08, 0.6, 1.2, 20.0)}


def draw_page(rng: np.random.Generator, fonts: Sequence[str], look: Look) -> tuple[np.ndarray, list[str]]:
    """Draw 14 lines of 6 to 20 digits, each in a font and a size of its own, and photograph the page.

    Args:
        rng: Generator.
        fonts: Names among `jaxcnn.data.sources.glyphs.FONTS`.
        look: How it is photographed.

    Returns:
        The page, uint8 (900, 700, 1), and its lines.

    >>> page, lines = draw_page(np.random.default_rng(0), ["DejaVuSans"], LOOKS["mild"])
    >>> page.shape, len(lines)
    ((900, 700, 1), 14)
    """
    from PIL import Image, ImageDraw
    from scipy import ndimage

    page, lines = Image.new("L", (WIDTH, HEIGHT), PAPER), list[str]()
    for top in range(MARGIN, HEIGHT - MARGIN, SPACING):
        lines.append("".join(map(str, rng.integers(0, 10, rng.integers(6, 21)))))
        font = load_font(fonts[int(rng.integers(len(fonts)))], int(rng.integers(24, 37)))
        ImageDraw.Draw(page).text((MARGIN, top), lines[-1], fill=int(rng.integers(10, 80)), font=font)
    corners = np.array([(0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT)], np.float64)
    moved = corners + look.tilt * rng.uniform(-1, 1, (4, 2)) * (WIDTH, HEIGHT)
    seen = page.transform(page.size, Image.Transform.PERSPECTIVE, _perspective(corners, moved).tolist(),
                          Image.Resampling.BICUBIC, fillcolor=PAPER)  # fmt: skip
    # Light falls off smoothly over a half-plane.
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    angle, edge = rng.uniform(0, 2 * np.pi), rng.uniform(-0.5, 0.5)
    light = 1 - look.shadow / (1 + np.exp(-8 * (x * np.cos(angle) + y * np.sin(angle) - edge)))
    photo = ndimage.gaussian_filter(np.asarray(seen, np.float64) * light, look.blur)
    photo += rng.normal(0, look.noise, photo.shape)
    return np.rint(photo.clip(0, 255)).astype(np.uint8)[..., None], lines


def _perspective(corners: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """Return Pillow's eight coefficients (a .. h) of the perspective that maps corners (4, 2) to moved ones.

    (x, y) becomes ((a x + b y + c) / (g x + h y + 1), (d x + e y + f) / (g x + h y + 1)).
    """
    rows = []
    for (x, y), (u, v) in zip(corners, moved, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    return np.linalg.solve(np.array(rows), moved.ravel())
