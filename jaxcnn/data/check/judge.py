"""Summarise the scanned images of a data set as findings and a verdict: a pure function."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from jaxcnn.data.check.findings import KINDS, MAX_NAMES, Finding, Inspection, ScannedImage
from jaxcnn.data.dataset import Source
from jaxcnn.data.problems import check_labels, no_images, sizes_differ
from jaxcnn.data.splits import divide
from jaxcnn.errors import InputError, printable
from jaxcnn.spec import DataConfig

SPLITS = ("train", "validation", "test")


def judge(
    config: DataConfig,
    source: Source,
    images: Sequence[ScannedImage],
    ignored: Mapping[str, Sequence[str]],
    problems: Sequence[str],
) -> Inspection:
    """Return the findings and the verdict on all `images` of a source.

    `ignored` are names of ignored files by kind; `problems` are errors of reading the source, one sentence each.
    """
    class_names, pools = source.class_names, source.pools
    decoded = [image for image in images if image.shape]
    labelled = [image for image in decoded if 0 <= image.label < len(class_names)]
    splits, refusals = _divide(config, source, labelled)
    empty = [] if problems else [pool for pool in pools if all(image.pool != pool for image in decoded)]
    problems = [*problems, *_refusals(config, decoded, class_names), *refusals]
    problems += [str(no_images(config.name, pool)) for pool in empty]
    counts: dict[str, tuple[int, ...]] = {}
    for split in SPLITS:
        labels = [image.label for image, its in zip(labelled, splits, strict=True) if its == split]
        if labels:
            counts[split] = tuple(np.bincount(labels, minlength=len(class_names)).tolist())
    findings: dict[str, list[str]] = defaultdict(list)
    texts = chain(_findings(images, ignored, class_names, counts), _repeats(labelled, splits, class_names))
    for kind, text in texts:
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
            kind: Finding(len(findings[kind]), tuple(findings[kind][:MAX_NAMES]))
            for kinds in KINDS.values()
            for kind in kinds
            if kind in findings
        },
    )


def _divide(config: DataConfig, source: Source, labelled: Sequence[ScannedImage]) -> tuple[list[str], list[str]]:
    """Return the split of each image in `load` ("" if train_size leaves it out), and why it cannot divide them."""
    splits = [image.pool for image in labelled]
    train = [i for i, pool in enumerate(splits) if pool == "train"]
    if not train:
        return splits, []
    labels = np.asarray([labelled[i].label for i in train])
    try:
        parts = divide(labels, config.validation, config.train_size, frozenset(source.pools), source.carve)
    except InputError as error:
        return splits, [str(error)]
    for i in train:
        splits[i] = ""
    for split, chosen in parts.items():
        for position in chosen:
            splits[train[position]] = split
    return splits, []


def _refusals(config: DataConfig, decoded: Sequence[ScannedImage], class_names: tuple[str, ...]) -> Iterator[str]:
    """Yield why `load` would refuse images that can all be decoded: labels, sizes and channels."""
    for pool in SPLITS:
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
        for name in names:
            yield kind, name
            if is_odd(name):
                yield "odd_name", name
    for image in images:
        if is_odd(image.name):
            yield "odd_name", image.name
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
