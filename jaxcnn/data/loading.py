"""`load(config)`: any source of labelled images as arrays with frozen splits."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from jaxcnn.data.cache import Decoded, decoded
from jaxcnn.data.dataset import Dataset, Source, Split
from jaxcnn.data.sources.catalog import find_source
from jaxcnn.data.splits import channel_statistics, divide, validation_hash
from jaxcnn.data.stream import only, open_pool, sampled_statistics
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig

FEWEST_DRAWN, MOST_DRAWN = 20, 2**31
"""Images of a drawn set: ten for each of two classes, and no more than 32 bits count."""


def load(config: DataConfig, *, progress: bool = False) -> Dataset:
    """Load a data set: decoded once, cached, and divided in a way that no seed changes.

    With `config.stream` nothing is decoded in advance: images are when they are indexed (`jaxcnn.data.stream`), the
    splits are the same, and mean and deviation are those of a sample where the training split is large.

    A missing validation split is taken from the training images (`config.validation` of them): stratified, by index,
    recorded in `validation_hash`. A missing test split, a fifth of them, is taken before. The digits' splits are fixed.

    Args:
        config: Which images; see `jaxcnn.spec.DataConfig`.
        progress: Show a progress bar on standard error while decoding.

    Raises:
        InputError: The set is unknown, not prepared, damaged, or a field does not fit it.

    >>> load(DataConfig("digits")).sizes
    {'train': 1137, 'validation': 300, 'test': 360}
    """
    check_fields(config)
    source = find_source(config)
    pool = _read(source, config, progress, "train")
    labels, skipped = pool.split["labels"], pool.skipped
    parts = divide(labels, config.validation, config.train_size, frozenset(source.pools), source.carve)
    train, validation, chosen = _pick(pool.split, parts.train), _pick(pool.split, parts.validation), parts.validation
    if "validation" in source.pools:
        own = _read(source, config, progress, "validation")
        validation, skipped = _like(train, own.split, config, "validation"), skipped + own.skipped
        chosen = np.arange(len(validation["labels"]))
    mean, std, sampled = _statistics(source, config, train)
    tests = source.pools["test"].length if "test" in source.pools else len(parts.test)
    return Dataset(
        name=config.name,
        train=train,
        validation=validation,
        load_test=functools.partial(_load_test, source, config, progress, train, parts.test),
        class_names=source.class_names,
        image_shape=train["images"].shape[1:],
        mean=mean,
        std=std,
        validation_hash=validation_hash(validation["labels"], chosen, len(labels)),
        sizes={"train": len(train["labels"]), "validation": len(validation["labels"]), "test": tests},
        skipped=skipped,
        where=source.where,
        sampled=sampled,
    )


def info(config: DataConfig, *, progress: bool = False) -> dict[str, Any]:
    """What `load(config)` gives, as plain JSON values: sizes, classes, shape, statistics, hash, place."""
    data = load(config, progress=progress)
    return {
        "name": data.name,
        "where": data.where,
        "sizes": data.sizes,
        "classes": len(data.class_names),
        "class_names": list(data.class_names),
        "image_shape": list(data.image_shape),
        "mean": [round(float(value), 6) for value in data.mean],
        "std": [round(float(value), 6) for value in data.std],
        "validation_hash": data.validation_hash,
        "skipped": list(data.skipped),
    }


def _statistics(source: Source, config: DataConfig, train: Split) -> tuple[np.ndarray, np.ndarray, int | None]:
    if config.stream:
        return sampled_statistics(source, train, config.on_bad)
    return *channel_statistics(train["images"]), None


def _load_test(source: Source, config: DataConfig, progress: bool, train: Split, indices: np.ndarray) -> Split:
    if "test" not in source.pools:
        return _pick(_read(source, config, progress, "train").split, indices)
    return _like(train, _read(source, config, progress, "test").split, config, "test")


def _read(source: Source, config: DataConfig, progress: bool, name: str) -> Decoded:
    if config.stream:
        result = Decoded(open_pool(source, name, on_bad=config.on_bad, progress=progress), ())
    else:
        result = decoded(source, name, on_bad=config.on_bad, progress=progress)
    if result.skipped:
        warnings.warn(
            f"skipped {len(result.skipped)} files of data set {config.name!r}: {'; '.join(result.skipped)}",
            stacklevel=3,
        )
    labels, classes = result.split["labels"], len(source.class_names)
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise InputError(
            f"the {name} labels of data set {config.name!r} contain {int(wrong[0])}, outside 0..{classes - 1} for "
            f"its {classes} classes; number the classes from 0"
        )
    if name == "train" and len(np.unique(labels)) < 2:
        raise InputError(
            f"data set {config.name!r} has a single class ({source.class_names[int(labels[0])]!r}); "
            f"classification needs at least two"
        )
    return result


def _pick(split: Split, indices: np.ndarray) -> Split:
    """The examples at sorted `indices`; without a copy where that is all of them."""
    if len(indices) == len(split["labels"]):
        return split
    return {key: only(array, indices) for key, array in split.items()}


def _like(train: Split, split: Split, config: DataConfig, name: str) -> Split:
    """`split`, once its images are known to have the shape of the training images."""
    ours, theirs = train["images"].shape[1:], split["images"].shape[1:]
    if ours != theirs:
        raise InputError(
            f"the {name} images of data set {config.name!r} have shape {theirs} and its training images {ours}; "
            f"set size, such as size={ours[0]}, to resize both to one"
        )
    return split


def check_fields(config: DataConfig) -> None:
    """Refuse values that no data set can have, by name."""
    if not 0 < config.validation < 1:
        raise InputError(f"validation={config.validation} must be a share between 0 and 1, such as 0.1")
    if config.train_size is not None and config.train_size < 1:
        raise InputError(f"train_size={config.train_size} must be at least 1; leave it out to use all images")
    if config.size is not None and not 1 <= config.size <= 4096:
        raise InputError(f"size={config.size} must lie in 1..4096 pixels; choose such a number or leave it out")
    if config.workers < 0:
        raise InputError(f"workers={config.workers} must not be negative; 0 decodes in threads")
    if config.classes < 2:
        raise InputError(f"classes={config.classes} must be at least 2; choose more, or leave it out for 10")
    if not FEWEST_DRAWN <= config.images <= MOST_DRAWN:
        span = f"{FEWEST_DRAWN}..{MOST_DRAWN}"
        raise InputError(f"images={config.images} must lie in {span}; choose such a number, or leave it out for 2000")
    if config.data_seed < 0:
        raise InputError(f"data_seed={config.data_seed} must not be negative; choose 0 or more")
    if config.on_bad not in ("refuse", "skip"):
        raise InputError(f"on_bad={config.on_bad!r} must be 'refuse' or 'skip'")
