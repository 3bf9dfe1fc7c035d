"""What the loop trains: runs, each with its plan."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxcnn.train.checkpoint import Checkpoints
from jaxcnn.train.log import Writer
from jaxcnn.train.state import TrainState


class Plan(NamedTuple):
    """How long and in which order `fit` trains.

    Args:
        epochs: Passes over the training split.
        batch_size: Examples a step, all devices together.
        seed: Of the order; the batch of a step is a function of (seed, step).
        checkpoint_every: Epochs between checkpoints; the last epoch is saved too (see `save_last`).
        checkpoint_steps: Steps after the last save at which to save within an epoch; None: off.
        checkpoint_minutes: Minutes likewise, where one host trains.
        patience: Epochs without a lower validation loss after which training ends; None: it goes to the last epoch.
        skip_nonfinite: The steps skip what is not finite; else a run ends there (see `make_train_step`).
        workers: Processes that decode ahead where images are streamed; 0: threads of this one.
        save_last: Save the state after the last epoch; without it nobody can ask for the trained model.
    """

    epochs: int
    batch_size: int
    seed: int
    checkpoint_every: int = 1
    checkpoint_steps: int | None = None
    checkpoint_minutes: float | None = None
    patience: int | None = None
    skip_nonfinite: bool = False
    workers: int = 0
    save_last: bool = True


class Member(NamedTuple):
    """One run: what it does not share with others in its program.

    The arguments of `fit`, which explains them, and `earlier`: the records of the epochs before.
    """

    state: TrainState
    plan: Plan
    key: jax.Array
    sums: Mapping[str, float] | None = None
    checkpoints: Checkpoints | None = None
    writers: Sequence[Writer] = ()
    on_epoch: Callable[[dict[str, Any]], None] | None = None
    earlier: Sequence[Mapping[str, Any]] = ()
