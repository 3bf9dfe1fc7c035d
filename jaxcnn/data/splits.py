"""The fixed choice of validation, test and smaller training sets: by index or by name, the same for every seed."""

import hashlib
import math
import os
import unicodedata
from collections.abc import Iterable, Mapping

import numpy as np

from jaxcnn.data.dataset import Split
from jaxcnn.errors import InputError, require

ORDER_SEED = 20_240_607
"""Never change it: every recorded validation split depends on it."""

TEST_SHARE = 0.2
"""Share of a source without a test split that becomes one."""

HASHED_BYTES = 2**30
"""Bytes of images that `content_hash` covers: all of a small split, evenly spread images of a large one."""


def stratified_order(labels: np.ndarray, seed: int = ORDER_SEED) -> np.ndarray:
    """Return a permutation, int64 (N,), of which each prefix has the classes of labels int (N,) in their proportions.

    It is a function of labels and seed alone. Within a class the choice is random; between classes it
    is Sainte-Laguë's apportionment. With classes of one size each count is within one image of its share; in general
    within 1 + C s / 2, for C classes and a class that is the share s of all images.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    counts = np.unique(labels, return_counts=True)[1]
    rank = np.concatenate([np.arange(count) for count in counts]) if len(counts) else np.zeros(0)
    position = (rank + 0.5) / np.repeat(counts, counts)
    return by_class[np.lexsort((rng.random(len(labels)), position))]


def covering_prefix(labels: np.ndarray, count: int, seed: int = ORDER_SEED) -> np.ndarray:
    """Return `count` sorted indices, stratified, at least one of each class; larger counts contain smaller ones."""
    order = stratified_order(labels, seed)
    first = np.sort(np.unique(labels[order], return_index=True)[1])
    return np.sort(np.concatenate([order[first], np.delete(order, first)])[:count])


def divide(
    labels: np.ndarray, validation: float, train_size: int | None, own: frozenset[str], carve: Mapping[str, int],
    names: Iterable[str] | None = None, groups: np.ndarray | None = None, train_seed: int | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Divide a source's training images, by index or by name.

    Args:
        labels: int (N,).
        validation: Share of the training images, after those of a missing test split are removed.
        train_size: Number of images to keep for training; None: all.
        own: Splits that the source has itself.
        carve: Fixed counts for "validation" and "test", if the source's convention gives them.
        names: One name per image, to divide by; None: by index.
        groups: One group per image, str (N,), which stays in one split; then neither names nor classes divide.
        train_seed: Seed of the choice of `train_size` images; None: the fixed choice.

    Returns:
        Sorted indices of "train", "validation" and "test"; empty for a split that the source has itself.

    Raises:
        InputError: A split would be empty, or train_size does not fit.
    """
    n = len(labels)
    if names is None or groups is not None:
        tests = 0 if "test" in own else carve.get("test", round(TEST_SHARE * n))
        validations = 0 if "validation" in own else carve.get("validation", round(validation * (n - tests)))
        order = stratified_order(labels) if groups is None else group_order(groups)
        test, rest = np.split(order, [edge(groups, order, tests)])
        chosen, train = np.split(rest, [edge(groups, rest, validations)])
    else:
        shares = 0.0 if "test" in own else TEST_SHARE, 0.0 if "validation" in own else validation
        test, chosen, train = _divide_by_name(names, labels, *shares)
    tests, validations, rest = len(test), len(chosen), n - len(test)
    if "validation" not in own and not 0 < validations < rest:
        raise InputError(
            f"validation={validation} of {rest} images leaves {validations} for validation and {rest - validations} "
            f"for training; choose a share that leaves some of both, or add images"
        )
    if "test" not in own and tests == 0:
        raise InputError(f"the data set has {n} images, too few to take a test split from; add images")
    train = _reduced(labels, np.sort(train), train_size, train_seed)
    return {"train": train, "validation": np.sort(chosen), "test": np.sort(test)}


