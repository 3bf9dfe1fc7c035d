"""`load(config)`: read any source of labelled images as arrays with fixed splits."""

import hashlib
import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxcnn.data.boxes import check_objects, pad_alike
from jaxcnn.data.cache import load_or_compute, load_or_decode
from jaxcnn.data.dataset import Dataset, Source, Split, strata
from jaxcnn.data.groups import read_groups
from jaxcnn.data.messages import check_labels, check_masks
from jaxcnn.data.sources.catalog import find_source
from jaxcnn.data.splits import (
    channel_statistics,
    covering_prefix,
    divide,
    divide_folds,
    edge,
    group_order,
    stratified_order,
    validation_hash,
)
from jaxcnn.data.stream import StreamedImages, is_streamed, open_split
from jaxcnn.errors import InputError, printable, require
from jaxcnn.records import as_record, check_choices
from jaxcnn.spec import NORMALISATIONS, DataConfig

LIMITS = {
    "train_size": (1, math.inf),
    "size": (1, 4096),
    "workers": (0, math.inf),
    "classes": (2, math.inf),
    "images": (20, 2**31),  # ten for each of two classes, and what 32 bits can count
    "data_seed": (0, math.inf),
    "split_seed": (0, math.inf),
    "train_seed": (0, math.inf),
}
"""Smallest and largest value of the whole numbers in a DataConfig."""

SAMPLE = 4096
"""Largest number of training images from which the statistics of a streamed set are computed."""

CHUNK_BYTES = 2**25


def load(config: DataConfig | str, *, progress: bool = False) -> Dataset:
    """Load a data set: decoded once, cached, and divided independently of any seed.

    With `config.stream`, images are decoded when they are indexed (`jaxcnn.data.stream`); the splits are the same, and
    mean and deviation are those of a sample if the training split is large.

    A missing validation split is taken from the training images (`config.validation` of them) and recorded in
    `validation_hash`; a missing test split, a fifth of them, is taken before. Images of a folder are chosen by a hash
    of their names, so that an added image moves no other; those of other sources stratified, by index. The digits'
    splits are fixed. A test split of its own is decoded here too, so that one that does not fit is refused early.
    With `config.fold` all images of the source are divided anew, and that part of them is the test split; mean and
    deviation are then those of all images, so that the runs of all folds share their compiled programs.
    A name in place of a config means all other fields at their defaults.

    Raises:
        InputError: The set is unknown, not prepared, damaged, or a field does not fit it.

    >>> load("digits").sizes
    {'train': 1137, 'validation': 300, 'test': 360}
    """
    config = DataConfig(config) if isinstance(config, str) else config
    check_fields(config)
    source = find_source(config)
    pool, skipped = _read(source, config, progress, "train")
    own, names = frozenset(source.pools), source.pools["train"].names
    if names is not None and skipped:
        names = _without(names, skipped)
    groups = None
    if config.groups is not None:
        groups = read_groups(config.name, source.pools["train"], config.groups, names, pool["labels"])
    train_size = None if config.fold else config.train_size
    how = config.validation, train_size, own, source.carve, names, groups
    parts = divide(strata(pool["labels"]), *how, config.train_seed)
    train, validation, chosen = _pick(pool, parts["train"]), _pick(pool, parts["validation"]), parts["validation"]
    # Mean and deviation are those of the fixed choice, so that runs of one architecture share their compiled programs.
    fixed = train if config.train_seed is None else _pick(pool, divide(strata(pool["labels"]), *how)["train"])
    if "validation" in own:
        validation, more = _read(source, config, progress, "validation", train)
        skipped, chosen = skipped + more, np.arange(len(validation["labels"]))
    test = _read(source, config, progress, "test", train)[0] if "test" in own else _pick(pool, parts["test"])
    if source.target == "boxes":
        train, validation, test = pad_alike({"train": train, "validation": validation, "test": test}).values()
    grouped = {} if groups is None else {name: groups[rows] for name, rows in parts.items()}
    for name in own - {"train"} if config.groups is not None else ():
        its, labels = source.pools[name], (validation if name == "validation" else test)["labels"]
        grouped[name] = read_groups(config.name, its, config.groups or "", its.names, labels)
    if config.fold:
        pool = _joined(config.name, [train, validation, test])
        share = len(validation["labels"]) / (len(train["labels"]) + len(validation["labels"]))
        groups = np.concatenate([grouped[name] for name in ("train", "validation", "test")]) if grouped else None
        parts = divide_folds(strata(pool["labels"]), config.fold, share, config.train_size, groups, config.train_seed)
        grouped = {} if groups is None else {name: groups[rows] for name, rows in parts.items()}
        train, validation, test = (_pick(pool, parts[name]) for name in ("train", "validation", "test"))
        chosen = parts["validation"]
    mean, std, sampled = _statistics(source, config, pool if config.fold else fixed)
    dataset = Dataset(
        name=config.name,
        train=train,
        validation=validation,
        load_test=lambda: test,
        class_names=source.class_names,
        image_shape=train["images"].shape[1:],
        mean=mean,
        std=std,
        validation_hash=validation_hash(strata(validation["labels"]), chosen, len(pool["labels"])),
        sizes={"train": len(train["labels"]), "validation": len(validation["labels"]), "test": len(test["labels"])},
        skipped=skipped,
        where=source.where,
        sampled=sampled,
        split_by=_divided_by(config, names is not None and not own >= {"validation", "test"}),
        groups=grouped,
    )
    _refuse_shared_groups(dataset, config)
    return resplit(dataset, config.split_seed)


