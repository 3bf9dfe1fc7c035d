"""Encoded images to uint8 arrays with Pillow, and resizing."""

from __future__ import annotations

import io
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from jaxcnn.data.dataset import BadImage

if TYPE_CHECKING:
    from PIL.Image import Image

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")

In = TypeVar("In")
Out = TypeVar("Out")


Size = int | tuple[int, int] | None
"""Side of a square, or (height, width), or as stored."""


def decode_image(source: bytes | str | os.PathLike[str], channels: int, size: Size = None) -> np.ndarray:
    """Decode one image file.

    Transparent pixels show white, 16-bit pixels keep their upper 8 bits, a camera's orientation tag is applied and
    an animation gives its first frame.

    Args:
        source: The file's bytes, or its path.
        channels: 1 (grey) or 3 (RGB).
        size: Resize to size x size pixels, or to (height, width); None: as stored.

    Returns:
        uint8 (H, W, channels).

    Raises:
        BadImage: It is empty, cut off or not an image.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    file = io.BytesIO(source) if isinstance(source, bytes) else source
    height, width = (size, size) if size is None or isinstance(size, int) else size
    try:
        if (len(source) if isinstance(source, bytes) else os.path.getsize(source)) == 0:
            raise BadImage("the file is empty (0 bytes)")
        with Image.open(file) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened) if opened.getexif().get(0x0112, 1) != 1 else opened
            image = as_mode(image, "L" if channels == 1 else "RGB")
            if height is not None and width is not None and image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(image).reshape(image.height, image.width, channels)
    except UnidentifiedImageError:
        raise BadImage("it is not an image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise BadImage(f"it is suspiciously large ({error})") from None
    # Pillow's plugins report damage in many ways: OSError, SyntaxError (PNG), ValueError, EOFError, struct.error.
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, OverflowError) as error:
        raise BadImage(f"it cannot be decoded ({error})") from None


def as_mode(image: Image, mode: str) -> Image:
    """The image in mode "L" or "RGB": transparency over white, 16-bit pixels to their upper 8 bits."""
    from PIL import Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    if image.mode == "F":
        raise BadImage("its pixels are floating point numbers without a range; save it with 8 or 16 bits")
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        image = Image.fromarray(pixels.astype(np.uint8))
    return image if image.mode == mode else image.convert(mode)


def is_grey(path: str | os.PathLike[str]) -> bool:
    """Whether an image file holds one channel, judged by its header; True where the header cannot be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.mode in GREY_MODES
    except Exception:  # decoding names what is wrong with it
        return True


def resize_array(image: np.ndarray, size: int | None) -> np.ndarray:
    """Resize uint8 (H, W, C), any number of channels, to (size, size, C); None: unchanged."""
    if size is None or image.shape[:2] == (size, size):
        return image
    from PIL import Image

    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(image.shape[-1])]
    resized = [np.asarray(plane.resize((size, size), Image.Resampling.BILINEAR)) for plane in planes]
    return np.stack(resized, axis=-1)


def ordered_map(function: Callable[[In], Out], items: Iterable[In], batch: int = 64) -> Iterator[Out]:
    """`map` over threads, in order, with a bounded number of results waiting (Pillow decodes outside the GIL)."""

    def run(chunk: list[In]) -> list[Out]:
        return [function(item) for item in chunk]

    def chunks() -> Iterator[list[In]]:
        rest = iter(items)
        while chunk := list(itertools.islice(rest, batch)):
            yield chunk

    workers, todo = min(8, os.cpu_count() or 1), chunks()
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(run, chunk) for chunk in itertools.islice(todo, 2 * workers))
        try:
            while waiting:
                done = waiting.popleft().result()
                waiting.extend(pool.submit(run, chunk) for chunk in itertools.islice(todo, 1))
                yield from done
        finally:
            for future in waiting:
                future.cancel()