def divide_folds(
    labels: np.ndarray,
    fold: tuple[int, int, int],
    validation: float,
    train_size: int | None,
    groups: np.ndarray | None = None,
    train_seed: int | None = None,
) -> dict[str, np.ndarray]:
    """Divide all images into folds and return the division of one fold, by index.

    The folds are stratified by class and disjoint, and together they are all images. The rest of a fold is divided into
    training and validation images; every fold has as many training images. With groups each fold holds whole groups,
    the folds differ in size as little as that allows, and classes play no part.

    Args:
        labels: int (N,).
        fold: Number of the fold, number of folds, seed of the division into folds.
        validation: Share of the images outside the fold that is for validation.
        train_size: Number of images to keep for training; None: all.
        groups: One group per image, str (N,), which stays in one split.
        train_seed: As for `divide`.

    Returns:
        Sorted indices of "train", "validation" and "test".

    Raises:
        InputError: There is no such fold, or train_size does not fit.

    >>> [len(part) for part in divide_folds(np.arange(20) % 2, (0, 5, 0), 0.25, None).values()]
    [12, 4, 4]
    """
    number, count, seed = fold
    if not (0 <= number < count and 2 <= count <= len(labels) // 2 and seed >= 0):
        raise InputError(
            f"fold={fold}: give the number of the fold, from 0, below the number of folds, which is at least 2 and at "
            f"most half of the {len(labels)} images, and a seed of 0 or more"
        )
    parts = np.array_split(stratified_order(labels, seed), count)
    if groups is not None:
        parts = _whole_groups(groups, count, seed)
    test = np.sort(parts[number])
    rest = np.setdiff1d(np.arange(len(labels)), test)
    size = round((1 - validation) * (len(labels) - max(map(len, parts))))
    if not 0 < size < len(rest):
        raise InputError(f"validation={validation} of {len(rest)} images leaves a split empty; choose another share")
    order = rest[stratified_order(labels[rest], seed) if groups is None else group_order(groups[rest], seed)]
    size = edge(groups, order, size)
    train = _reduced(labels, np.sort(order[:size]), train_size, train_seed)
    return {"train": train, "validation": np.sort(order[size:]), "test": test}


def group_order(groups: np.ndarray, seed: int = ORDER_SEED) -> np.ndarray:
    """Return a permutation, int64 (N,), with each group of `groups` str (N,) in one piece, groups by a hash of names.

    A group is added or removed without moving another one.
    """
    names, which = np.unique(groups, return_inverse=True)
    position = [hashlib.blake2b(f"{seed} {name}".encode(errors="surrogateescape")).hexdigest() for name in names]
    return np.argsort(np.argsort(np.argsort(position))[which.reshape(-1)], kind="stable")


def edge(groups: np.ndarray | None, order: np.ndarray, count: int) -> int:
    """Return how many of the images in `order` make a split of about `count` that ends with a group; without, `count`.

    Raises:
        InputError: All of them are one group.
    """
    if groups is None or count == 0:
        return count
    ends = np.flatnonzero(groups[order[1:]] != groups[order[:-1]]) + 1
    if not len(ends):
        raise InputError(f"groups: {len(order)} images of one group cannot be divided; leave groups out")
    return int(ends[np.argmin(np.abs(ends - count))])


def _whole_groups(groups: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
    """Return the images of each of `count` folds: the largest group is always added to the smallest fold."""
    order = group_order(groups, seed)
    pieces = np.split(order, np.flatnonzero(groups[order[1:]] != groups[order[:-1]]) + 1)
    if len(pieces) < count:
        raise InputError(f"folds={count}: the images are of {len(pieces)} groups; give at most as many folds")
    folds = [np.zeros(0, np.int64) for _ in range(count)]
    for piece in sorted(pieces, key=len, reverse=True):
        smallest = min(range(count), key=lambda fold: len(folds[fold]))
        folds[smallest] = np.concatenate([folds[smallest], piece])
    return folds


def _reduced(labels: np.ndarray, train: np.ndarray, train_size: int | None, seed: int | None) -> np.ndarray:
    """Return `train_size` of the training images, the fixed choice or one by a seed."""
    if train_size is None:
        return train
    classes = len(np.unique(labels[train]))
    limits = f"must be from {classes} (the classes) to {len(train)} (the training images); leave it out to use all"
    require(classes <= train_size <= len(train), "train_size", train_size, limits)
    return train[covering_prefix(labels[train], train_size, ORDER_SEED if seed is None else seed)]


def _divide_by_name(names: Iterable[str], labels: np.ndarray, tests: float, validations: float) -> list[np.ndarray]:
    """Return the indices of test, validation and training images, each chosen by the hash of its own name.

    An image is added to a split, or removed, without moving another one. The shares are those of many images; a class
    of which a split would get none gives it the image with the nearest hash, if one is left for training.
    """
    texts = (os.fsencode(unicodedata.normalize("NFC", name).replace(os.sep, "/")) for name in names)
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    position = np.frombuffer(digests, "<u8") / 2**64
    order = np.lexsort((position, labels))
    parts: tuple[list[np.ndarray], ...] = [], [], []
    for members in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        edges = np.searchsorted(position[members], [tests, tests + validations * (1 - tests)])
        most = len(members) - 1 - (validations > 0 and len(members) > 2)
        first = min(max(edges[0], 1), most) if tests else 0
        second = min(max(edges[1], first + 1), len(members) - 1) if validations else first
        for part, chosen in zip(parts, np.split(members, [first, second]), strict=True):
            part.append(chosen)
    return [np.concatenate(part) for part in parts]


def content_hash(split: Split) -> str:
    """Return the SHA-256 of a split's arrays; streamed images, which are not in memory, are left out."""
    digest = hashlib.sha256()
    for name, array in sorted(split.items()):
        if isinstance(array, np.ndarray):
            digest.update(f"{name} {array.shape} {array.dtype.str}".encode())
            every = -(-array.nbytes // HASHED_BYTES) or 1
            for start in range(0, len(array), 1024 * every):
                digest.update(np.ascontiguousarray(array[start : start + 1024 * every : every]).data)
    return digest.hexdigest()


def validation_hash(labels: np.ndarray, indices: np.ndarray, total: int) -> str:
    """Return the SHA-256 of a choice of `indices` int (V,) with `labels` int (V,) among `total` images."""
    content = f"{total}:{len(indices)}:".encode() + indices.astype("<i8").tobytes() + labels.astype("<i4").tobytes()
    return hashlib.sha256(content).hexdigest()


def channel_statistics(images: np.ndarray, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Compute mean and standard deviation, float32 (C,), of images uint8 (N, H, W, C) with pixels scaled to [0, 1].

    Sums are integers, so the result does not depend on the order of the images; `chunk` images are summed at a time.
    The standard deviation of a constant channel is returned as 1.
    """
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)
    for start in range(0, len(images), chunk):
        part = images[start : start + chunk]
        for channel in range(channels):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    levels, pixels = np.arange(256, dtype=np.int64), math.prod(images.shape[:-1])
    mean = (counts @ levels) / pixels
    variance = (counts @ levels**2) / pixels - mean**2
    std = np.where(counts.max(axis=1) == pixels, 255.0, np.sqrt(np.maximum(variance, 0)))
    return (mean / 255).astype(np.float32), (std / 255).astype(np.float32)
