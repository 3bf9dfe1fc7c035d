"""One training, driven in every way: what the tests of `parallel` share, and a process of a distributed run."""

import json
import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np

from jaxcnn.data import make_augment
from jaxcnn.run import run
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from jaxcnn.tasks import classification
from jaxcnn.train import Interrupted, Plan, data_parallel, fit, sharded, single_device
from jaxcnn.train.parallel import AXIS
from tests.train.small import Net, parts, split

# 97 examples in batches of 30: four devices are given 8 rows each, 2 of them padding; the last batch holds 7.
TRAIN, VALIDATION, BATCH, EPOCHS = split(97), split(21, seed=1), 30, 13
STEPS = EPOCHS * 4
NET = Net(dropout=0.2)
RUN = RunConfig(
    model=ModelSpec("plain", depth=3, width=4), data=DataConfig(train_size=100), epochs=3, batch_size=30,
    parallel="sharded",
)  # fmt: skip
_CHANGE = make_augment(("crop", "flip"))


def prepare(key, batch, start):
    """Augmentation in training."""
    return batch if key is None or _CHANGE is None else {**batch, "images": _CHANGE(key, batch["images"], start)}


def steps(axis_name=None, *, module=NET, config=None, augmented=True):
    """(train step, eval step) as `make_programs` would ask for them."""
    return parts(module, config, axis_name=axis_name, prepare=prepare if augmented else None)[:2]


def ways():
    """Every way to drive one run on four devices, by name."""
    return {
        "jit": single_device(*steps()),
        "pmap": data_parallel(*steps(AXIS)),
        "sharded": sharded(*steps()),
        "shard_map": sharded(*steps(AXIS), axis_name=AXIS),
        "scanned": single_device(*steps(), scan=True),
        "sharded and scanned": sharded(*steps(), scan=True),
        "shard_map and scanned": sharded(*steps(AXIS), axis_name=AXIS, scan=True),
    }


def start(seed=0, config: OptimizerConfig | None = None):
    """A fresh host state."""
    return jax.device_get(parts(NET, config)[2](jax.random.key(seed)))


def trained(programs, *, seed=0, epochs=EPOCHS, config=None, **options):
    """Final state and records of the whole training."""
    key, plan = jax.random.key(100 + seed), Plan(epochs, BATCH, seed)
    return fit(start(seed, config), programs, classification(), TRAIN, VALIDATION, plan, key, **options)


def main(address: str, index: int, out: str) -> None:
    """One of two processes of a sharded run; each writes what it ended with."""
    jax.distributed.initialize(address, num_processes=2, process_id=index, initialization_timeout=60)
    assert (jax.process_count(), len(jax.local_devices()), len(jax.devices())) == (2, 2, 4)
    found = {}
    for name, programs in (("stepwise", sharded(*steps())), ("scanned", sharded(*steps(), scan=True))):
        state, records = trained(programs)
        leaves = jax.tree.leaves((state.params, state.batch_stats))
        found |= {f"{name} {number}": leaf for number, leaf in enumerate(leaves)}
        found |= {f"{name} losses": np.array([record["train_loss"] for record in records])}
        found |= {f"{name} validation": np.array([record["validation_loss"] for record in records])}
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