def _divided_by(config: DataConfig, named: bool) -> str:
    return "group" if config.groups is not None else "name" if named and not config.fold else "index"


def _refuse_shared_groups(dataset: Dataset, config: DataConfig) -> None:
    seen = dict[str, str]()
    for split, groups in dataset.groups.items():
        for name in np.unique(groups).tolist():
            if name in seen:
                raise InputError(
                    f"groups={config.groups!r}: group {name!r} is in the {seen[name]} and in the {split} split of data "
                    f"set {config.name!r}; leave groups out, or cross-validate (folds), which divides all images"
                )
            seen[name] = split


def resplit(dataset: Dataset, seed: int | None) -> Dataset:
    """Return a data set with its training and validation images divided anew, as many of each, stratified by class.

    Groups stay in one split; then there are about as many of each, and classes play no part.

    Mean and deviation stay those of the fixed division: they hardly move, and runs of one architecture share their
    compiled programs.

    Args:
        dataset: A data set in its fixed division.
        seed: Seed of the division; None: as it is.

    Raises:
        InputError: The images are streamed and the source has a validation split of its own.
    """
    if seed is None:
        return dataset
    pool, count = _joined(dataset.name, [dataset.train, dataset.validation]), dataset.sizes["validation"]
    labels, groups, grouped = strata(pool["labels"]), None, dataset.groups
    if grouped:
        groups = np.concatenate([grouped["train"], grouped["validation"]])
    order = stratified_order(labels, seed) if groups is None else group_order(groups, seed)
    count = edge(groups, order, count)
    chosen, rest = np.sort(order[:count]), np.sort(order[count:])
    if groups is not None:
        grouped = {**grouped, "train": groups[rest], "validation": groups[chosen]}
    return dataset._replace(
        train=_pick(pool, rest),
        validation=_pick(pool, chosen),
        validation_hash=validation_hash(labels[chosen], chosen, len(labels)),
        sizes=dataset.sizes | {"train": len(rest), "validation": count},
        groups=grouped,
    )


def divided(dataset: Dataset, config: DataConfig) -> Dataset:
    """Return the images of a run of a study, from those of its plan: divided or chosen anew, or of a fold."""
    own = config.fold is not None or config.train_seed is not None
    return load(config) if own else resplit(dataset, config.split_seed)


