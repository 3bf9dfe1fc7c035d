"""One training, driven in every way: what the tests of `parallel` share, and a process of a distributed run."""

import json
import os
import signal
import sys
from functools import cache
from pathlib import Path

import jax
import numpy as np

from jaxcnn.data import make_augment
from jaxcnn.run import run
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.tasks import classification
from jaxcnn.train import Interrupted, Run, data_parallel, fit, member_programs, sharded, single_device
from jaxcnn.train.parallel import AXIS
from tests.train.small import Net, parts, split

BATCH, EPOCHS = 30, 13
STEPS = EPOCHS * 4
# 97 examples in batches of 30: four devices are given 8 rows each, 2 of them padding; the last batch holds 7. `noise`
# is added to the images, so that a test can make one example NaN without a program of its own.
TRAIN = {**split(97), "noise": np.zeros(97, np.float32)}
VALIDATION = split(21, seed=1)
NET = Net(dropout=0.2)
RUN = RunConfig(
    model=ModelSpec("plain", depth=3, width=4), data=DataConfig(train_size=100), epochs=3, batch_size=30,
    parallel="sharded",
)  # fmt: skip
_CHANGE = make_augment(("crop", "flip"))


def prepare(key, batch, start):
    """Augmentation in training."""
    if key is None or _CHANGE is None:
        return batch
    return {**batch, "images": _CHANGE(key, batch["images"], start) + batch["noise"][:, None, None, None]}


def steps(axis_name=None, *, module=NET, config=None, augmented=True, **options):
    """(train step, eval step) as `make_programs` would ask for them."""
    return parts(module, config, axis_name=axis_name, prepare=prepare if augmented else None, **options)[:2]


WAYS = {
    "jit": lambda: single_device(*steps()),
    "pmap": lambda: data_parallel(*steps(AXIS)),
    "sharded": lambda: sharded(*steps()),
    "shard_map": lambda: sharded(*steps(AXIS), axis_name=AXIS),
    "scanned": lambda: single_device(*steps(), scan=True),
    "sharded and scanned": lambda: sharded(*steps(), scan=True),
    "shard_map and scanned": lambda: sharded(*steps(AXIS), axis_name=AXIS, scan=True),
    "members": lambda: member_programs(*steps(), 3),
    "members scanned": lambda: member_programs(*steps(), 3, scan=True),
}
"""Every way to drive a training; the last two train three runs side by side."""


@cache
def way(name):
    """The programs of one of `WAYS`, compiled once per process."""
    return WAYS[name]()


@cache
def _init(config):
    return parts(NET, config)[2]


def start(seed=0, config: OptimizerConfig | None = None):
    """A fresh host state."""
    return jax.device_get(_init(config)(jax.random.key(seed)))


def begun(seed=0, *, state=None, optimizer=None, epochs=EPOCHS, **options):
    """A run before its training; `options` are fields of `Run`, or else of its config."""
    own = {name: options.pop(name) for name in ("checkpoints", "writers", "on_epoch", "sums") if name in options}
    config = RunConfig(epochs=epochs, batch_size=BATCH, seed=seed, **options)
    return Run(config, start(seed, optimizer) if state is None else state, jax.random.key(100 + seed), **own)


def train(programs, *runs, data=TRAIN, **options):
    """Train the runs to their end; return the first."""
    fit(runs, programs, classification(), data, VALIDATION, **options)
    return runs[0]


def trained(programs, seed=0, **options):
    """A run, trained."""
    return train(programs, begun(seed, **options))


def main(address: str, index: int, out: str) -> None:
    """One of two processes of a sharded run; each writes what it ended with."""
    jax.distributed.initialize(address, num_processes=2, process_id=index, initialization_timeout=60)
    assert (jax.process_count(), len(jax.local_devices()), len(jax.devices())) == (2, 2, 4)
    found = {}
    for name, programs in (("stepwise", sharded(*steps())), ("scanned", sharded(*steps(), scan=True))):
        one = trained(programs)
        leaves = jax.tree.leaves((one.state.params, one.state.batch_stats))
        found |= {f"{name} {number}": leaf for number, leaf in enumerate(leaves)}
        found |= {f"{name} losses": np.array([record["train_loss"] for record in one.history])}
        found |= {f"{name} validation": np.array([record["validation_loss"] for record in one.history])}
    np.savez(Path(out) / f"{index}.npz", **found)
    interrupted_and_resumed(Path(out), index)
    jax.distributed.shutdown()


def interrupted_and_resumed(out: Path, index: int) -> None:
    """A run in one folder for both: the second process alone gets a signal, both stop, and both go on."""

    def on_epoch(record):
        if index == 1 and record["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        run(RUN, out=out / "run", progress=False, on_epoch=on_epoch)
    except Interrupted:
        result = run(RUN, out=out / "run", progress=False)
        (out / f"{index}.json").write_text(json.dumps({"metrics": result.metrics, "epochs": len(result.history)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
