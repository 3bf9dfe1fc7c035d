"""Image files to uint8 arrays with Pillow; files that are damaged, too large or not images are refused."""

import io
import itertools
import os
import re
import stat
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from jaxcnn.data.dataset import BadImage
from jaxcnn.data.messages import one_line
from jaxcnn.spec import UNLABELLED, Size

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 2**26
"""Largest number of pixels of an image, 8,192 x 8,192; a file whose header claims more is refused before decoding."""

MAX_PIXELS_PER_BYTE = 10_000
"""Largest number of pixels per byte of a file; a PNG reaches 8,256 (Deflate's 1,032 to 1, one bit a pixel). A header
that claims more is damaged. WebP and fax coding have no such bound."""

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF")
"""Formats that are read, AVIF since Pillow 11.3. Others of Pillow's start programs (EPS) or contain no pixels."""

SIGNATURE = re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|BM|RIFF....WEBP|II\*\0|MM\0\*|P[1-6]\s|....ftypavi[fs]", re.DOTALL)
"""First bytes of a file in one of these formats."""

DARK = "its 16-bit values are all below 256, of which nothing is left in 8 bits; save it with 8 bits, or scale it up"

GREY_MODES = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")

UPRIGHT = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
"""Transpositions that turn images of EXIF orientation 2 to 8 (tag 274, CIPA DC-008) upright, in Pillow's names."""

QUIET: Any = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
"""Entry of `warnings.filters` that silences Pillow."""

Encoded = bytes | str | os.PathLike[str]
"""An image file: its bytes or its path."""

In = TypeVar("In")
Out = TypeVar("Out")


def decode_image(source: Encoded, channels: int, size: Size | None = None, fit: str = "squash") -> np.ndarray:
    """Decode one image file: PNG, JPEG, GIF, BMP, PPM, WebP, TIFF or AVIF, recognised by its content.

    Transparent pixels become white, 16-bit pixels keep their upper 8 bits (an image whose values are all below 256 is
    refused: it would be black), CMYK becomes RGB (in a JPEG inverted, as Adobe stores it), the camera's orientation tag
    is applied and an animation gives its first frame. An image of more than `MAX_PIXELS` pixels is refused by its
    header, before any is decoded.

    Args:
        source: The file's bytes, or its path.
        channels: 1 (grey) or 3 (RGB).
        size: Resize to size x size pixels, or to (height, width); None: as stored.
        fit: How an image of another shape gets there: squash, crop or pad, as in `DataConfig`.

    Returns:
        uint8 (H, W, channels).

    Raises:
        BadImage: The file is empty, truncated, damaged, too large or not an image. No file raises anything else.

    >>> decode_image("photo.jpg", 3, 64).shape  # doctest: +SKIP
    (64, 64, 3)
    """
    sides = size_pair(size)
    with open_image(source) as file:
        key = file.info.get("transparency")
        wide = has_16_bits(file)
        if isinstance(key, tuple) and wide:  # a transparent colour in 16 bits, but pixels that come in 8
            file.info["transparency"] = tuple(value >> 8 for value in key)
        file.load()
        if wide and not file.mode.startswith("I") and not np.asarray(file).any():
            raise BadImage(DARK, "unsupported")
        image = _convert(_turn_upright(file), "L" if channels == 1 else "RGB")
        if sides is not None and (image.height, image.width) != sides:
            image = _resize(image, sides, fit)
        return np.asarray(image).reshape(image.height, image.width, channels)


@contextmanager
def open_image(source: Encoded) -> Iterator["ImageFile"]:
    """Open an image, read its header and check its size; any error in the block is raised as a BadImage."""
    from PIL import Image

    with _open_file(source) as file:
        # Silence Pillow's warnings about large images and damaged tags: what matters of them is raised. Each call adds
        # one entry to the filters and removes one: `warnings.catch_warnings` would undo the filters of other threads.
        filters: Any = warnings.filters
        filters.insert(0, QUIET)
        try:
            length = file.seek(0, os.SEEK_END)
            with Image.open(file, formats=_readable()) as image:
                _check_size(image, length)
                yield image
        except BadImage:
            raise
        # Pillow's plugins report damage in many ways, assertions among them: no file content may end a run.
        except Exception as error:
            raise _explain(error, file) from None
        finally:
            filters = warnings.filters
            with suppress(ValueError):
                filters.remove(QUIET)


