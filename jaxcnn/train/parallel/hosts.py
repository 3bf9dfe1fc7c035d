"""Several processes that train one run together (jax.distributed): which of them writes, and how they agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

T = TypeVar("T")


def first_host() -> bool:
    """Whether this process writes what all know: one of those that train a run together does."""
    return jax.process_index() == 0


def wait_for_hosts(where: str) -> None:
    """Go on when all processes have come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def in_turn(work: Callable[[], T]) -> T:
    """Do something that writes, one process after another: the later ones find what the first has left."""
    found: list[T] = []
    for host in range(jax.process_count()):
        if host == jax.process_index():
            found.append(work())
        wait_for_hosts(f"turn {host}")
    return found[0]


def agreed(asked: bool) -> bool:
    """Whether any process was asked; all must call this at the same point."""
    if jax.process_count() == 1:
        return asked
    return bool(np.any(multihost_utils.process_allgather(np.array(asked))))
