"""`inspect`: read every image of a data set and report all its problems, without raising for any of them."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from jaxcnn.data.boxes import Objects, check_objects
from jaxcnn.data.dataset import BadImage, Example, Pool, Source
from jaxcnn.data.decode import MAX_PIXELS, Encoded, decode_image, has_16_bits, open_image, ordered_map
from jaxcnn.data.loading import check_fields
from jaxcnn.data.messages import check_labels, no_images, one_line, progress_bar, sizes_differ, too_few_classes
from jaxcnn.data.sources.catalog import find_source, is_annotated
from jaxcnn.data.sources.folder import FORMATS_BY_EXTENSION, list_folder
from jaxcnn.data.sources.masks import list_pairs
from jaxcnn.data.sources.tfds import find_prepared, version_dir
from jaxcnn.data.splits import divide
from jaxcnn.errors import InputError, printable
from jaxcnn.spec import UNLABELLED, DataConfig

SPLITS = ("train", "validation", "test")

SMALL = 4
"""Side of a box in pixels below which it is noted: resizing may leave nothing of it."""

KINDS: dict[str, dict[str, str]] = {
    "bad": {
        "empty": "empty files (0 bytes)",
        "truncated": "truncated files",
        "damaged": "damaged files, which cannot be decoded",
        "unreadable": "files that cannot be read: no permission, or the disk fails",
        "dangling": "broken symbolic links",
        "not_an_image": "files that are not images in spite of their extensions",
        "huge": f"images of more than {MAX_PIXELS:,} pixels, refused by their headers",
        "unsupported": "images whose pixels have no range, such as floating point, or 16 bits of which few are used",
        "missing_mask": "images without a mask of the same name",
        "mask_damaged": "masks that cannot be decoded",
        "mask_size": "masks of another size than their images",
        "mask_values": "masks with values that are no class, or in colour",
        "box_without_area": "images with a box without area",
        "box_order": "images with a box whose corners are in the wrong order",
        "box_outside": "images with a box that lies outside of them",
        "box_values": "images with a box that is not finite or not complete",
        "box_size": "images of another size than their annotations tell",
        "box_label": "images with an object of an unknown class",
        "missing_boxes": "images without an annotation file",
        "boxes_damaged": "images whose annotation file cannot be read",
    },
    "flaw": {
        "few_levels": "16-bit images with all values below 4,096: of their upper 8 bits at most 16 levels are left",
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
        "unlabelled": "images of whose masks no pixel has a class",
        "orphan_mask": "masks without an image: ignored",
        "no_objects": "images without an object: they teach what background is",
        "small_box": f"images with a box of less than {SMALL} pixels a side, as it is stored",
        "repeated_box": "images with the same box of the same class twice",
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
    """One image of a split (`pool`) of a source, with kinds of findings as in `KINDS`.

    `shape` is (H, W, C) as stored, `digest` the SHA-256 of shape and pixels; both are empty if there is a `reason` why
    the image or its target cannot be used. `classes` are those of its mask, or one for each of its boxes; None where it
    has a label instead.
    """

    name: str
    pool: str
    label: int
    kinds: tuple[str, ...] = ()
    reason: str = ""
    shape: tuple[int, ...] = ()
    digest: bytes = b""
    classes: tuple[int, ...] | None = None


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
        splits: Number of images of each class, by split, as `load` divides those that can be decoded; of sets with
            masks, the number of images whose masks have the class; of sets with boxes, the number of its boxes.
        balance: Size of training's largest class divided by that of its smallest; None if a class has no image.
        image_sizes: Number of images of each size ("height x width"), the ten most frequent.
        distinct_sizes: Number of different sizes.
        findings: Findings by kind, in the order of `KINDS`, without empty ones.
        target: What is known of each image: a class, a mask with the class of each pixel, or boxes.
        sizes: Number of images by split.
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
    target: str = "class"
    sizes: dict[str, int] = field(default_factory=dict)


def inspect(config: DataConfig, *, progress: bool = False) -> Inspection:
    """Read every image of every split of a data set and report its problems, without raising for any of them.

    Findings about files (names, formats, colour modes, links) exist for image folders only; records of TFDS sets and
    arrays are judged by their pixels and labels. Images are compared as stored, never resized; `config.size` allows
    different sizes, `config.on_bad="skip"` bad files.

    Raises:
        InputError: There is no such data set, or a field of `config` is out of range.

    >>> inspect(DataConfig("digits")).verdict
    'usable'
    """
    check_fields(config)
    path, problems = Path(config.name).expanduser(), []
    source, ignored = Source(config.name, str(path), {}, (), {}), defaultdict(list)
    prepared = version_dir(path) or find_prepared(config.name, config.data_dir)
    try:
        source = find_source(replace(config, size=None))
    except InputError as error:
        if prepared is None and not path.exists():
            raise
        problems.append(str(error))
    except OSError as error:
        problems.append(f"{error.filename!r}: {error.strerror}; check the path and its permissions")
    if "masks" in source.identity:
        list_pairs(path, lambda kind, name: ignored[kind].append(name))
    scanned = _scan_source(source, problems)
    has_files = (path.is_dir() and not is_annotated(path)) or path.suffix == ".csv"
    if "folder" in source.identity or (problems and prepared is None and has_files):
        class_names, listings, structure = list_folder(path, lambda kind, name: ignored[kind].append(name))
        problems += [problem for problem in structure if problem not in problems]
        pools = {split: Pool(len(names), lambda: iter(()), names=names) for split, (names, _) in listings.items()}
        source = source._replace(class_names=class_names, pools=pools)
        files = [(split, *file) for split, listing in listings.items() for file in zip(*listing, strict=True)]
        root = path.parent if path.is_file() else path
        scanned = ordered_map(lambda file: scan_file(root, *file), files, batch=16)
    images, total = [], sum(pool.length for pool in source.pools.values())
    with progress_bar(f"reading {printable(Path(config.name).name)}", total, progress) as advance:
        for image in scanned:
            images.append(image)
            advance()
    return judge(config, source, images, {kind: sorted(names) for kind, names in ignored.items()}, problems)


def _scan_source(source: Source, problems: list[str]) -> Iterator[ScannedImage]:
    """Yield all images of a source; errors are appended to `problems`."""
    for name, pool in source.pools.items():
        try:
            for example in pool.read():
                yield scan_example(name, example)
        except InputError as error:
            problems.append(str(error))
        except Exception as error:  # an incomplete record, or any other error of a source
            problems.append(
                f"the {name} split of data set {source.name!r} cannot be read ({one_line(error)}); create it again"
            )


def scan_file(root: Path, pool: str, name: str, label: int) -> ScannedImage:
    """Read one file of an image folder, header and pixels."""
    try:
        kinds = header_kinds(root / name, os.path.splitext(name)[1].lower())
        return scan_example(pool, Example(name, decode_image(root / name, 3), int(label)), kinds)
    except BadImage as reason:
        return scan_example(pool, Example(name, reason, int(label)))


def scan_example(pool: str, example: Example, kinds: Iterable[str] = ()) -> ScannedImage:
    """Return the properties of a decoded image; `kinds` are the findings in its header."""
    name, image, label = example
    if isinstance(image, BadImage):
        return ScannedImage(name, pool, label, (image.kind,), str(image))
    digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
    if isinstance(label, Objects):
        classes, kinds = tuple(label.labels.tolist()), (*kinds, *_object_kinds(label))
        return ScannedImage(name, pool, 0, kinds, "", image.shape, digest, classes)
    if np.ndim(label) == 0:
        return ScannedImage(name, pool, label, tuple(kinds), "", image.shape, digest)
    classes = tuple(value for value in np.unique(label).tolist() if value not in (UNLABELLED, -1))
    kinds = (*kinds, *(() if classes else ("unlabelled",)))
    return ScannedImage(name, pool, 0, kinds, "", image.shape, digest, classes)


def _object_kinds(its: Objects) -> Iterator[str]:
    """Yield the kinds of findings in the objects of an image."""
    if not len(its.labels):
        yield "no_objects"
        return
    pixels = its.boxes * np.tile(its.size, 2)
    if ((pixels[:, 2:] - pixels[:, :2]) < SMALL).any():
        yield "small_box"
    if len(np.unique(np.column_stack([its.boxes, its.labels]), axis=0)) < len(its.labels):
        yield "repeated_box"


def header_kinds(source: Encoded, extension: str = "") -> list[str]:
    """Return the kinds of findings in an image file's header; raise BadImage if it cannot be read or is too large."""
    with open_image(source) as file:
        name = "JPEG" if file.format == "MPO" else file.format  # a JPEG with more than one image
        holds = {
            "wrongly_named": FORMATS_BY_EXTENSION.get(extension, name) != name,
            "cmyk": file.mode == "CMYK",
            "palette": file.mode in ("P", "PA"),
            "sixteen_bits": (wide := has_16_bits(file)),
            "few_levels": wide and file.mode.startswith("I") and np.asarray(file).max() < 4096,
            "transparent": file.has_transparency_data,
            "several_frames": getattr(file, "is_animated", False),
        }
    return [kind for kind, value in holds.items() if value]


