"""Image files opened by their headers: which are understood, which are refused, and as what kind of bad."""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from jaxcnn.data.dataset import BadImage

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

MAX_PIXELS = 2**26
"""Most pixels of an image, 8,192 x 8,192: a file that claims more is refused by its header, before any is decoded."""

MOST_PER_BYTE = 10_000
"""Most pixels that a byte of a file can stand for; 8,256 in a PNG (Deflate's 1,032 to 1, one bit a pixel). A header
that claims more is damaged. WebP and fax coding have no such bound."""

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF")
"""What is understood. Pillow knows more, some of which start other programs (EPS) or have no pixels of their own."""

SIGNATURE = re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|BM|RIFF....WEBP|II\*\0|MM\0\*|P[1-6]\s", re.DOTALL)
"""How a file of one of them begins."""

QUIET: Any = ("ignore", None, Warning, re.compile(r"PIL\."), 0)
"""An entry of `warnings.filters`: whatever Pillow itself warns of."""

Encoded = bytes | str | os.PathLike[str]
"""An image file: its bytes or its path."""


class Undecodable(BadImage):
    """A bad image that says which kind of bad it is.

    Args:
        reason: As the end of a sentence, without the file's name.
        kind: empty, dangling, unreadable, not_an_image, truncated, damaged, huge or unsupported.
    """

    def __init__(self, reason: str, kind: str = "damaged"):
        super().__init__(reason)
        self.kind = kind


@contextmanager
def opened(source: Encoded) -> Iterator[ImageFile]:
    """An image with its header read and its size allowed; whatever goes wrong with it in here becomes a BadImage."""
    from PIL import Image

    with _file(source) as file, quiet():
        try:
            length = file.seek(0, os.SEEK_END)
            with Image.open(file, formats=FORMATS) as image:
                _refuse_claims(image, length)
                yield image
        except BadImage:
            raise
        # Pillow's plugins report damage in many ways, assertions among them: nothing that a file holds may end a run.
        except Exception as error:
            raise _undecodable(error, file) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's own warnings, of large images and of damaged tags: what matters of them is raised.

    Each call puts one entry into the list of filters and takes one out. `warnings.catch_warnings` restores the whole
    list, so that the end of one thread would undo what another has begun.
    """
    filters: Any = warnings.filters
    filters.insert(0, QUIET)
    try:
        yield
    finally:
        filters = warnings.filters
        with suppress(ValueError):
            filters.remove(QUIET)


def _file(source: Encoded) -> BinaryIO:
    if isinstance(source, bytes):
        if not source:
            raise Undecodable("the file is empty (0 bytes)", "empty")
        return io.BytesIO(source)
    try:
        status = os.stat(source)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise Undecodable("it cannot be decoded (it is no regular file)", "unreadable")
        if status.st_size == 0:
            raise Undecodable("the file is empty (0 bytes)", "empty")
        # A handle of ours: given a path, Pillow may map the file, and one cut off meanwhile would kill the process.
        return open(source, "rb")
    except (OSError, ValueError) as error:
        if os.path.islink(source) and not os.path.exists(source):
            raise Undecodable("it cannot be decoded (it is a symbolic link to nothing)", "dangling") from None
        reason = error.strerror if isinstance(error, OSError) else error
        raise Undecodable(f"it cannot be decoded ({reason})", "unreadable") from None


def _refuse_claims(image: ImageFile, length: int) -> None:
    """Refuse a header that claims more than is allowed, or more than a file of `length` bytes can hold."""
    tags: Any = getattr(image, "tag_v2", {})
    tile = tags.get(322, 0) * tags.get(323, 0)  # TIFF's tiles may be larger than its image, and are read whole
    pixels, size = image.width * image.height, f"{image.width:,} x {image.height:,} pixels"
    if max(pixels, tile) > MAX_PIXELS:
        raise _huge(size)
    if pixels > MOST_PER_BYTE * length and image.format != "WEBP" and image.mode != "1":
        raise Undecodable(f"it cannot be decoded ({length:,} bytes cannot hold the {size} that it claims)", "damaged")


def _huge(claim: str) -> Undecodable:
    return Undecodable(f"it is suspiciously large ({claim}; at most {MAX_PIXELS:,} are decoded)", "huge")


def _undecodable(error: Exception, file: BinaryIO) -> Undecodable:
    """What Pillow raised, as a reason and a kind."""
    from PIL import Image, UnidentifiedImageError

    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return _huge("its header claims more pixels than Pillow allows")
    if isinstance(error, OSError) and error.errno is not None:
        return Undecodable(f"it cannot be decoded ({error.strerror})", "unreadable")
    if isinstance(error, UnidentifiedImageError):
        if not SIGNATURE.match(_ends(file)[0]):
            return Undecodable("it is not an image of a kind that is read: " + ", ".join(FORMATS), "not_an_image")
        reason = "its header is damaged"
    if _ends_early(file) or "truncated" in reason.lower():
        return Undecodable(f"it cannot be decoded (it is cut off: {reason})", "truncated")
    return Undecodable(f"it cannot be decoded ({reason})", "damaged")


def _ends(file: BinaryIO) -> tuple[bytes, bytes, int]:
    """First 16 and last 64 bytes of a file, and its length."""
    length = file.seek(0, os.SEEK_END)
    file.seek(max(0, length - 64))
    tail = file.read(64)
    file.seek(0)
    return file.read(16), tail, length


def _ends_early(file: BinaryIO) -> bool:
    """Whether a file lacks what its format ends with, or is shorter than it says."""
    head, tail, length = _ends(file)
    if head.startswith(b"\x89PNG"):
        return b"IEND" not in tail
    if head.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in tail
    if head.startswith(b"GIF8"):
        return not tail.rstrip(b"\0").endswith(b";")
    claims = {b"RIFF": int.from_bytes(head[4:8], "little") + 8, b"BM": int.from_bytes(head[2:6], "little")}
    return any(head.startswith(magic) and length < claim for magic, claim in claims.items())


def shown(name: str) -> str:
    r"""A name as one printable line: control characters and bytes that are no text are escaped.

    >>> shown("a\nb.png")
    'a\\nb.png'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
