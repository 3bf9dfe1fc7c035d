"""Kinds of problems of a data set, and the records of an inspection."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from jaxcnn.data.decode import MAX_PIXELS

KINDS: dict[str, dict[str, str]] = {
    "bad": {
        "empty": "empty files (0 bytes)",
        "truncated": "truncated files",
        "damaged": "damaged files, which cannot be decoded",
        "unreadable": "files that cannot be read: no permission, or the disk fails",
        "dangling": "broken symbolic links",
        "not_an_image": "files that are not images in spite of their extensions",
        "huge": f"images of more than {MAX_PIXELS:,} pixels, refused by their headers",
        "unsupported": "images whose pixels have no range, such as floating point numbers",
    },
    "flaw": {
        "closed_folder": "folders that cannot be read: their contents are missing",
        "test_in_train": "test images that are also training images, pixel for pixel",
        "validation_in_train": "validation images that are also training images, pixel for pixel",
        "test_in_validation": "test images that are also validation images, pixel for pixel",
    },
    "fatal": {"label_out_of_range": "labels outside the range of the classes"},
    "note": {
        "label_conflict": "images that repeat one of another class, pixel for pixel",
        "duplicate": "images that repeat an earlier one of their split, pixel for pixel",
        "class_missing": "classes without an image in a split",
        "wrongly_named": "files whose extension does not match their format: the content decides",
        "cmyk": "CMYK images: converted to RGB",
        "palette": "images with a palette: its colours are used",
        "sixteen_bits": "images with 16 bits per channel: the upper 8 are used",
        "transparent": "images with transparency: it becomes white",
        "several_frames": "animations and files of several pages: the first is used",
        "odd_name": "names that are awkward to print or to type",
        "link_loop": "links to folders that were visited before, or that contain them: not followed",
        "outside": "images outside the class folders: ignored",
        "hidden": "hidden files and folders: ignored",
        "other_file": "files without an image's extension: ignored",
    },
}
"""Kinds of findings by weight: bad (refused unless on_bad="skip"), flaw (usable, but results would mislead), fatal
(`load` refuses the set) and note (nothing to do)."""

MAX_NAMES = 10
"""Number of names that are listed for each kind of finding."""


class ScannedImage(NamedTuple):
    """The properties of one image.

    Args:
        name: Name in its source.
        pool: Split of the source: train, validation or test.
        label: Its class.
        kinds: Kinds of findings, see `KINDS`.
        reason: Why it cannot be decoded, or "".
        shape: (H, W, C) as stored; empty if it cannot be decoded.
        digest: SHA-256 of shape and pixels; empty if it cannot be decoded.
    """

    name: str
    pool: str
    label: int
    kinds: tuple[str, ...] = ()
    reason: str = ""
    shape: tuple[int, ...] = ()
    digest: bytes = b""


@dataclass(frozen=True)
class Finding:
    """The number of findings of one kind, and the first `MAX_NAMES` of them by name."""

    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """The result of `inspect`, plain values throughout.

    Args:
        name: Name as the user wrote it.
        where: Folder or file that was read, or the package that provides the set.
        verdict: usable: `load` accepts it as configured; flawed: only with on_bad="skip", or its splits share images;
            unusable: `load` refuses it.
        problems: Why `load` refuses it, one sentence each.
        images: Number of image files or records, decodable or not.
        decoded: Number of images that can be decoded.
        class_names: One name per label.
        splits: Number of images of each class, by split, as `load` divides those that can be decoded.
        balance: Size of training's largest class divided by that of its smallest; None if a class has no image.
        image_sizes: Number of images of each size ("height x width"), the ten most frequent.
        distinct_sizes: Number of different sizes.
        findings: Findings by kind, in the order of `KINDS`, without empty ones.
    """

    name: str
    where: str
    verdict: Literal["usable", "flawed", "unusable"]
    problems: tuple[str, ...]
    images: int
    decoded: int
    class_names: tuple[str, ...]
    splits: dict[str, tuple[int, ...]]
    balance: float | None
    image_sizes: dict[str, int]
    distinct_sizes: int
    findings: dict[str, Finding]