def judge(
    config: DataConfig,
    source: Source,
    images: Sequence[ScannedImage],
    ignored: Mapping[str, Sequence[str]],
    problems: Sequence[str],
) -> Inspection:
    """Return the findings and the verdict on all `images` of a source: a pure function.

    `ignored` are names of ignored files by kind; `problems` are errors of reading the source, one sentence each.
    """
    class_names, pools = source.class_names, source.pools
    decoded = [image for image in images if image.shape]
    labelled = [image for image in decoded if 0 <= image.label < len(class_names)]
    splits, refusals = _divide(config, source, labelled)
    empty = [] if problems else [pool for pool in pools if all(image.pool != pool for image in decoded)]
    problems = [*problems, *_refusals(config, source, decoded), *refusals]
    problems += [str(no_images(config.name, pool)) for pool in empty]
    counts: dict[str, tuple[int, ...]] = {}
    for split in SPLITS:
        members = [image for image, its in zip(labelled, splits, strict=True) if its == split]
        labels = [k for image in members for k in ((image.label,) if image.classes is None else image.classes)]
        if members:
            counts[split] = tuple(np.bincount(np.array(labels, int), minlength=len(class_names)).tolist())
    findings: dict[str, list[str]] = defaultdict(list)
    for kind, text in (*_findings(images, ignored, class_names, counts), *_repeats(labelled, splits, class_names)):
        findings[kind].append(printable(text))
    weights = {weight for weight, kinds in KINDS.items() if kinds.keys() & findings.keys()}
    is_flawed = "flaw" in weights or ("bad" in weights and config.on_bad != "skip")
    sizes = Counter(f"{image.shape[0]}x{image.shape[1]}" for image in decoded)
    train = counts.get("train", ())
    return Inspection(
        name=config.name,
        where=source.where,
        verdict="unusable" if problems else "flawed" if is_flawed else "usable",
        problems=tuple(map(printable, problems)),
        images=len(images),
        decoded=len(decoded),
        class_names=class_names,
        splits=counts,
        balance=round(max(train) / min(train), 3) if train and min(train) else None,
        image_sizes=dict(sizes.most_common(MAX_NAMES)),
        distinct_sizes=len(sizes),
        findings={
            kind: Finding(len(texts), tuple(texts[:MAX_NAMES]))
            for kind in chain.from_iterable(KINDS.values())
            if (texts := findings.get(kind))
        },
        target=source.target,
        sizes={split: splits.count(split) for split in SPLITS if split in splits},
    )


