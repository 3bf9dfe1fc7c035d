"""Encoded images to uint8 arrays with Pillow, and resizing."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from jaxcnn.data.dataset import BadImage
from jaxcnn.data.sources.opening import Encoded, Undecodable, opened

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")

UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""EXIF's orientation (tag 274, CIPA DC-008) to the turn that sets an image upright, in Pillow's names."""

In = TypeVar("In")
Out = TypeVar("Out")


Size = int | tuple[int, int] | None
"""Side of a square, or (height, width), or as stored."""


class Header(NamedTuple):
    """What an image file says of itself before its pixels are decoded.

    Args:
        format: In Pillow's names: PNG, JPEG, MPO (a JPEG with more than one image), GIF, BMP, PPM, WEBP, TIFF.
        mode: In Pillow's names: L, RGB, P (palette), CMYK, ...
        sixteen_bits: 16 or more bits a channel.
        transparent: It has an alpha channel or a colour that stands for transparency.
        frames: More than one frame or page.
    """

    format: str
    mode: str
    sixteen_bits: bool
    transparent: bool
    frames: bool


def decode_image(source: Encoded, channels: int, size: Size = None) -> np.ndarray:
    """Decode one image file: PNG, JPEG, GIF, BMP, PPM, WebP or TIFF, judged by its content.

    Transparent pixels show white, 16-bit pixels keep their upper 8 bits, CMYK becomes RGB (in a JPEG inverted, as
    Adobe stores it), a camera's orientation tag is applied and an animation gives its first frame. An image of more
    than `jaxcnn.data.sources.opening.MAX_PIXELS` pixels is refused by its header, and none of them is decoded.

    Args:
        source: The file's bytes, or its path.
        channels: 1 (grey) or 3 (RGB).
        size: Resize to size x size pixels, or to (height, width); None: as stored.

    Returns:
        uint8 (H, W, channels).

    Raises:
        BadImage: It is empty, cut off, damaged, too large or not an image. No file makes it raise anything else.
    """
    from PIL import Image

    height, width = (size, size) if size is None or isinstance(size, int) else size
    with opened(source) as file:
        key = file.info.get("transparency")
        if isinstance(key, tuple) and sixteen_bits(file):  # a transparent colour in 16 bits, but pixels that come in 8
            file.info["transparency"] = tuple(value >> 8 for value in key)
        file.load()
        image = as_mode(upright(file), "L" if channels == 1 else "RGB")
        if height is not None and width is not None and image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(image).reshape(image.height, image.width, channels)


def read_header(source: Encoded) -> Header:
    """What an image file says of itself.

    Args:
        source: The file's bytes, or its path.

    Raises:
        BadImage: It says nothing that is understood, or claims too many pixels.
    """
    with opened(source) as file:
        frames = bool(getattr(file, "is_animated", False))
        return Header(str(file.format), file.mode, sixteen_bits(file), file.has_transparency_data, frames)


def sixteen_bits(image: ImageFile) -> bool:
    """Whether a file that is not decoded yet stores 16 or more bits a channel."""
    return image.mode.startswith("I") or (bool(image.tile) and ";16" in str(image.tile[0][3]))


def upright(image: Image) -> Image:
    """The image turned as its camera's orientation tag says."""
    from PIL import Image

    try:
        turn = UPRIGHT.get(image.getexif().get(0x0112, 1))
    except Exception:  # damaged tags say nothing of the pixels
        return image
    return image if turn is None else image.transpose(Image.Transpose[turn])


def as_mode(image: Image, mode: str) -> Image:
    """The image in mode "L" or "RGB": transparency over white, 16-bit pixels to their upper 8 bits."""
    from PIL import Image

    if image.mode == "F":
        reason = "its pixels are floating point numbers without a range; save it with 8 or 16 bits"
        raise Undecodable(reason, "unsupported")
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels, key = np.asarray(image).astype(np.int64), image.info.get("transparency")
        upper = pixels.clip(0, 65535) >> 8
        upper = np.where(pixels == key, 255, upper) if isinstance(key, int) else upper
        image = Image.fromarray(upper.astype(np.uint8))
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def is_grey(path: str | os.PathLike[str]) -> bool:
    """Whether an image file holds one channel, judged by its header; True where the header cannot be read."""
    try:
        with opened(path) as image:
            return image.mode in GREY_MODES
    except BadImage:  # decoding names what is wrong with it
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