def _joined(name: str, splits: Sequence[Split]) -> Split:
    """Return several splits as one, in their order."""
    joined: Split = {key: np.concatenate([each[key] for each in splits]) for key in splits[0] if key != "images"}
    images: list[Any] = [each["images"] for each in splits]
    first = images[0]
    if not isinstance(first, StreamedImages):
        return joined | {"images": np.concatenate(images)}
    if any(each.at is not first.at for each in images):
        raise InputError(
            f"data {name!r}: its streamed validation or test images are a split of their own, which cannot be divided "
            "anew; leave stream out, or give tuning.method=grid and no folds"
        )
    places, labels = (np.concatenate([getattr(each, field) for each in images]) for field in ("places", "labels"))
    streamed: Any = type(first)(first.source, first.at, places, labels, first.image_shape, first.first, first.on_bad)
    return joined | {"images": streamed}


def info(config: DataConfig, *, progress: bool = False) -> dict[str, Any]:
    """Return the facts of `load(config)` as plain JSON values: sizes, classes, shape, statistics, hash, place.

    >>> info(DataConfig("digits"))["sizes"]
    {'train': 1137, 'validation': 300, 'test': 360}
    """
    data = load(config, progress=progress)
    facts = {"name": data.name, "where": data.where, "sizes": data.sizes, "classes": len(data.class_names)}
    facts |= {"class_names": data.class_names, "image_shape": data.image_shape}
    facts |= {name: np.round(getattr(data, name).astype(float), 6) for name in ("mean", "std")}
    return as_record(facts | {"validation_hash": data.validation_hash, "skipped": data.skipped})


def check_fields(config: DataConfig) -> None:
    """Raise InputError if a field has a value that no data set can have."""
    check_choices(config)
    sides = config.size if isinstance(config.size, tuple) else (config.size or 1,)
    whole = len(sides) < 3 and all(hasattr(side, "__index__") for side in sides)
    require(whole and len(sides) > 0, "size", repr(config.size), "give one number, or a height and a width")
    require(0 < config.validation < 1, "validation", config.validation, "must be a share between 0 and 1, such as 0.1")
    for name, (least, most) in LIMITS.items():
        value = getattr(config, name)
        limits = f"must be at least {least}" if most == math.inf else f"must be from {least} to {most}"
        for each in value if isinstance(value, tuple) else (value,):
            require(each is None or least <= each <= most, name, value, limits)
    ignored = config.ignore or ()
    require(all(0 <= value <= 255 for value in ignored), "ignore", ignored, "values of masks are from 0 to 255")
    chosen = config.train_seed is None or config.train_size is not None
    require(chosen, "train_seed", config.train_seed, "it chooses train_size images; give train_size, or leave it out")
    squared = config.fit == "squash" or config.size is not None
    require(squared, "fit", repr(config.fit), "it needs size, such as size=64, which says what to fit images into")


def warn_of_blank(dataset: Dataset) -> None:
    """Warn of training images of one colour (up to 4,096 are looked at): files that were written or read wrongly."""
    images = dataset.train["images"]
    if isinstance(images, StreamedImages):
        return
    rows = np.linspace(0, len(images) - 1, min(len(images), SAMPLE)).astype(int)
    flat = images.reshape(len(images), -1, images.shape[-1])
    # A few pixels tell most images apart from blank ones.
    some = flat[rows[:, None], np.linspace(0, flat.shape[1] - 1, 32).astype(int)]
    likely = rows[(some == some[:, :1]).all((1, 2))].tolist()
    if blank := [row for row in likely if (flat[row] == flat[row, 0]).all()]:
        value = ", ".join(map(str, flat[blank[0], 0]))
        warnings.warn(
            f"{len(blank)} of {len(rows)} training images of data set {dataset.name!r} are of one colour, such as "
            f"number {blank[0]} (all {value}); look at the files, and remove or repair them",
            stacklevel=3,
        )


