"""Photographed lines of text, read by a trained run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcnn.data import BadImage, decode_image
from jaxcnn.data.photo import straighten_line
from jaxcnn.errors import InputError, similar_paths
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
        if not path.is_file():
            raise InputError(f"image {str(path)!r}: there is no such file; check the path{similar_paths(path)}")
        try:
            line = straighten_line(decode_image(path, 3), (shape[0], shape[1]))
        except BadImage as error:
            raise InputError(f"image {str(path)!r}: {error}; give a PNG, JPEG or another image file") from None
        except InputError as error:
            raise InputError(str(error).replace("image:", f"image {str(path)!r}:", 1)) from None
        seen.append(line.repeat(shape[2], axis=2))
    found = predict(directory, seen, checkpoint=checkpoint)
    if any("line" not in each for each in found):
        raise InputError(f"run={str(directory)!r}: its task is not reading; give a run with the head reader")
    return [{**each, "path": Path(path), "seen": line} for each, path, line in zip(found, images, seen, strict=True)]
