"""fit: interrupted, resumed and uninterrupted training are the same training."""

import json
import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.spec import OptimizerConfig
from jaxcnn.tasks import classification
from jaxcnn.train import Checkpoints, Interrupted, Plan, evaluate, fit, make_optimizer, make_train_step, single_device
from jaxcnn.train.log import JsonLines
from tests.train.small import Net, parts, split

KEY = jax.random.key(1)
TRAIN, VALIDATION = split(50), split(21, seed=1)
TRAIN_STEP, EVAL_STEP, INIT = parts(Net(dropout=0.2))
PROGRAMS = single_device(TRAIN_STEP, EVAL_STEP)


def train(state, epochs=4, **options):
    return fit(state, PROGRAMS, classification(), TRAIN, VALIDATION, Plan(epochs, 8, seed=0), KEY, **options)


def start():
    return jax.device_get(INIT(jax.random.key(0)))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def timeless(records):
    return [{k: v for k, v in record.items() if k not in ("seconds", "steps_timed")} for record in records]


def test_every_example_counts_once_an_epoch():
    state, records = train(start())
    assert int(state.step) == 4 * 7
    assert [record["epoch"] for record in records] == [1, 2, 3, 4]
    sums, predictions = evaluate(PROGRAMS.place(state), PROGRAMS, PROGRAMS.feed(VALIDATION), 21, 8)
    assert sums["count"] == 21
    right = (predictions["predictions"] == VALIDATION["labels"]).sum()
    assert sums["correct"] == right == round(records[-1]["validation_accuracy"] * 21)


def test_a_signal_saves_the_step_and_the_next_call_goes_on(tmp_path):
    whole, records = train(start())
    lines = JsonLines(tmp_path / "metrics.jsonl")
    # The third fetch of a batch sends SIGINT: in the middle of the first epoch.
    calls = []

    def feed(arrays):
        inner = PROGRAMS.feed(arrays)

        def batch(indices, mask):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return inner(indices, mask)

        return batch

    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        with pytest.raises(Interrupted, match="after step 3, saved"):
            fit(
                start(), PROGRAMS._replace(feed=feed), classification(), TRAIN, VALIDATION, Plan(4, 8, seed=0), KEY,
                checkpoints=checkpoints, writers=[lines],
            )  # fmt: skip
        assert checkpoints.latest == 3
        state, sums = checkpoints.restore(start())
        assert sums["count"] == 24
        resumed, later = train(state, sums=sums, checkpoints=checkpoints, writers=[lines])
    assert same(resumed, whole)
    assert timeless(later) == timeless(records)
    assert timeless(lines.read(up_to_epoch=4)) == timeless(records)


def test_resume_between_epochs_is_bit_for_bit(tmp_path):
    whole, records = train(start())
    with Checkpoints(tmp_path / "c") as checkpoints:
        train(start(), epochs=2, checkpoints=checkpoints)
        state, sums = checkpoints.restore(start())
    resumed, later = train(state, sums=sums)
    assert same(resumed, whole)
    assert timeless(later) == timeless(records[2:])


def test_checkpoint_of_another_model_is_named(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(start(), {})

    class Other(Net):
        pass

    adam = parts(Other(), OptimizerConfig("adam", learning_rate=0.01))[2]
    with Checkpoints(tmp_path / "c") as checkpoints, pytest.raises(InputError, match=r"another model.*\+ opt_state"):
        checkpoints.restore(jax.device_get(adam(jax.random.key(0))))
    with Checkpoints(tmp_path / "none") as checkpoints, pytest.raises(InputError, match="there is none"):
        checkpoints.restore(start())


def test_metrics_after_the_checkpoint_are_dropped(tmp_path):
    """A kill between the line and the checkpoint leaves a line too many, or half of one."""
    lines = JsonLines(tmp_path / "metrics.jsonl")
    for epoch in (1, 2, 3):
        lines.write({"epoch": epoch, "step": 7 * epoch, "loss": 0.1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "lo')
    assert [r["step"] for r in lines.read(up_to_epoch=2)] == [7, 14]
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [7, 14]


def ill_at(number, **options):
    """A step that sees pixels that are not numbers at one step; the loss stays finite, for ReLU hides them."""
    tx = make_optimizer(OptimizerConfig(schedule="constant", warmup_epochs=0.0), 100, 10)
    step = make_train_step(Net(dropout=0.2), tx, classification(), **options)

    def ill(state, batch, key):
        images = jnp.where(state.step == number, jnp.nan, batch["images"])
        return step(state, {**batch, "images": images}, key)

    return single_device(ill, EVAL_STEP)


def test_steps_since_the_last_save_are_made_again_to_find_the_one_that_was_not_finite(tmp_path):
    """In the third epoch, and the only save would have been after the fourth: all are made again, reported once."""
    halts = ill_at(16, nonfinite="halt")
    plan, seen, lines = Plan(4, 8, seed=0, checkpoint_every=4), [], JsonLines(tmp_path / "metrics.jsonl")
    arguments = classification(), TRAIN, VALIDATION, plan, KEY
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        state, records = fit(
            start(), ill_at(16)._replace(halting=halts), *arguments, checkpoints=checkpoints, writers=[lines],
            on_epoch=lambda record: seen.append(record["epoch"]),
        )  # fmt: skip
        assert checkpoints.steps == [16]
    wanted, careful = fit(start(), halts, *arguments)
    assert int(state.step) == int(wanted.step) == 16
    assert int(state.skipped) > 0
    assert same(state.params, wanted.params)
    assert [record["epoch"] for record in records] == [1, 2, 3]
    assert timeless(records)[:2] == timeless(careful)[:2]
    assert str(timeless(lines.read(up_to_epoch=9))) == str(timeless(records))  # NaN is not equal to itself
    assert seen == [1, 2, 1, 2, 3]
