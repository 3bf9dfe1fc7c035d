"""Seeded lines of text, composed of the characters of another data set."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jaxcnn.data.dataset import BadImage, Example, Pool, Source
from jaxcnn.data.splits import TEST_SHARE, divide
from jaxcnn.errors import InputError, require
from jaxcnn.spec import Size

PREFIX = "lines:"
DEFAULT_SIZE = (32, 256)
LEAST, MOST = 4, 16  # characters of a line
INK = 64  # pixel values from which on a character is there
TEXT_HEIGHT = 0.72  # of the images of characters, as a share of the line's height
VALIDATION_SHARE = 0.1


def lines_source(
    characters: Source, name: str, *, images: int = 2000, seed: int = 0, size: Size | None = None
) -> Source:
    """Return lines of 4 to 16 random characters, light on dark, as a source; the text is the target.

    Characters of training, validation and test lines are different images: validation lines have a tenth of the
    training characters, test lines the test split, or a fifth where there is none. Line i of a split is a function of
    (seed, size, i) and of those images.

    Args:
        characters: Images of one character each, light on dark, such as mnist, emnist/letters, digits or glyphs.
        name: Name as the user wrote it.
        images: Number of lines, a tenth of them for validation and a fifth for test.
        seed: Seed of the composition.
        size: (height, width) of the lines. Default: 32 x 256. Fewer characters are in a line where they do not fit.

    Raises:
        InputError: The set has masks or boxes, or the lines are too low or short.
    """
    height, width = DEFAULT_SIZE if size is None else (size, size) if isinstance(size, int) else size
    fits = height >= 16 and width >= LEAST * height
    require(fits, "size", (height, width), f"lines need 16 pixels of height or more, and {LEAST} times that as width")
    if characters.target != "class":
        raise InputError(f"name={name!r}: its images are not of one character each; name a set with one class each")
    tests = round(TEST_SHARE * images)
    validations = round(VALIDATION_SHARE * images)
    counts = {"train": images - tests - validations, "validation": validations, "test": tests}

    def reader(split: str, place: int) -> Pool:
        def read() -> Iterator[Example]:
            glyphs, labels = _characters(characters, split)
            for i in range(counts[split]):
                rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, place, i])))
                image, text = compose(rng, glyphs, labels, (height, width))
                yield Example(f"{name} {split}[{i}]", image, text)

        return Pool(counts[split], read)

    identity = {"name": PREFIX, "of": characters.identity, "images": images, "seed": seed, "size": (height, width)}
    pools = {split: reader(split, place) for place, split in enumerate(counts)}
    return Source(name, characters.where, identity, characters.class_names, pools, target="text")


def _characters(source: Source, split: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the images and labels of the characters that lines of a split are made of."""
    own = frozenset(source.pools)
    pool = "test" if split == "test" and "test" in own else "train"
    found = [each for each in source.pools[pool].read() if not isinstance(each.image, BadImage)]
    labels = np.array([each.label for each in found], np.int32)
    rows = np.arange(len(labels))
    if pool == "train":
        rows = divide(labels, VALIDATION_SHARE, None, own - {"validation"}, source.carve)[split]
    return [np.asarray(found[row].image) for row in rows], labels[rows]


def compose(
    rng: np.random.Generator, glyphs: Sequence[np.ndarray], labels: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Compose a line of random characters, side by side with small gaps, on a baseline that rises or falls a little.

    Args:
        rng: Generator.
        glyphs: Images uint8 (h, w, C), light on dark.
        labels: int (len(glyphs),).
        size: (height, width) of the line.

    Returns:
        The line uint8 (height, width, C), and its labels int32 (16,), -1 after the last.
    """
    height, width = size
    line = np.zeros((height, width, glyphs[0].shape[2]), np.uint8)
    scale, slope = rng.uniform(0.85, 1.15), rng.uniform(-0.04, 0.04)
    count, left = int(rng.integers(LEAST, MOST + 1)), float(rng.uniform(0.05, 0.5) * height)
    gap, text = rng.uniform(0.02, 0.14) * height, list[int]()
    for _ in range(count):
        which = int(rng.integers(len(glyphs)))
        side = scale * rng.uniform(0.92, 1.08) * TEXT_HEIGHT * height
        ink = _scaled(glyphs[which], side)
        if left + ink.shape[1] > width - 0.05 * height:
            break
        middle = height / 2 + slope * (left - width / 2) + rng.normal(0, 0.02 * height)
        top = int(np.clip(round(middle - ink.shape[0] / 2), 0, height - ink.shape[0]))
        part = line[top : top + ink.shape[0], int(left) : int(left) + ink.shape[1]]
        np.maximum(part, ink, out=part)
        text.append(int(labels[which]))
        left += ink.shape[1] + max(gap * rng.uniform(0.2, 1.8), -1.0)
    return line, np.array(text + [-1] * (MOST - len(text)), np.int32)


def _scaled(glyph: np.ndarray, side: float) -> np.ndarray:
    """Return a character's columns with ink, resized so that its image's longer side has `side` pixels."""
    from PIL import Image

    columns = np.flatnonzero((glyph >= INK).any(axis=(0, 2)))
    inked = glyph if not len(columns) else glyph[:, columns[0] : columns[-1] + 1]
    factor = side / max(glyph.shape[:2])
    sides = max(1, round(inked.shape[1] * factor)), max(1, round(inked.shape[0] * factor))
    planes = [Image.fromarray(np.ascontiguousarray(inked[..., c])) for c in range(glyph.shape[2])]
    resized: list[Any] = [plane.resize(sides, Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(each) for each in resized], axis=-1)
