"""Photographed lines and pages of text, read by a trained run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data import BadImage, decode_image
from jaxcnn.data.characters import cut_characters
from jaxcnn.data.photo import straighten_line
from jaxcnn.errors import InputError, require, similar_paths
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.predict import described, predict


def read_lines(
    directory: Path | str, images: Sequence[Path | str], *, checkpoint: str = "last"
) -> list[dict[str, Any]]:
    """Read image files that show one line of text each, photographed or scanned.

    Each is binarised, deskewed, cropped and scaled (`straighten_line`) before the network sees it.

    Args:
        directory: Folder of a run with the task reading (head reader).
        images: Image files.
        checkpoint: last, or best (lowest validation loss).

    Returns:
        One mapping per image: path, line (the text that was read), probabilities (one per character), seen (what the
        network saw, uint8 (H, W, C)) and text for the console.

    Raises:
        InputError: The run has another task, or a file cannot be read or has no text.

    >>> read_lines("runs/read_lines", ["number.jpg"])[0]["line"]  # doctest: +SKIP
    '0523371'
    """
    shape = described(RunFolder(Path(directory)))[1]
    seen = []
    for path in map(Path, images):
        with _naming(path):
            line = straighten_line(decode_image(path, 3), (shape[0], shape[1]))
        seen.append(line.repeat(shape[2], axis=2))
    found = predict(directory, seen, checkpoint=checkpoint)
    if any("line" not in each for each in found):
        raise InputError(f"run={str(directory)!r}: its task is not reading; give a run with the head reader")
    return [{**each, "path": Path(path), "seen": line} for each, path, line in zip(found, images, seen, strict=True)]


def read_pages(
    directory: Path | str, images: Sequence[Path | str | np.ndarray], *, checkpoint: str = "last"
) -> list[dict[str, Any]]:
    """Read pages of printed characters that do not touch: each is found (`cut_characters`) and named by a classifier.

    Args:
        directory: Folder of a run that classifies images of one character each, light on dark, such as MNIST.
        images: Image files, or arrays uint8 (H, W, C).
        checkpoint: last, or best (lowest validation loss).

    Returns:
        One mapping per image: path (None for an array), lines (texts, from top to bottom), boxes (n, 4) of all
        characters in that order, (ymin, xmin, ymax, xmax) in pixels, labels (n,), classes (names) and text for the
        console.

    Raises:
        InputError: The run has another task, or a file cannot be read or has no text.

    >>> read_pages("runs/printed_digits/classifier", ["page.jpg"])[0]["lines"]  # doctest: +SKIP
    ['0523371', '4471']
    """
    names, shape, *_ = described(RunFolder(Path(directory)))
    pages = []
    for image in images:
        with _naming(image):
            pixels = image if isinstance(image, np.ndarray) else decode_image(Path(image), 3)
            pages.append(cut_characters(pixels, min(shape[:2])))
    cut = [each.repeat(shape[2], axis=2) for page in pages for line in page for each in line.images]
    named = predict(directory, cut, top=1, checkpoint=checkpoint)
    if any("name" not in each for each in named):
        raise InputError(f"run={str(directory)!r}: it names no classes; give a run that classifies characters")
    following, found = iter([each["name"] for each in named]), list[dict[str, Any]]()
    for image, page in zip(images, pages, strict=True):
        read = [list(itertools.islice(following, len(line.boxes))) for line in page]
        lines, boxes = ["".join(line) for line in read], np.concatenate([line.boxes for line in page])
        labels = np.array([names.index(name) for line in read for name in line])
        path = None if isinstance(image, np.ndarray) else Path(image)
        about = {"path": path, "text": "\n".join(lines), "lines": lines}
        found.append(about | {"boxes": boxes, "labels": labels, "classes": names})
    return found


@contextmanager
def _naming(image: Path | str | np.ndarray) -> Iterator[None]:
    """Name the file in the errors of reading it."""
    shown = "array" if isinstance(image, np.ndarray) else repr(str(image))
    require(isinstance(image, np.ndarray) or not Path(image).is_dir(), "image", shown, "it is a folder; give a file")
    if not isinstance(image, np.ndarray) and not Path(image).is_file():
        raise InputError(f"image {shown}: there is no such file; check the path{similar_paths(Path(image))}")
    try:
        yield
    except BadImage as error:
        raise InputError(f"image {shown}: {error}; give a PNG, JPEG or another image file") from None
    except InputError as error:
        raise InputError(str(error).replace("image:", f"image {shown}:", 1)) from None
