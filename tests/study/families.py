"""A user's own families, (depth, width) -> Flax module, as one would keep them in a module."""

import atexit
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import jax
from flax import linen


class Stack(linen.Module):
    """Dense layers of one width; a field that is a function shows an address that every process chooses anew."""

    depth: int
    width: int
    activation: Callable[[Any], Any] = linen.relu

    @linen.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        for _ in range(self.depth - 1):
            x = self.activation(linen.Dense(self.width)(x))
        return linen.Dense(10)(x)


class Interrupting:
    """Something in whose destructor Ctrl-C arrives, where Python drops what its handler raises."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


def aborting_in_workers(depth: int, width: int) -> linen.Module:
    """The layers of `stack`; a worker process that makes them aborts where Python takes its modules down."""
    if multiprocessing.parent_process() is not None:
        atexit.register(os.abort)
    return Stack(depth, width)


def interrupted_in_workers(depth: int, width: int) -> linen.Module:
    """The layers of `stack`; a worker process that makes them is interrupted, and does nothing for a while."""
    if multiprocessing.parent_process() is not None:
        Interrupting()
        time.sleep(1)
    return Stack(depth, width)


class Twin(linen.Module):
    """One hidden layer, whatever the depth: that only chooses which random numbers it starts from, as a seed does."""

    stream: int
    width: int

    @linen.compact
    def __call__(self, x):
        def kernel(key, *rest):
            return linen.initializers.lecun_normal()(jax.random.fold_in(key, self.stream), *rest)

        x = x.reshape(len(x), -1)
        return linen.Dense(10, kernel_init=kernel)(linen.relu(linen.Dense(self.width, kernel_init=kernel)(x)))


def stack(depth: int, width: int) -> linen.Module:
    """Layers of one width."""
    return Stack(depth, width)


def other(depth: int, width: int) -> linen.Module:
    """The same under another name."""
    return Stack(depth, width)


def twin(depth: int, width: int) -> linen.Module:
    """The same network at every depth."""
    return Twin(depth, width)


class Rows(linen.Module):
    """Convolutions of one width over an image, and the mean of what they put out."""

    depth: int
    width: int

    @linen.compact
    def __call__(self, x):
        for _ in range(self.depth - 1):
            x = linen.relu(linen.Conv(self.width, (3, 3))(x))
        return linen.Dense(10)(x.mean((1, 2)))


def rows(depth: int, width: int) -> linen.Module:
    """A family that is worse than `stack` on digits at one budget."""
    return Rows(depth, width)