def _divide(config: DataConfig, source: Source, labelled: Sequence[ScannedImage]) -> tuple[list[str], list[str]]:
    """Return the split of each image in `load` ("" if train_size leaves it out), and why it cannot divide them."""
    splits = np.array([image.pool for image in labelled], object)
    train = np.flatnonzero(splits == "train")
    if len(train):
        labels, own = np.array([image.label for image in labelled])[train], frozenset(source.pools)
        names = None if source.pools["train"].names is None else [labelled[i].name for i in train.tolist()]
        try:
            parts = divide(labels, config.validation, config.train_size, own, source.carve, names)
        except InputError as error:
            return splits.tolist(), [str(error)]
        splits[train] = ""
        for split, chosen in parts.items():
            splits[train[chosen]] = split
    return splits.tolist(), []


def _refusals(config: DataConfig, source: Source, decoded: Sequence[ScannedImage]) -> Iterator[str]:
    """Yield why `load` would refuse images that can all be decoded: labels, sizes and channels."""
    class_names = source.class_names
    if source.target == "mask":
        present = {k for image in decoded if image.pool == "train" for k in image.classes or ()}
        if decoded and len(present) < 2:
            yield str(too_few_classes(config.name, len(present)))
    for pool in SPLITS if source.target == "boxes" else ():
        its = np.array([k for image in decoded if image.pool == pool for k in image.classes or ()], np.int64)
        try:
            check_objects(config.name, pool if decoded else "", its, class_names)
        except InputError as error:
            yield str(error)
    for pool in SPLITS if source.target == "class" else ():
        labels = np.array([image.label for image in decoded if image.pool == pool], np.int64)
        try:
            check_labels(config.name, pool, labels, class_names)
        except InputError as error:
            yield str(error)
    for first in decoded[:1]:
        other = next((image for image in decoded if image.shape[:2] != first.shape[:2]), None)
        if other is not None and config.size is None:
            yield str(sizes_differ(config.name, first.name, first.shape, other.name, other.shape))
        other = next((image for image in decoded if image.shape[2:] != first.shape[2:]), None)
        if other is not None:
            yield (
                f"images of data set {config.name!r} differ in channels ({first.name} has {first.shape[2]}, "
                f"{other.name} has {other.shape[2]}); save all of them with the same number"
            )


