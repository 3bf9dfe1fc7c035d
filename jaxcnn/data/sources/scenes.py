"""Seeded scenes of several drawn characters: boxes and instances, occlusion, several scales; no download."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.data.boxes import boxes_of, objects
from jaxcnn.data.dataset import Example, Pool, Source
from jaxcnn.data.sources.glyphs import FONTS, _coverage, alphabet, load_font
from jaxcnn.errors import require
from jaxcnn.spec import Size

DEFAULT_SIZE, SMALLEST_SIZE = 96, 32
MOST_OBJECTS = 8
SMALLEST_GLYPH = 10
"""Height in pixels of the smallest letters; the largest are half as high as the image."""
LEAST_VISIBLE = 0.4
"""Share of its pixels of which a later character may not deprive an earlier one."""
TRIES = 4


class Scene(NamedTuple):
    """One drawn scene.

    Args:
        image: uint8 (H, W, 3).
        instances: uint8 (H, W): 0 is background, k the k-th character, as far as it is visible.
        labels: int32 (m,), the classes of the m characters.
    """

    image: np.ndarray
    instances: np.ndarray
    labels: np.ndarray


def scenes_source(*, classes: int = 10, images: int = 2000, seed: int = 0, size: Size | None = None) -> Source:
    """Return scenes of 0 to 8 characters as a source; a ninth of them are empty.

    Scene i of all splits together is a function of (seed, classes, size, i) alone. The default `size` is 96 pixels.
    """
    sides = _sides(size, classes)

    def read() -> Iterator[Example]:
        for i in range(images):
            scene = draw_scene(i, classes=classes, seed=seed, size=sides)
            boxes = boxes_of(scene.instances == k + 1 for k in range(len(scene.labels)))
            its = objects(boxes, scene.labels, sides, instances=scene.instances)
            yield Example(f"glyph_scenes[{i}]", scene.image, its)

    identity = _identity("glyph_scenes", classes, images, seed, sides) | {"instances": True}
    return Source("glyph_scenes", "drawn", identity, alphabet(classes), {"train": Pool(images, read)}, target="boxes")


def scene_masks_source(*, classes: int = 10, images: int = 2000, seed: int = 0, size: Size | None = None) -> Source:
    """Return the scenes of `scenes_source` with a mask each: class 0 is the ground, class k the k-th character."""
    sides = _sides(size, classes)

    def read() -> Iterator[Example]:
        for i in range(images):
            scene = draw_scene(i, classes=classes, seed=seed, size=sides)
            names = np.concatenate([[0], scene.labels + 1]).astype(np.uint8)
            yield Example(f"glyph_masks[{i}]", scene.image, names[scene.instances])

    identity = _identity("glyph_masks", classes, images, seed, sides)
    names = ("ground", *alphabet(classes))
    return Source("glyph_masks", "drawn", identity, names, {"train": Pool(images, read)}, target="mask")


def _sides(size: Size | None, classes: int) -> tuple[int, int]:
    size = DEFAULT_SIZE if size is None else size
    sides = (size, size) if isinstance(size, int) else size
    require(min(sides) >= SMALLEST_SIZE, "size", size, f"must be at least {SMALLEST_SIZE} for scenes; default: 96")
    most = len(alphabet(classes))
    require(1 <= classes == most, "classes", classes, f"must be from 1 to {most}, the characters of the fonts")
    return sides


def _identity(name: str, classes: int, images: int, seed: int, sides: tuple[int, int]) -> dict[str, Any]:
    import matplotlib
    import PIL

    drawn = {"name": name, "classes": classes, "images": images, "seed": seed, "size": sides}
    return drawn | {"matplotlib": matplotlib.__version__, "pillow": PIL.__version__}  # fonts and rasteriser


def draw_scene(index: int, *, classes: int = 10, seed: int = 0, size: tuple[int, int] = (96, 96)) -> Scene:
    """Draw scene number `index`: coloured characters on a shaded, noisy ground, later ones over earlier ones.

    A character that would hide more than 60 % of an earlier one is put elsewhere or left out.
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, 3, index])))
    height, width = size
    image = _ground(rng, size)
    instances, labels, areas = np.zeros(size, np.uint8), [], []
    for _ in range(int(rng.integers(0, MOST_OBJECTS + 1))):
        label, colour = int(rng.integers(classes)), rng.uniform(0.45, 1.0, 3).astype(np.float32)
        glyph = _glyph(rng, alphabet(classes)[label], min(size))
        for _ in range(TRIES):
            top, left = (int(rng.integers(-side // 6, max(whole - side + side // 6, 1))) for side, whole in
                         zip(glyph.shape, size, strict=True))  # fmt: skip
            alpha = _placed(glyph, top, left, size)
            covered = alpha > 0.5
            kept = [((instances == k + 1) & ~covered).sum() >= LEAST_VISIBLE * area for k, area in enumerate(areas)]
            if covered.sum() < LEAST_VISIBLE * (glyph > 0.5).sum() or not all(kept) or not covered.any():
                continue
            image += alpha[..., None] * (colour - image)
            labels.append(label)
            areas.append(int((glyph > 0.5).sum()))
            instances[covered] = len(labels)
            break
    image += rng.uniform(0.0, 0.05) * rng.standard_normal((height, width, 3)).astype(np.float32)
    return Scene(np.rint(image.clip(0, 1) * 255).astype(np.uint8), instances, np.array(labels, np.int32))


def _ground(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return a dark ground, float32 (H, W, 3): four corner colours, mixed."""
    corners = rng.uniform(0.0, 0.4, (2, 2, 3)).astype(np.float32)
    down, right = (np.linspace(0, 1, side, dtype=np.float32) for side in size)
    down, right = down[:, None, None], right[None, :, None]
    upper, lower = ((1 - right) * row[0] + right * row[1] for row in corners)
    return (1 - down) * upper + down * lower


def _glyph(rng: np.random.Generator, character: str, side: int) -> np.ndarray:
    """Return a character in a random font, size and turn: float32 (h, w) opacity, cut to what is drawn."""
    from PIL import Image, ImageDraw

    fonts = [font for font in FONTS if ord(character) in _coverage(font)]
    font = fonts[int(rng.integers(len(fonts)))]
    pixels = round(float(np.exp(rng.uniform(np.log(SMALLEST_GLYPH), np.log(max(side / 2, SMALLEST_GLYPH + 1)))) / 0.73))
    turn = float(rng.uniform(-20, 20))
    canvas: Any = Image.new("L", (2 * pixels, 2 * pixels))
    ImageDraw.Draw(canvas).text((pixels, pixels), character, fill=255, font=load_font(font, pixels), anchor="mm")
    canvas = canvas.rotate(turn, Image.Resampling.BILINEAR)
    return np.asarray(canvas.crop(canvas.getbbox() or (0, 0, 1, 1)), np.float32) / 255


def _placed(glyph: np.ndarray, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """Return the opacity of an image with a glyph at a place; what lies outside is cut off."""
    alpha = np.zeros(size, np.float32)
    first, last = (max(top, 0), max(left, 0)), (min(top + glyph.shape[0], size[0]), min(left + glyph.shape[1], size[1]))
    if first[0] < last[0] and first[1] < last[1]:
        alpha[first[0] : last[0], first[1] : last[1]] = glyph[
            first[0] - top : last[0] - top, first[1] - left : last[1] - left
        ]
    return alpha