def _read(
    source: Source, config: DataConfig, progress: bool, split: str, train: Split | None = None
) -> tuple[Split, tuple[str, ...]]:
    """Return a split of the source, with the image shape of `train`, and its skipped files with reasons."""
    if config.stream and source.target != "class":
        what = {"mask": "masks", "text": "lines"}.get(source.target, "boxes")
        raise InputError(
            f"stream=True: data set {config.name!r} has {what}, which are kept in memory; leave stream out"
        )
    if config.stream:
        arrays, skipped = open_split(source, split, on_bad=config.on_bad, progress=progress), ()
    else:
        arrays, skipped = load_or_decode(source, split, on_bad=config.on_bad, progress=progress)
    if skipped:
        warnings.warn(f"skipped {len(skipped)} files of data set {config.name!r}: {'; '.join(skipped)}", stacklevel=3)
    if source.target == "class":
        check_labels(config.name, split, arrays["labels"], source.class_names)
    elif source.target == "boxes":
        check_objects(config.name, split, arrays["labels"], source.class_names)
    elif source.target == "mask" and split == "train":
        check_masks(config.name, arrays["labels"], source.class_names)
    ours, theirs = (train or arrays)["images"].shape[1:], arrays["images"].shape[1:]
    if ours != theirs:
        raise InputError(
            f"the {split} images of data set {config.name!r} have shape {theirs} and its training images {ours}; "
            f"set size, such as size={ours[0] if ours[0] == ours[1] else ours[:2]}, to resize both to one"
        )
    return arrays, skipped


def _without(names: Iterable[str], skipped: tuple[str, ...]) -> list[str]:
    """Return the names without those of skipped files, which are reported in the same order."""
    left, kept = list(reversed(skipped)), []
    for name in names:
        if left and left[-1].startswith(f"{printable(name)}: "):
            left.pop()
        else:
            kept.append(name)
    return kept


def _pick(split: Split, indices: np.ndarray) -> Split:
    """Return the examples at sorted `indices`, without a copy if that is all of them, and without decoding any."""
    if len(indices) == len(split["labels"]):
        return split
    images: Any = split["images"]
    images = images.select(indices) if is_streamed(split) else images[indices]
    return {name: images if name == "images" else array[indices] for name, array in split.items()}


def _statistics(source: Source, config: DataConfig, train: Split) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Return mean and std float32 (C,) of the training images, and the size of the sample they were computed from.

    The sample is a function of the labels. The mean of a sample of m of n images has a standard error of the spread of
    the images' own means times sqrt((1 - m / n) / m): about 0.002 for photographs and m = 4,096.
    """
    images, labels = train["images"], train["labels"]
    if config.normalize in NORMALISATIONS:
        channels, fixed = images.shape[-1], np.asarray(NORMALISATIONS[config.normalize], np.float32)
        if channels != fixed.shape[1]:
            raise InputError(
                f"normalize={config.normalize!r}: it is for colour images, those of {config.name!r} have {channels} "
                "channels; leave out normalize and weights, or give colour images"
            )
        return *fixed, None
    if not isinstance(images, StreamedImages):
        return *channel_statistics(images), None
    chosen = np.arange(len(labels)) if len(labels) <= SAMPLE else covering_prefix(labels, SAMPLE)
    sample = images.select(chosen)

    def compute() -> np.ndarray:
        chunk = max(1, CHUNK_BYTES // (sample.nbytes // len(sample)))
        return np.stack(channel_statistics(sample, chunk))  # type: ignore[arg-type]

    which = hashlib.sha256(sample.places.astype("<i8").tobytes()).hexdigest()
    mean, std = load_or_compute(source.name, "statistics", [source.identity, config.on_bad, which], compute)
    return mean, std, len(chosen)
