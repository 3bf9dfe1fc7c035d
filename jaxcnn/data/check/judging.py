"""From images that were read to a verdict on their data set: a function of what was seen and nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.data.cache import sizes_differ
from jaxcnn.data.check.findings import KINDS, NAMED, Found, Inspection
from jaxcnn.data.check.survey import Seen, is_odd
from jaxcnn.data.sources.opening import shown
from jaxcnn.data.splits import divide
from jaxcnn.spec import DataConfig

SPLITS = ("train", "validation", "test")


class Reading(NamedTuple):
    """What was read of a data set, before any judgement.

    Args:
        where: Folder or file that was read, or the package that draws the set.
        class_names: One a label.
        pools: Which of train, validation and test the set has itself, and how many images each.
        carve: As `jaxcnn.data.dataset.Source.carve`.
        seen: Every image.
        noted: Names by kind, of what is no image that is read.
        problems: Sentences of errors met on the way.
    """

    where: str
    class_names: tuple[str, ...]
    pools: Mapping[str, int]
    carve: Mapping[str, int]
    seen: Sequence[Seen]
    noted: Mapping[str, Sequence[str]]
    problems: Sequence[str]


def conclude(config: DataConfig, reading: Reading) -> Inspection:
    """The findings and the verdict: a function of what was read and nothing else."""
    classes = len(reading.class_names)
    decoded = [seen for seen in reading.seen if seen.shape]
    good = [seen for seen in decoded if 0 <= seen.label < classes]
    splits, refusal = _divided(config, reading, good)
    problems = [*reading.problems, *_refusals(config, reading, decoded), *refusal]
    counts = {
        split: tuple(
            np.bincount(
                [x.label for x, of in zip(good, splits, strict=True) if of == split], minlength=classes
            ).tolist()
        )
        for split in SPLITS
        if split in splits
    }
    found = {
        **_file_findings(reading),
        **_label_findings(reading, decoded, counts),
        **_repeats(good, splits, reading.class_names),
    }
    sizes = Counter(f"{seen.shape[0]}x{seen.shape[1]}" for seen in decoded)
    train = counts.get("train", ())
    weights = {KINDS[kind].weight for kind in found} - ({"bad"} if config.on_bad == "skip" else set())
    return Inspection(
        name=config.name,
        where=reading.where,
        verdict="unusable" if problems else "flawed" if weights & {"bad", "flaw"} else "usable",
        problems=tuple(map(shown, problems)),
        images=len(reading.seen),
        decoded=len(decoded),
        class_names=reading.class_names,
        splits=counts,
        balance=round(max(train) / min(train), 3) if train and min(train) else None,
        image_sizes=dict(sizes.most_common(NAMED)),
        distinct_sizes=len(sizes),
        found={kind: Found(len(found[kind]), tuple(found[kind][:NAMED])) for kind in KINDS if kind in found},
    )


def _divided(config: DataConfig, reading: Reading, good: Sequence[Seen]) -> tuple[list[str], list[str]]:
    """The split in which `load` puts each image ("" where train_size leaves it out), and why it cannot divide them."""
    splits, train = [seen.pool for seen in good], [i for i, seen in enumerate(good) if seen.pool == "train"]
    if not train:
        return splits, []
    labels = np.asarray([good[i].label for i in train])
    try:
        parts = divide(labels, config.validation, config.train_size, frozenset(reading.pools), reading.carve)
    except ValueError as error:
        return splits, [str(error)]
    for i in train:
        splits[i] = ""
    for split, chosen in parts._asdict().items():
        for position in chosen:
            splits[train[position]] = split
    return splits, []


def _refusals(config: DataConfig, reading: Reading, decoded: Sequence[Seen]) -> list[str]:
    """Why `load` would refuse images that all decode: labels, classes and sizes."""
    classes, sentences = len(reading.class_names), []
    usable = {pool: [seen for seen in decoded if seen.pool == pool] for pool in reading.pools}
    for pool, seen in usable.items():
        wrong = [x.label for x in seen if not 0 <= x.label < classes]
        if wrong:
            sentences.append(
                f"the {pool} labels of data set {config.name!r} contain {wrong[0]}, outside 0..{classes - 1} for its "
                f"{classes} classes; number the classes from 0"
            )
        if not seen and not reading.problems:
            sentences.append(f"the {pool} split of data set {config.name!r} has no image that can be decoded; check it")
    labels = {seen.label for seen in usable.get("train", ())}
    if len(labels) == 1:
        sentences.append(
            f"data set {config.name!r} has a single class in its training images; classification needs at least two"
        )
    return [*sentences, *_shapes_differ(config, decoded)]


def _shapes_differ(config: DataConfig, decoded: Sequence[Seen]) -> list[str]:
    sentences = []
    first = decoded[0] if decoded else Seen("", "", 0)
    other = next((seen for seen in decoded if seen.shape[:2] != first.shape[:2]), None)
    if other is not None and config.size is None:
        names = [shown(seen.name) for seen in (first, other)]
        sentences.append(str(sizes_differ(config.name, names[0], first.shape, names[1], other.shape)))
    other = next((seen for seen in decoded if seen.shape[2:] != first.shape[2:]), None)
    if other is not None:
        sentences.append(
            f"images of data set {config.name!r} differ in channels ({shown(first.name)} has {first.shape[2]}, "
            f"{shown(other.name)} has {other.shape[2]}); save all of them with one number"
        )
    return sentences


def _file_findings(reading: Reading) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for kind, names in reading.noted.items():
        found[kind] += map(shown, names)
    found["odd_name"] += [shown(name) for names in reading.noted.values() for name in names if is_odd(name)]
    for seen in reading.seen:
        for kind in seen.kinds:
            told = seen.reason and KINDS[kind].weight == "bad"
            found[kind].append(shown(f"{seen.name}: {seen.reason}" if told else seen.name))
    return {kind: names for kind, names in found.items() if names}


def _label_findings(
    reading: Reading, decoded: Sequence[Seen], counts: Mapping[str, Sequence[int]]
) -> dict[str, list[str]]:
    classes = len(reading.class_names)
    found = {
        "label_out_of_range": [f"{seen.name}: {seen.label}" for seen in decoded if not 0 <= seen.label < classes],
        "class_missing": [
            f"{split}: {shown(name)}"
            for split, per_class in counts.items()
            for name, count in zip(reading.class_names, per_class, strict=True)
            if count == 0
        ],
    }
    return {kind: names for kind, names in found.items() if names}


def _repeats(good: Sequence[Seen], splits: Sequence[str], class_names: Sequence[str]) -> dict[str, list[str]]:
    """Images with equal pixels: within a split, between splits, under different classes."""
    groups: dict[bytes, list[tuple[str, Seen]]] = defaultdict(list)
    for split, seen in zip(splits, good, strict=True):
        groups[seen.digest].append((split, seen))
    found: dict[str, list[str]] = defaultdict(list)
    for group in (group for group in groups.values() if len(group) > 1):
        firsts: dict[str, Seen] = {}
        for split, seen in group:
            if split and split in firsts:
                found["duplicate"].append(_equal(seen, firsts[split]))
            firsts.setdefault(split, seen)
        for later, earlier in (("test", "train"), ("validation", "train"), ("test", "validation")):
            if earlier in firsts:
                leaked = [_equal(seen, firsts[earlier]) for split, seen in group if split == later]
                found[f"{later}_in_{earlier}"] += leaked
        first = group[0][1]
        labelled = [f"{shown(seen.name)} ({shown(class_names[seen.label])})" for _, seen in group]
        for (_, seen), name in zip(group, labelled, strict=True):
            if seen.label != first.label:
                found["label_conflict"].append(f"{name} = {labelled[0]}")
    return {kind: names for kind, names in found.items() if names}


def _equal(seen: Seen, other: Seen) -> str:
    return f"{shown(seen.name)} = {shown(other.name)}"
