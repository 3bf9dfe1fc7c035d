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

Counts of right answers are equal, epoch by epoch.
"""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxcnn.run import load_result, run
from jaxcnn.spec import OptimizerConfig
from jaxcnn.tasks import classification
from jaxcnn.train import Member, Plan, data_parallel, fit_together, member_programs, sharded, single_device
from jaxcnn.train.parallel import AXIS
from tests.train.driven import BATCH, EPOCHS, RUN, STEPS, TRAIN, VALIDATION, start, steps, trained, ways
from tests.train.small import Net, difference, parts

TOLERANCE = {"params": 5e-6, "batch_stats": 5e-6, "opt_state": 2e-5, "losses": 2e-6}
ROOT = Path(__file__).parents[3]
BASE = OptimizerConfig(schedule="constant", warmup_epochs=0.0)
PLAIN = replace(BASE, momentum=0.0, nesterov=False, weight_decay=0.0)


@cache
def alone(seed=0, config=BASE):
    return trained(single_device(*steps()), seed=seed, config=config)


def losses(records):
    return np.array([[record["train_loss"], record["validation_loss"]] for record in records])


def assert_same_training(found, wanted):
    (state, records), (state_of_one, records_of_one) = found, wanted
    assert int(state.step) == int(state_of_one.step) == STEPS
    for part in ("params", "batch_stats", "opt_state"):
        assert difference(getattr(state, part), getattr(state_of_one, part)) < TOLERANCE[part], part
    assert difference(losses(records), losses(records_of_one)) < TOLERANCE["losses"]
    for name in ("train_accuracy", "validation_accuracy"):
        assert [record[name] for record in records] == [record[name] for record in records_of_one]


@pytest.mark.parametrize("way", [name for name in ways() if name != "jit"])
def test_every_way_gives_the_same_training(way):
    assert len(jax.devices()) == 4
    assert_same_training(trained(ways()[way]), alone())


@pytest.mark.parametrize("scan", [False, True])
def test_members_of_one_program_train_as_alone(scan):
    different = [(0, BASE), (1, replace(BASE, learning_rate=0.05)), (2, replace(BASE, weight_decay=1e-3))]
    members = [
        Member(start(seed, config), Plan(EPOCHS, BATCH, seed), jax.random.key(100 + seed)) for seed, config in different
    ]
    programs = member_programs(*steps(), len(members), scan=scan)
    together = fit_together(members, programs, classification(), TRAIN, VALIDATION)
    for found, (seed, config) in zip(together, different, strict=True):
        assert_same_training(found, alone(seed, config))
    first, second = (found[0].params for found in together[:2])
    assert difference(first, second) > 0.1


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Two hosts with two devices each, over gloo: the folder in which both left what they ended with."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
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
    state, records = alone()
    for file in (two_processes / "0.npz", two_processes / "1.npz"):
        found = np.load(file)
        for way in ("stepwise", "scanned"):
            leaves = jax.tree.leaves((state.params, state.batch_stats))
            assert difference([found[f"{way} {i}"] for i in range(len(leaves))], leaves) < TOLERANCE["params"]
            told = np.stack([found[f"{way} losses"], found[f"{way} validation"]], axis=1)
            assert difference(told, losses(records)) < TOLERANCE["losses"]


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


@pytest.mark.parametrize("way", ["pmap", "sharded", "shard_map"])
def test_gradients_are_not_multiplied_by_the_devices(way):
    """Under shard_map with its default check, summed gradients are four times too large. A step of plain SGD shows it;
    optimisers that normalise would hide it, and so would a loss that only goes down.
    """
    make = {
        "pmap": lambda: data_parallel(*steps(AXIS, config=PLAIN)),
        "sharded": lambda: sharded(*steps(config=PLAIN)),
        "shard_map": lambda: sharded(*steps(AXIS, config=PLAIN), axis_name=AXIS),
    }[way]
    indices, mask = np.arange(BATCH, dtype=np.int32), np.ones(BATCH, np.float32)
    before, moved = start(config=PLAIN), []
    for programs in (make(), single_device(*steps(config=PLAIN))):
        feed = programs.feed(TRAIN)
        state, _ = programs.train(programs.place(before), feed(indices, mask), jax.random.key(0))
        moved.append(jax.tree.map(np.subtract, programs.fetch(state).params, before.params))
    assert difference(moved[0], moved[1]) < 1e-4


def test_batches_smaller_than_the_devices_are_padded():
    """Three examples on four devices: one of them has padding alone."""
    module = Net()
    states = []
    for programs in (
        single_device(*steps(module=module)),
        data_parallel(*steps(AXIS, module=module)),
        sharded(*steps(module=module)),
        sharded(*steps(AXIS, module=module), axis_name=AXIS),
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


def test_local_statistics_over_a_mesh_are_those_of_pmap():
    """Batch norm per device: both ways agree with each other, and not with one device."""
    train, evaluate, _ = parts(axis_name=AXIS, synchronised=False)
    states = []
    for programs in (data_parallel(train, evaluate), sharded(train, evaluate, axis_name=AXIS)):
        states.append(trained(programs, epochs=2)[0])
    assert difference(states[1].params, states[0].params) < 1e-5
    one = trained(single_device(*parts()[:2]), epochs=2)[0]
    assert difference(states[1].params, one.params) > 1e-4
