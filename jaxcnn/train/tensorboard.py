"""TensorBoard event files of a run while it trains, through tensorboardX (the extra `tensorboard`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from jaxcnn.errors import missing_extra
from jaxcnn.records import flat
from jaxcnn.train.log import Record
from jaxcnn.train.state import TrainState

BINS = 64
SPLITS = ("train", "validation")
Look = Callable[[TrainState], Mapping[str, np.ndarray]]


def summary_writer() -> Any:
    """Return the class that writes TensorBoard's files; raise InputError if it is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise missing_extra("tensorboard=True", "tensorboardX", "tensorboard") from None
    return SummaryWriter


class TensorBoard:
    """Scalars, histograms, pictures, configuration and HParams as event files; a `Writer`.

    The folder gets a run `train` and a run `validation` with Keras' tags: epoch_loss, epoch_accuracy and further
    metrics in both, epoch_learning_rate, images_per_second, WEIGHT/histogram, WEIGHT/update (its change since the last
    epoch that this process trained), WEIGHT/gradient and KERNEL/image in `train`; what `look` draws, and
    HParams, in `validation`. The horizontal axis is the epoch.

    Args:
        directory: Folder of the two runs.
        config: Record of the run's config.
        epochs: Number of epochs that are trained already; points of later ones are removed.
        every: Epochs from one histogram of a weight to the next.
        gradients: Host state -> gradients, as its parameters. Default: no histograms of them.
        look: Host state -> pictures (H, W, 3) uint8 by tag. They are drawn, and those of kernels, in epochs 1, 2, 4, 8
            and so on, and in the last one.

    >>> writer = TensorBoard(Path("runs/first/tensorboard"), {"epochs": 2})  # doctest: +SKIP
    >>> writer.write({"epoch": 1, "train_loss": 0.5, "validation_loss": 0.6}, state)  # doctest: +SKIP
    """

    def __init__(
        self, directory: Path, config: Mapping[str, Any], *, epochs: int = 0, every: int = 1, look: Look | None = None,
        gradients: Callable[[TrainState], Any] | None = None,
    ) -> None:  # fmt: skip
        make = summary_writer()
        self._writers = {name: make(str(directory / name), purge_step=epochs + 1) for name in SPLITS}
        self._config, self._every, self._look, self._gradients = config, every, look, gradients
        self._before: Mapping[str, np.ndarray] = {}
        self._named = epochs > 0
        rows = "".join(f"| {name} | {value} |\n" for name, value in flat(config).items())
        if epochs == 0:
            self._writers["train"].add_text("config", f"| field | value |\n|:---|:---|\n{rows}", 0)

    def write(self, record: Record, state: TrainState) -> None:
        """Write each number of an epoch's record, and what is due of its weights."""
        epoch, seconds = record["epoch"], record.get("seconds", 0.0)
        for name, value in record.items():
            split, _, metric = name.partition("_")
            if split in SPLITS and isinstance(value, int | float):
                self._writers[split].add_scalar(f"epoch_{metric}", value, epoch)
        train = self._writers["train"]
        if "learning_rate" in record:
            train.add_scalar("epoch_learning_rate", record["learning_rate"], epoch)
        if seconds > 0 and "batch_size" in self._config:
            speed = record["steps_timed"] * self._config["batch_size"] / seconds
            train.add_scalar("images_per_second", speed, epoch)
        weights = _flatten(state.params)
        if epoch % self._every == 0:
            self._histograms("histogram", weights, epoch)
            self._histograms("update", {n: weights[n] - value for n, value in self._before.items()}, epoch)
            if self._gradients is not None:
                self._histograms("gradient", _flatten(self._gradients(state)), epoch)
        if epoch & (epoch - 1) == 0 or epoch == self._config.get("epochs"):
            self._pictures(weights, state, epoch)
        self._before = weights
        if not self._named:
            self._name()
        for writer in self._writers.values():
            writer.flush()

    def close(self) -> None:
        """Close the files; write nothing after this."""
        from tensorboardX.summary import hparams

        if self._named:
            self._writers["validation"].file_writer.add_summary(hparams({}, {})[2])
        for writer in self._writers.values():
            writer.close()

    def _histograms(self, kind: str, values: Mapping[str, np.ndarray], epoch: int) -> None:
        for name, value in values.items():
            if np.isfinite(value).all():
                self._writers["train"].add_histogram(f"{name}/{kind}", value, epoch, bins=BINS)

    def _pictures(self, weights: Mapping[str, np.ndarray], state: TrainState, epoch: int) -> None:
        from jaxcnn.pictures.tiles import kernel_images, tile  # Matplotlib, which a run without pictures does not need

        for name, value in weights.items():
            if value.ndim == 4 and np.isfinite(value).all():
                picture = tile(kernel_images(value), scale=8)
                self._writers["train"].add_image(f"{name}/image", picture, epoch, dataformats="HWC")
        for tag, picture in ({} if self._look is None else self._look(state)).items():
            self._writers["validation"].add_image(tag, picture, epoch, dataformats="HWC")

    def _name(self) -> None:
        """Write the run's line of the table of HParams: its config; TensorBoard finds columns and results itself."""
        from tensorboardX.summary import hparams

        values = {name: value if isinstance(value, bool | int | float) else str(value)
                  for name, value in flat(self._config).items() if value is not None}  # fmt: skip
        _, start, _ = hparams(values, {})  # its end is written when it has come
        self._writers["validation"].file_writer.add_summary(start)
        self._named = True


def _flatten(params: Any) -> dict[str, np.ndarray]:
    return {"/".join(path): np.asarray(value, np.float32) for path, value in flatten_dict(params).items()}
