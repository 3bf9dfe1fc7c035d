"""Batches as pure functions of (seed, step): a run resumes after any step without saved state."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.data.dataset import Split
from jaxcnn.errors import InputError, require

CACHED_ORDERS = 3
"""Epochs whose order a process caches: the current, the next, and the validation split's."""


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Return the number of batches for `n` examples; the last one may be padded.

    >>> steps_per_epoch(1000, 128)
    8
    """
    require(n >= 1, "n", n, "must be at least 1 example")
    require(batch_size >= 1, "batch_size", batch_size, "must be at least 1")
    return -(-n // batch_size)


def epoch_order(n: int, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """Return the order of the examples in an epoch: a permutation int32 (n,) that depends on (seed, epoch) only."""
    if not shuffle:
        return np.arange(n, dtype=np.int32)
    # Philox, not the default generator: a counter-based stream that NumPy promises to keep as it is.
    bits = np.random.Philox(np.random.SeedSequence([seed, epoch]))
    return np.random.Generator(bits).permutation(n).astype(np.int32)


def class_order(labels: np.ndarray, batch_size: int, per_class: int) -> Callable[[int, int, int], np.ndarray]:
    """Return an order in which each batch holds some classes with `per_class` images each, next to one another.

    Args:
        labels: int (N,), those of the training split.
        batch_size: Examples per step, a multiple of `per_class`.
        per_class: Images of each class of a batch; classes with fewer images are never drawn.

    Returns:
        (N, seed, epoch) -> indices, int32, of an epoch: as many whole batches as N examples fill. Classes are drawn
        anew for each batch, and images anew for each class.

    Raises:
        InputError: batch_size is no multiple of per_class, or fewer classes have enough images than a batch holds.

    >>> labels = np.array([0, 0, 0, 1, 1, 1])
    >>> labels[class_order(labels, 4, 2)(6, 0, 0)].reshape(-1, 2).T.tolist()
    [[1, 0, 0, 1], [1, 0, 0, 1]]
    """
    classes, counts = np.unique(labels, return_counts=True)
    members = [np.flatnonzero(labels == each).astype(np.int32) for each in classes[counts >= per_class]]
    ways, rest = divmod(batch_size, per_class)
    if rest or not 2 <= ways <= len(members):
        raise InputError(
            f"batch_size={batch_size}: must be a multiple of task.per_class={per_class}, from 2 to {len(members)} "
            "times it (the classes with so many training images)"
        )

    def order(n: int, seed: int, epoch: int) -> np.ndarray:
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch, per_class])))
        chosen = [
            rng.permutation(members[each])[:per_class]
            for _ in range(steps_per_epoch(n, batch_size))
            for each in rng.permutation(len(members))[:ways]
        ]
        return np.concatenate(chosen)

    return order


_cached_order = lru_cache(maxsize=CACHED_ORDERS)(epoch_order)


def batch_indices(
    n: int,
    batch_size: int,
    *,
    seed: int,
    step: int,
    shuffle: bool = True,
    shard: tuple[int, int] = (0, 1),
    order: np.ndarray | None = None,
    even: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the examples, of `n`, in the batch of a step; `seed` is that of their order.

    Args:
        batch_size: Examples per step, over all hosts together.
        step: Counted from 0 over all epochs; the epoch is step // steps_per_epoch(n, batch_size).
        shuffle: False keeps the stored order (evaluation).
        shard: (index, count): this host's contiguous part of each batch; together the parts are the batch.
        order: Order of the examples in the epoch, int (n,); None: `epoch_order`.
        even: The batches of an epoch differ by one example at most. False: only the last one is smaller.

    Returns:
        The indices, int32 (B,), a smaller batch padded with index 0; and the mask, float32 (B,), 1 for an
        example and 0 for padding. B is batch_size / count (up to rounding).

    Raises:
        InputError: A number is out of range.

    >>> batch_indices(5, 3, seed=0, step=1, shuffle=False)
    (array([3, 4, 0], dtype=int32), array([1., 1., 0.], dtype=float32))
    """
    steps, (index, count) = steps_per_epoch(n, batch_size), shard
    limits = f"must be (index, count) with 0 <= index < count <= batch_size={batch_size}"
    require(0 <= index < count <= batch_size, "shard", shard, limits)
    require(step >= 0, "step", step, "must be at least 0")
    require(seed >= 0, "seed", seed, "must be at least 0")
    epoch, batch = divmod(step, steps)
    if order is None:
        order = _cached_order(n, seed, epoch, shuffle)
    first, last = index * batch_size // count, (index + 1) * batch_size // count
    start, stop = batch * batch_size, min((batch + 1) * batch_size, n)
    if even:
        start, stop = batch * n // steps, (batch + 1) * n // steps
    chosen = order[start + first : min(start + last, stop)]
    indices, mask = np.zeros(last - first, np.int32), np.zeros(last - first, np.float32)
    indices[: len(chosen)], mask[: len(chosen)] = chosen, 1
    return indices, mask


def take(split: Split, indices: np.ndarray) -> Split:
    """Gather examples on the host: each array of the split at `indices` int (B,), in that order."""
    return {name: np.asarray(array[indices]) for name, array in split.items()}


def batches(
    split: Split,
    batch_size: int,
    *,
    seed: int = 0,
    start: int = 0,
    stop: int | None = None,
    shuffle: bool = True,
    shard: tuple[int, int] = (0, 1),
    even: bool = False,
) -> Iterator[Split]:
    """Yield the batches of steps start .. stop - 1.

    Args:
        split: Arrays that share their first dimension.
        batch_size: As in `batch_indices`, like `seed`, `shuffle`, `shard` and `even`.
        start: First step; not 0 if a run resumes.
        stop: Step after the last; None: the end of the epoch of `start`.

    Yields:
        The split's arrays at the batch's examples, and "mask" float32 (B,).

    >>> [batch["labels"].tolist() for batch in batches({"labels": np.arange(4)}, 2, shuffle=False)]
    [[0, 1], [2, 3]]
    """
    n = len(split["labels"] if "labels" in split else next(iter(split.values())))
    steps = steps_per_epoch(n, batch_size)
    stop = (start // steps + 1) * steps if stop is None else stop
    for step in range(start, stop):
        indices, mask = batch_indices(n, batch_size, seed=seed, step=step, shuffle=shuffle, shard=shard, even=even)
        yield {**take(split, indices), "mask": mask}


def normalize(images: jax.Array | np.ndarray, mean: jax.Array | np.ndarray, std: jax.Array | np.ndarray) -> jax.Array:
    """Scale pixels to [0, 1] and standardise each channel, on the device: (images / 255 - mean) / std.

    Args:
        images: (N, H, W, C), uint8 or float, pixel values 0 .. 255.
        mean: float32 (C,), of pixels scaled to [0, 1].
        std: float32 (C,), likewise.

    Returns:
        float32 (N, H, W, C).
    """
    shape = (1,) * (images.ndim - 1) + (images.shape[-1],)
    mean = jnp.asarray(mean, jnp.float32).reshape(shape)
    std = jnp.asarray(std, jnp.float32).reshape(shape)
    return (jnp.asarray(images).astype(jnp.float32) / 255 - mean) / std