@cache
def _readable() -> tuple[str, ...]:
    return FORMATS if find_spec("PIL.AvifImagePlugin") else FORMATS[:-1]


def _open_file(source: Encoded) -> BinaryIO:
    if isinstance(source, bytes):
        if not source:
            raise BadImage("the file is empty (0 bytes)", "empty")
        return io.BytesIO(source)
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would block
            raise BadImage("it cannot be decoded (it is not a regular file)", "unreadable")
        if status.st_size == 0:
            raise BadImage("the file is empty (0 bytes)", "empty")
        # Our own handle: given a path, Pillow may map the file, and a file truncated meanwhile would kill the process.
        return open(source, "rb")
    except (OSError, ValueError) as error:
        if os.path.islink(source) and not os.path.exists(source):
            raise BadImage("it cannot be decoded (it is a broken symbolic link)", "dangling") from None
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadImage(f"it cannot be decoded ({reason})", "unreadable") from None


def _check_size(image: "ImageFile", length: int) -> None:
    """Refuse a header that claims more pixels than allowed, or more than a file of `length` bytes can contain."""
    tags: Any = getattr(image, "tag_v2", {})
    tile = tags.get(322, 0) * tags.get(323, 0)  # TIFF's tiles may be larger than its image, and are read whole
    pixels, size = image.width * image.height, f"{image.width:,} x {image.height:,} pixels"
    if max(pixels, tile) > MAX_PIXELS:
        raise BadImage(f"it is suspiciously large ({size}; at most {MAX_PIXELS:,} are decoded)", "huge")
    if pixels > MAX_PIXELS_PER_BYTE * length and image.format not in ("WEBP", "AVIF") and image.mode != "1":
        raise BadImage(f"it cannot be decoded ({length:,} bytes cannot contain the {size} that it claims)")