def _findings(
    images: Sequence[ScannedImage],
    ignored: Mapping[str, Sequence[str]],
    class_names: tuple[str, ...],
    counts: Mapping[str, Sequence[int]],
) -> Iterator[tuple[str, str]]:
    """Yield the kind and text of each finding on ignored files, single images and classes."""
    for kind, names in ignored.items():
        yield from ((kind, name) for name in names)
    for name in (*chain.from_iterable(ignored.values()), *(image.name for image in images)):
        if is_odd(name):
            yield "odd_name", name
    for image in images:
        for kind in image.kinds:
            yield kind, f"{image.name}: {image.reason}" if kind in KINDS["bad"] and image.reason else image.name
        if image.shape and not 0 <= image.label < len(class_names):
            yield "label_out_of_range", f"{image.name}: {image.label}"
    for split, per_class in counts.items():
        for name, count in zip(class_names, per_class, strict=True):
            if count == 0:
                yield "class_missing", f"{split}: {name}"


def is_odd(name: str) -> bool:
    """Return whether a path is unprintable, or a part of it starts with a dash or a space or ends with a space."""
    parts = name.split(os.sep)
    return not name.isprintable() or any(part.startswith(("-", " ")) or part.endswith(" ") for part in parts)


def _repeats(
    labelled: Sequence[ScannedImage], splits: Sequence[str], class_names: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield images with equal pixels: within a split, between splits, in different classes."""
    groups: dict[bytes, list[tuple[str, ScannedImage]]] = defaultdict(list)
    for split, image in zip(splits, labelled, strict=True):
        groups[image.digest].append((split, image))
    for group in groups.values():
        firsts: dict[str, ScannedImage] = {}
        for split, image in group:
            if split and split in firsts:
                yield "duplicate", f"{image.name} = {firsts[split].name}"
            firsts.setdefault(split, image)
        for later, earlier in (("test", "train"), ("validation", "train"), ("test", "validation")):
            for split, image in group:
                if split == later and earlier in firsts:
                    yield f"{later}_in_{earlier}", f"{image.name} = {firsts[earlier].name}"
        first = group[0][1]
        for _, image in group:
            if image.label != first.label:
                yield (
                    "label_conflict",
                    f"{image.name} ({class_names[image.label]}) = {first.name} ({class_names[first.label]})",
                )
