"""What can be wrong with a data set, and the record of what is: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from jaxcnn.data.sources.opening import MAX_PIXELS

NAMED = 10
"""Names given for each kind of finding; its count is of all."""


class Kind(NamedTuple):
    """A kind of finding.

    Args:
        weight: bad: refused unless on_bad="skip"; flaw: usable, with results that mislead; fatal: `load` refuses the
            set; note: nothing to do.
        text: What it is, and what happens to it.
    """

    weight: Literal["bad", "flaw", "fatal", "note"]
    text: str


KINDS = {
    "empty": Kind("bad", "empty files (0 bytes)"),
    "truncated": Kind("bad", "files cut off before their end"),
    "damaged": Kind("bad", "damaged files, which cannot be decoded"),
    "unreadable": Kind("bad", "files that cannot be read: no permission, or the disk fails"),
    "dangling": Kind("bad", "symbolic links to nothing"),
    "not_an_image": Kind("bad", "files that are no images, whatever their names say"),
    "huge": Kind("bad", f"images of more than {MAX_PIXELS:,} pixels, refused by their headers"),
    "unsupported": Kind("bad", "images whose pixels have no range, such as floating point numbers"),
    "closed_folder": Kind("flaw", "folders that cannot be read: what they hold is missing"),
    "test_in_train": Kind("flaw", "test images that are also training images, pixel for pixel"),
    "validation_in_train": Kind("flaw", "validation images that are also training images, pixel for pixel"),
    "test_in_validation": Kind("flaw", "test images that are also validation images, pixel for pixel"),
    "label_out_of_range": Kind("fatal", "labels that no class has"),
    "label_conflict": Kind("note", "images that repeat one of another class, pixel for pixel"),
    "duplicate": Kind("note", "images that repeat an earlier one of their split, pixel for pixel"),
    "class_missing": Kind("note", "classes without an image in a split"),
    "wrongly_named": Kind("note", "files of another format than their names say: read by their content"),
    "cmyk": Kind("note", "CMYK images: converted to RGB"),
    "palette": Kind("note", "images with a palette: its colours are used"),
    "sixteen_bits": Kind("note", "images with 16 bits a channel: the upper 8 are kept"),
    "transparent": Kind("note", "images with transparency: it shows white"),
    "several_frames": Kind("note", "animations and files of several pages: the first is used"),
    "odd_name": Kind("note", "names that are awkward to print or to type"),
    "link_loop": Kind("note", "linked folders met before, as where a link leads back up: not followed"),
    "outside": Kind("note", "images outside the class folders: passed over"),
    "hidden": Kind("note", "hidden files and folders: passed over"),
    "other_file": Kind("note", "files without an image's extension: passed over"),
}


@dataclass(frozen=True)
class Found:
    """How many of one kind, and the first of them by name."""

    count: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found; plain values throughout.

    Args:
        name: As the user wrote it.
        where: Folder or file that was read, or the package that draws the set.
        verdict: usable: `load` takes it as configured; flawed: it takes it only with on_bad="skip", or the splits
            share images; unusable: it refuses it.
        problems: Why it refuses it, a sentence each.
        images: Image files or records, whether or not they can be decoded.
        decoded: Of these, those that can.
        class_names: One a label.
        splits: Images of each class, by split, as `load` divides them without those that cannot be decoded.
        balance: Images of training's largest class for each one of its smallest; None where a class has none.
        image_sizes: How many images have each size ("height x width"), the ten most frequent.
        distinct_sizes: How many sizes there are.
        found: Findings by kind, in the order of `KINDS`; kinds that were not met are left out.
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
    found: dict[str, Found]
