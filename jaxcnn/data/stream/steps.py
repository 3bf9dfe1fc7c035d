"""The coming batches as a sequence of which grain, or anyone, can ask for any element."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.data.batches import batch_indices, epoch_order
from jaxcnn.data.stream.examples import Examples, decode
from jaxcnn.errors import InputError

REMEMBERED_ORDERS = 3
"""Epochs whose order a process remembers: the current, the next, and the validation split's."""


class Order(NamedTuple):
    """Which batches, as `jaxcnn.data.batch_indices` knows them: the batches of steps start .. stop - 1."""

    batch_size: int
    seed: int
    start: int
    stop: int
    shuffle: bool
    shard: tuple[int, int]


class Steps:
    """Element k is all of the batch of step start + k: a function of (seed, step), whoever asks and in which order.

    Args:
        examples: Of the split.
        order: Which batches.
        tail: Elements without an image after the last batch.
    """

    def __init__(self, examples: Examples, order: Order, tail: int = 0):
        self.examples, self.order, self.tail = examples, order, tail

    @property
    def count(self) -> int:
        """Number of batches."""
        return max(0, self.order.stop - self.order.start)

    def __len__(self) -> int:
        return self.count + self.tail

    def indices(self, k: int) -> np.ndarray:
        """The positions that element k holds, int32, sorted, each once."""
        count, (batch_size, seed, start, _, shuffle, shard) = len(self.examples.places), self.order
        step, per_epoch = start + k, -(-count // batch_size)
        order = _remembered_order(count, seed, step // per_epoch, shuffle)
        return np.unique(batch_indices(count, batch_size, seed=seed, step=step, shard=shard, order=order)[0])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The images at `indices(index)`, and sentences about files passed over.

        No images where one cannot be used: whoever asks for them decodes them again and meets the error then.
        """
        if index < self.count:
            with suppress(InputError):
                images, skipped = decode(self.examples, self.indices(index))
                return {"images": images, "skipped": skipped}
        return {"images": np.empty((0, *self.examples.shape), np.uint8), "skipped": []}


@lru_cache(maxsize=REMEMBERED_ORDERS)
def _remembered_order(count: int, seed: int, epoch: int, shuffle: bool) -> np.ndarray:
    return epoch_order(count, seed, epoch, shuffle)
