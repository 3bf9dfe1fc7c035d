"""However the one step is driven, the same training comes out.

A net with batch norm and dropout, augmented images, 97 examples in batches of 30 on four virtual devices: each is given
eight rows, of which two are padding, and every fourth batch holds 7 examples. After 52 steps, the largest relative
difference of a leaf from the run on one device (||a - b|| / ||b||), float32, two versions of JAX:

| compared             | measured, at most | asserted |
|----------------------|-------------------|----------|
| parameters           | 4.4e-7            | 5e-6     |
| batch statistics     | 4.1e-7            | 5e-6     |
| optimiser's state    | 1.9e-6            | 2e-5     |
| losses of the epochs | 1.4e-7            | 2e-6     |

Counts of right answers are equal, epoch by epoch. A step that is not finite ends it alike, too.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcnn.data import batch_indices, epoch_order
from jaxcnn.run import load_result, run
from jaxcnn.spec import OptimizerConfig
from jaxcnn.train import Checkpoints, Interrupted, data_parallel, member_programs, sharded, single_device
from jaxcnn.train.parallel import AXIS
from tests.train.driven import BATCH, RUN, STEPS, TRAIN, WAYS, begun, start, steps, train, trained, way
from tests.train.small import Net, difference, parts

TOLERANCE = {"params": 5e-6, "batch_stats": 5e-6, "opt_state": 2e-5, "losses": 2e-6}
ROOT = Path(__file__).parents[3]
BASE = OptimizerConfig(schedule="constant", warmup_epochs=0.0)
PLAIN = replace(BASE, momentum=0.0, nesterov=False, weight_decay=0.0)


@cache
def alone(seed=0, optimizer=BASE):
    return trained(way("jit"), seed, optimizer=optimizer)


def losses(run):
    return np.array([[record["train_loss"], record["validation_loss"]] for record in run.history])


def assert_same_training(found, wanted, steps=STEPS):
    assert int(found.state.step) == int(wanted.state.step) == steps
    for part in ("params", "batch_stats", "opt_state"):
        assert difference(getattr(found.state, part), getattr(wanted.state, part)) < TOLERANCE[part], part
    assert difference(losses(found), losses(wanted)) < TOLERANCE["losses"]
    for name in ("train_accuracy", "validation_accuracy"):
        assert [record[name] for record in found.history] == [record[name] for record in wanted.history]


MOST = [name for name in WAYS if name != "jit" and "members" not in name]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if "scanned" in name else name for name in MOST]
)
def test_every_way_gives_the_same_training(name):
    assert len(jax.devices()) == 4
    assert_same_training(trained(way(name)), alone())


DIFFERENT = [(0, BASE), (1, replace(BASE, learning_rate=0.05)), (2, replace(BASE, weight_decay=1e-3))]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["members", "members scanned"])
def test_members_of_one_program_train_as_alone(name):
    runs = [begun(seed, optimizer=optimizer) for seed, optimizer in DIFFERENT]
    train(way(name), *runs)
    for run_, (seed, optimizer) in zip(runs, DIFFERENT, strict=True):
        assert_same_training(run_, alone(seed, optimizer))
    assert difference(runs[0].state.params, runs[1].state.params) > 0.1


ILL_STEP = 2
ILL = int(epoch_order(97, 0, 0)[ILL_STEP * BATCH + 4])
"""An example that becomes NaN; seed 0 sees it in the third step."""
DATA = {**TRAIN, "noise": np.where(np.arange(97) == ILL, np.nan, 0).astype(np.float32)}


def order(count, seed, epoch):
    """The usual order; every seed but 0 sees another example instead of the ill one."""
    usual = epoch_order(count, seed, epoch)
    return usual if seed == 0 else np.where(usual == ILL, (ILL + 1) % 97, usual)


@cache
def state_before():
    """Host state before the ill step, trained step by step."""
    programs, one = way("jit"), begun()
    state, feed = programs.place(one.state), programs.feed(TRAIN)
    for step in range(ILL_STEP):
        state, _ = programs.train(state, feed(*batch_indices(97, BATCH, seed=0, step=step)), one.key)
    return programs.fetch(state)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if " and " in name else name for name in WAYS]
)
def test_a_step_that_is_not_finite_ends_every_way_alike(name):
    """The run has the state before that step; members that are well go on as if nothing had happened."""
    runs = [begun(seed, epochs=2) for seed in ((1, 0, 2) if "members" in name else (0,))]
    train(way(name), *runs, data=DATA, order=order)
    one = runs[len(runs) // 2]
    assert one.diverged == int(one.state.step) == ILL_STEP
    assert int(one.state.skipped) == 1
    for part in ("params", "batch_stats", "opt_state"):
        assert difference(getattr(one.state, part), getattr(state_before(), part)) < TOLERANCE[part], part
    assert [(record["epoch"], record["step"]) for record in one.history] == [(1, ILL_STEP)]
    assert np.isfinite(one.history[0]["train_loss"])
    assert np.isnan(one.history[0]["validation_loss"])
    for well in runs:
        if well is not one:
            wanted = train(way("jit"), begun(well.config.seed, epochs=2), data=DATA, order=order)
            assert_same_training(well, wanted, steps=8)
            assert well.diverged is None


def test_an_interrupt_after_one_of_them_diverged(tmp_path):
    """Both are saved, at different steps, and each goes on alone."""
    calls, programs = [], way("members")

    def feed(arrays):
        inner = programs.feed(arrays)

        def batch(indices, mask):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return inner(indices, mask)

        return batch

    with Checkpoints(tmp_path / "0") as first, Checkpoints(tmp_path / "1") as second:
        runs = [begun(0, epochs=2, checkpoints=first), begun(1, epochs=2, checkpoints=second), begun(2, epochs=2)]
        runs[2].checkpoints = Checkpoints(tmp_path / "2")
        with runs[2].checkpoints, pytest.raises(Interrupted, match="saved"):
            train(programs._replace(feed=feed), *runs, data=DATA, order=order)
        assert (first.steps, second.steps) == ([ILL_STEP], [3])
        for run_, checkpoints in zip(runs[:2], (first, second), strict=True):
            run_.state, run_.sums = checkpoints.restore(start())
            run_.history, run_.diverged = [], None
            train(way("jit"), run_, data=DATA, order=order)
    ill, well = runs[:2]
    assert (ill.diverged, [(r["epoch"], r["step"]) for r in ill.history]) == (ILL_STEP, [(1, ILL_STEP)])
    assert np.isfinite(ill.history[0]["train_loss"])
    wanted = train(way("jit"), begun(1, epochs=2), data=DATA, order=order)
    assert_same_training(well, wanted, steps=8)


SKIPPING = {
    "pmap": lambda: data_parallel(*steps(AXIS, skip_nonfinite=True)),
    "sharded": lambda: sharded(*steps(skip_nonfinite=True)),
    "members scanned": lambda: member_programs(*steps(skip_nonfinite=True), 2, scan=True),
}


@cache
def skipped_alone(seed):
    one = begun(seed, epochs=1, on_nonfinite="skip")
    return train(single_device(*steps(skip_nonfinite=True)), one, data=DATA, order=order)


@pytest.mark.slow
@pytest.mark.parametrize("name", SKIPPING)
def test_every_way_skips_the_same_step(name):
    runs = [begun(seed, epochs=1, on_nonfinite="skip") for seed in ((0, 1) if "members" in name else (0,))]
    train(SKIPPING[name](), *runs, data=DATA, order=order)
    for one, skipped in zip(runs, (1, 0), strict=False):
        assert (int(one.state.skipped), one.history[0]["skipped"], one.diverged) == (skipped, skipped, None)
        assert_same_training(one, skipped_alone(one.config.seed), steps=4)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Two hosts with two devices each, over gloo: the folder in which both left what they ended with."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2 --xla_cpu_collective_call_terminate_timeout_seconds=600",
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.train.driven", address]
    started = [
        subprocess.Popen([*command, str(i), str(folder)], env=environment, stderr=subprocess.PIPE) for i in (0, 1)
    ]
    try:
        for process in started:
            _, told = process.communicate(timeout=240)
            assert process.returncode == 0, told.decode()[-2000:]
    finally:
        for process in started:
            process.kill()
            process.wait()
    return folder


@pytest.mark.slow
def test_two_processes_train_as_one(two_processes):
    """Both end with the same, and with what one device gives."""
    one = alone()
    for file in (two_processes / "0.npz", two_processes / "1.npz"):
        found = np.load(file)
        for driven in ("stepwise", "scanned"):
            leaves = jax.tree.leaves((one.state.params, one.state.batch_stats))
            assert difference([found[f"{driven} {i}"] for i in range(len(leaves))], leaves) < TOLERANCE["params"]
            told = np.stack([found[f"{driven} losses"], found[f"{driven} validation"]], axis=1)
            assert difference(told, losses(one)) < TOLERANCE["losses"]


@pytest.mark.slow
def test_two_processes_share_a_folder_and_stop_together(two_processes):
    """One of them got a signal; both stopped after that epoch, went on, and one wrote what both know."""
    found = [json.loads((two_processes / f"{i}.json").read_text()) for i in (0, 1)]
    wanted = run(replace(RUN, parallel="jit"), progress=False)
    stored = load_result(two_processes / "run")
    assert found[0] == found[1] == {"metrics": stored.metrics, "epochs": 3}
    assert stored.programs == {"mode": "sharded", "devices": 4, "scan": False, "members": 1}
    assert [record["epoch"] for record in stored.history] == [1, 2, 3]
    assert len((two_processes / "run" / "metrics.jsonl").read_text().splitlines()) == 3
    for name, value in wanted.metrics.items():
        assert stored.metrics[name] == pytest.approx(value, rel=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("way", ["pmap", "shard_map"])
def test_gradients_are_not_multiplied_by_the_devices(way):
    """Under shard_map with its default check, summed gradients are four times too large. A step of plain SGD shows it;
    optimisers that normalise would hide it, and so would a loss that only goes down.
    """
    make = {
        "pmap": lambda: data_parallel(*steps(AXIS, config=PLAIN)),
        "shard_map": lambda: sharded(*steps(AXIS, config=PLAIN), axis_name=AXIS),
    }[way]
    indices, mask = np.arange(BATCH, dtype=np.int32), np.ones(BATCH, np.float32)
    before, moved = start(0, PLAIN), []
    for programs in (make(), single_device(*steps(config=PLAIN))):
        feed = programs.feed(TRAIN)
        state, _ = programs.train(programs.place(before), feed(indices, mask), jax.random.key(0))
        moved.append(jax.tree.map(np.subtract, programs.fetch(state).params, before.params))
    assert difference(moved[0], moved[1]) < 1e-4


@pytest.mark.slow
def test_batches_smaller_than_the_devices_are_padded():
    """Three examples on four devices: one of them has padding alone."""
    module = Net()
    states = []
    for programs in (
        single_device(*steps(module=module)),
        data_parallel(*steps(AXIS, module=module)),
        sharded(*steps(module=module)),
    ):
        state, feed = programs.place(start()), programs.feed(TRAIN)
        for step in range(5):
            indices = np.arange(3 * step, 3 * step + 3, dtype=np.int32)
            state, sums = programs.train(state, feed(indices, np.ones(3, np.float32)), jax.random.key(0))
            assert float(sums["count"]) == 3
        states.append(programs.fetch(state))
    for state in states[1:]:
        assert difference(state.params, states[0].params) < 1e-5
        assert difference(state.batch_stats, states[0].batch_stats) < 1e-5


@pytest.mark.slow
def test_local_statistics_over_a_mesh_are_those_of_pmap():
    """Batch norm per device: both ways agree with each other, and not with one device."""
    step, evaluate, _ = parts(axis_name=AXIS, shared=False)
    states = [
        trained(programs, epochs=2).state
        for programs in (data_parallel(step, evaluate), sharded(step, evaluate, axis_name=AXIS))
    ]
    assert difference(states[1].params, states[0].params) < 1e-5
    one = trained(single_device(*parts()[:2]), epochs=2).state
    assert difference(states[1].params, one.params) > 1e-4