def _explain(error: Exception, file: BinaryIO) -> BadImage:
    """Return an error of Pillow as a reason and a kind."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return BadImage(f"it is suspiciously large (at most {MAX_PIXELS:,} pixels are decoded)", "huge")
    if isinstance(error, OSError) and error.errno is not None:
        return BadImage(f"it cannot be decoded ({error.strerror})", "unreadable")
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - 64))
    tail = file.read(64)
    file.seek(0)
    head = file.read(16)
    reason = one_line(error)
    if isinstance(error, UnidentifiedImageError):
        if not SIGNATURE.match(head):
            return BadImage("it is not an image in a format that is read: " + ", ".join(FORMATS), "not_an_image")
        reason = "its header is damaged"
    if _is_truncated(head, tail, length) or "truncated" in reason.lower():
        return BadImage(f"it cannot be decoded (it is truncated: {reason})", "truncated")
    return BadImage(f"it cannot be decoded ({reason})")


def _is_truncated(head: bytes, tail: bytes, length: int) -> bool:
    """Return whether a file lacks the end marker of its format, or is shorter than its header says."""
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in tail
    if head.startswith(b"GIF8"):
        return not tail.rstrip(b"\0").endswith(b";")
    claims = {b"RIFF": int.from_bytes(head[4:8], "little") + 8, b"BM": int.from_bytes(head[2:6], "little")}
    return any(head.startswith(magic) and length < claim for magic, claim in claims.items())


def has_16_bits(image: "ImageFile") -> bool:
    """Return whether a file that is not decoded yet stores 16 or more bits per channel."""
    return image.mode.startswith("I") or (bool(image.tile) and ";16" in str(image.tile[0][3]))


def _turn_upright(image: "Image") -> "Image":
    from PIL import Image

    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # damaged tags do not make the pixels unusable
        return image
    return image.transpose(Image.Transpose[UPRIGHT[orientation - 2]]) if orientation in range(2, 9) else image


def _convert(image: "Image", mode: str) -> "Image":
    """Convert to mode "L" or "RGB": transparency over white, 16-bit pixels to their upper 8 bits."""
    from PIL import Image

    if image.mode == "F":
        raise BadImage(
            "its pixels are floating point numbers without a range; save it with 8 or 16 bits", "unsupported"
        )
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels, key = np.asarray(image).astype(np.int64), image.info.get("transparency")
        if 0 < pixels.max() < 256:
            raise BadImage(DARK, "unsupported")
        upper = pixels.clip(0, 65535) >> 8
        upper = np.where(pixels == key, 255, upper) if isinstance(key, int) else upper
        image = Image.fromarray(upper.astype(np.uint8))
    if image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def is_grey(path: str | os.PathLike[str]) -> bool:
    """Return whether the header of an image file says one channel; True if the header cannot be read."""
    try:
        with open_image(path) as image:
            return image.mode in GREY_MODES
    except BadImage:  # decoding reports the problem
        return True


def size_pair(size: Size | None) -> tuple[int, int] | None:
    """Return a size as (height, width); None: as stored."""
    return (size, size) if isinstance(size, int) else size


def _resize(image: "Image", sides: tuple[int, int], fit: str) -> "Image":
    """Resize an image bilinearly to (height, width), the sides each for itself (squash), or both alike (crop, pad)."""
    from PIL import Image

    return _fitted(image, sides, fit, Image.Resampling.BILINEAR, None)


def _fitted(image: "Image", sides: tuple[int, int], fit: str, method: Any, fill: int | None) -> "Image":
    from PIL import ImageOps

    height, width = sides
    if fit == "squash":
        return image.resize((width, height), method)
    if fit == "crop":
        return ImageOps.fit(image, (width, height), method)
    return ImageOps.pad(image, (width, height), method, color=fill)


def resize_mask(mask: np.ndarray, size: Size | None, fit: str = "squash", fill: int = UNLABELLED) -> np.ndarray:
    """Resize a mask uint8 (H, W) as `decode_image` its image; a pixel takes the nearest one, padding is `fill`."""
    sides = size_pair(size)
    if sides is None or mask.shape == sides:
        return mask
    from PIL import Image

    return np.asarray(_fitted(Image.fromarray(mask), sides, fit, Image.Resampling.NEAREST, fill))


def upright_size(source: Encoded) -> tuple[int, int]:
    """Return height and width of an image file as `decode_image` reads it, from its header."""
    with open_image(source) as file:
        try:
            turned = file.getexif().get(0x0112, 1) in range(5, 9)
        except Exception:  # damaged tags
            turned = False
        return (file.width, file.height) if turned else (file.height, file.width)


def resize_array(image: np.ndarray, size: Size | None, fit: str = "squash") -> np.ndarray:
    """Resize uint8 (H, W, C), any number of channels, as `decode_image`."""
    sides = size_pair(size)
    if sides is None or image.shape[:2] == sides:
        return image
    from PIL import Image

    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(image.shape[-1])]
    resized = [np.asarray(_resize(plane, sides, fit)) for plane in planes]
    return np.stack(resized, axis=-1)


def ordered_map(function: Callable[[In], Out], items: Iterable[In], batch: int = 64) -> Iterator[Out]:
    """Map over threads, in order, with a bounded number of pending results (Pillow decodes outside the GIL)."""
    todo, workers, pending = iter(items), min(8, os.cpu_count() or 1), deque[Future[list[Out]]]()
    pool = ThreadPoolExecutor(workers)
    try:
        for chunk in iter(lambda: list(itertools.islice(todo, batch)), []):
            pending.append(pool.submit(lambda chunk: [function(item) for item in chunk], chunk))
            if len(pending) > 2 * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
