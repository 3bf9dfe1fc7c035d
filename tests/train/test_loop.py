"""fit: interrupted, resumed and uninterrupted training are the same training."""

import json
import os
import signal
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.data import batch_indices, epoch_order
from jaxcnn.errors import InputError
from jaxcnn.spec import OptimizerConfig, RunConfig
from jaxcnn.tasks import classification
from jaxcnn.train import Checkpoints, Interrupted, Run, evaluate, fit, loop, single_device
from jaxcnn.train.log import JsonLines
from jaxcnn.train.step import NONFINITE
from tests.train.small import Net, parts, same, split, timeless

KEY = jax.random.key(1)
TRAIN, VALIDATION = split(50), split(21, seed=1)
TRAIN_STEP, EVAL_STEP, INIT = parts(Net(dropout=0.2))
PROGRAMS = single_device(TRAIN_STEP, EVAL_STEP)


def start():
    return jax.device_get(INIT(jax.random.key(0)))


def train(state=None, epochs=4, programs=PROGRAMS, *, order=epoch_order, data=TRAIN, sums=None, **options):
    """A trained run; `options` are fields of `Run`, or else of its config."""
    own = {name: options.pop(name) for name in ("checkpoints", "writers", "on_epoch") if name in options}
    run = Run(RunConfig(epochs=epochs, batch_size=8, **options), start() if state is None else state, KEY, **own)
    run.sums = dict(sums or {})
    fit([run], programs, classification(), data, VALIDATION, order=order)
    return run


@cache
def whole():
    """Four epochs of seven steps, never interrupted."""
    return train()


def at_batch(number, act):
    """The programs; `act` is called when a batch is fetched for the n-th time."""
    calls = []

    def feed(arrays):
        inner = PROGRAMS.feed(arrays)

        def batch(indices, mask):
            calls.append(1)
            if len(calls) == number:
                act()
            return inner(indices, mask)

        return batch

    return PROGRAMS._replace(feed=feed)


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


def test_every_example_counts_once_an_epoch():
    assert int(whole().state.step) == 4 * 7
    assert [record["epoch"] for record in whole().history] == [1, 2, 3, 4]
    sums, predictions = evaluate(PROGRAMS.place(whole().state), PROGRAMS, PROGRAMS.feed(VALIDATION), 21, 8)
    assert sums["count"] == 21
    right = (predictions["predictions"] == VALIDATION["labels"]).sum()
    assert sums["correct"] == right == round(whole().history[-1]["validation_accuracy"] * 21)


def test_a_signal_saves_the_step_and_the_next_call_goes_on(tmp_path):
    """In the middle of the first epoch."""
    lines = JsonLines(tmp_path / "metrics.jsonl")
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        with pytest.raises(Interrupted, match="after step 3, saved") as raised:
            train(programs=at_batch(3, interrupt), checkpoints=checkpoints, writers=[lines])
        assert raised.value.resumable
        assert checkpoints.latest == 3
        state, sums = checkpoints.restore(start())
        assert sums["count"] == 21  # of 50 in seven even batches: 7 + 7 + 7
        resumed = train(state, sums=sums, checkpoints=checkpoints, writers=[lines])
    assert same(resumed.state, whole().state)
    assert timeless(resumed.history) == timeless(whole().history)
    assert timeless(lines.read(up_to_epoch=4)) == timeless(whole().history)


def test_a_signal_without_checkpoints_says_that_nothing_was_saved():
    with pytest.raises(Interrupted, match="after step 3; nothing was saved") as raised:
        train(programs=at_batch(3, interrupt))
    assert not raised.value.resumable


def test_resume_between_epochs_is_bit_for_bit(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        train(epochs=2, checkpoints=checkpoints)
        state, sums = checkpoints.restore(start())
    resumed = train(state, sums=sums)
    assert same(resumed.state, whole().state)
    assert timeless(resumed.history) == timeless(whole().history[2:])


class Killed(Exception):
    pass


def kill():
    raise Killed


@pytest.mark.parametrize("options", [{"checkpoint_steps": 3}, {"checkpoint_minutes": 0.0}])
def test_saves_within_an_epoch_change_nothing_and_a_kill_loses_no_more_than_a_few_steps(tmp_path, options):
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(Killed):  # as the sixth batch is fetched
            train(programs=at_batch(6, kill), checkpoints=checkpoints, **options)
        saved = checkpoints.latest
        assert saved == (3 if "checkpoint_steps" in options else 5)
        state, sums = checkpoints.restore(start())
        assert sums["count"] == 50 * saved // 7
        resumed = train(state, sums=sums, checkpoints=checkpoints, **options)
    assert same(resumed.state, whole().state)
    assert timeless(resumed.history) == timeless(whole().history)


CLASSES, IMAGES = 2, 3


def composed(count, seed, epoch):
    """Four batches of P classes x K images, as losses over pairs need them."""
    rng, batches = np.random.default_rng([seed, epoch]), []
    for _ in range(4):
        chosen = rng.choice(3, CLASSES, replace=False)
        rows = [rng.choice(np.flatnonzero(TRAIN["labels"] == each), IMAGES, replace=False) for each in chosen]
        batches.append(np.concatenate(rows))
    return np.concatenate(batches).astype(np.int32)


def test_an_order_plans_the_composition_of_every_batch(tmp_path):
    seen = []

    def feed(arrays):
        inner = PROGRAMS.feed(arrays)

        def batch(indices, mask):
            if arrays is TRAIN:
                seen.append(indices[mask > 0])
            return inner(indices, mask)

        return batch

    def go_on(state, sums, programs, **options):
        run = Run(RunConfig(epochs=2, batch_size=CLASSES * IMAGES), state, KEY, sums=sums, **options)
        fit([run], programs, classification(), TRAIN, VALIDATION, order=composed)
        return run

    run = go_on(start(), {}, PROGRAMS._replace(feed=feed))
    assert len(seen) == int(run.state.step) == 8
    for indices in seen:
        assert list(np.unique(TRAIN["labels"][indices], return_counts=True)[1]) == [IMAGES] * CLASSES
    assert len({tuple(indices) for indices in seen}) == 8
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(Interrupted, match="after step 6, saved"):  # 4 batches of validation lie between the epochs
            go_on(start(), {}, at_batch(10, interrupt), checkpoints=checkpoints)
        state, sums = checkpoints.restore(start())
    resumed = go_on(state, sums, PROGRAMS)
    assert same(resumed.state, run.state)
    assert timeless(resumed.history) == timeless(run.history[1:])


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


ILL = {**TRAIN, "images": TRAIN["images"].copy()}
ILL_STEP = 16  # the third of the third epoch
ILL["images"][batch_indices(50, 8, seed=0, step=ILL_STEP)[0][0]] = np.nan


def ill_from(epoch):
    """The usual order; before an epoch the ill example is replaced by another."""

    def order(count, seed, at):
        usual = epoch_order(count, seed, at)
        ill = np.isnan(ILL["images"][usual]).any(axis=(1, 2, 3))
        return usual if at >= epoch else np.where(ill, (usual + 1) % count, usual).astype(np.int32)

    return order


def ill(**options):
    return train(data=ILL, order=ill_from(2), **options)


@cache
def before():
    """Host state before the ill step, trained step by step."""
    run = Run(RunConfig(batch_size=8), start(), KEY)
    feed, state = PROGRAMS.feed(ILL), PROGRAMS.place(run.state)
    for step in range(ILL_STEP):
        order = ill_from(2)(50, 0, step // 7)
        state, _ = PROGRAMS.train(state, feed(*batch_indices(50, 8, seed=0, step=step, order=order)), KEY)
    return PROGRAMS.fetch(state)


def assert_diverged(run, epochs=(1, 2, 3)):
    assert run.diverged == int(run.state.step) == ILL_STEP
    assert int(run.state.skipped) == 1
    assert same(run.state._replace(skipped=np.int32(0)), before())
    assert [record["epoch"] for record in run.history] == list(epochs)
    assert run.history[-1]["step"] == ILL_STEP
    assert np.isfinite(run.history[-1]["train_loss"])
    assert np.isnan(run.history[-1]["validation_loss"])


@pytest.mark.parametrize("report_seconds", [0.0, 1e9])
def test_the_step_that_is_not_finite_is_found(tmp_path, monkeypatch, report_seconds):
    """In the third epoch, whether the loop looks after every step or at the end of an epoch."""
    monkeypatch.setattr(loop, "REPORT_SECONDS", report_seconds)
    seen, lines = [], JsonLines(tmp_path / "metrics.jsonl")
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        run = ill(
            checkpoint_every=4, checkpoints=checkpoints, writers=[lines],
            on_epoch=lambda record: seen.append(record["epoch"]),
        )  # fmt: skip
        assert checkpoints.steps == [ILL_STEP]
        assert_diverged(run)
        state, sums = checkpoints.restore(start())
        assert same(state, run.state)
        # A process that was killed before it wrote the result ends the run alike.
        assert_diverged(ill(state=state, sums=sums), epochs=[3])
        assert timeless(ill(state=state, sums=sums).history)[0]["train_loss"] == run.history[-1]["train_loss"]
    assert str(timeless(lines.read(up_to_epoch=9))) == str(timeless(run.history))  # NaN is not equal to itself
    assert seen == [1, 2, 3]


def test_no_checkpoint_within_an_epoch_holds_what_is_not_finite(tmp_path):
    with Checkpoints(tmp_path / "c", keep=9) as checkpoints:
        run = ill(checkpoint_steps=1, checkpoints=checkpoints)
        assert_diverged(run)
        assert checkpoints.latest == ILL_STEP
        for step in checkpoints.steps:
            state, _ = checkpoints.restore(start(), step=step)
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
        state, sums = checkpoints.restore(start())
        assert_diverged(ill(state=state, sums=sums, checkpoints=checkpoints, checkpoint_steps=1), epochs=[3])


def test_a_first_step_of_an_epoch_leaves_the_checkpoint_before_it(tmp_path):
    """It has the same step number, and does not say that the run diverged: a resume finds out again."""
    first = np.where(np.isnan(ILL["images"]).any(axis=(1, 2, 3)))[0]

    def order(count, seed, epoch):
        usual = ill_from(9)(count, seed, epoch)
        return np.concatenate([first, usual[1:]]).astype(np.int32) if epoch == 1 else usual

    with Checkpoints(tmp_path / "c") as checkpoints:
        run = train(data=ILL, order=order, checkpoints=checkpoints)
        assert (run.diverged, [record["step"] for record in run.history]) == (7, [7, 7])
        state, sums = checkpoints.restore(start())
        assert (int(state.step), int(state.skipped)) == (7, 0)
        again = train(state, sums=sums, data=ILL, order=order, checkpoints=checkpoints)
    assert (again.diverged, [record["epoch"] for record in again.history]) == (7, [2])
    assert same(again.state, run.state)


def test_weights_that_are_not_finite_are_found_although_the_loss_is(tmp_path):
    """A gradient may overflow where the loss does not; the epoch's end looks at the weights."""

    def overflowing(state, batch, key):
        after, sums = TRAIN_STEP(state, batch, key)
        bias = jnp.where(state.step == 10, jnp.inf, after.params["norm"]["bias"])
        params = {**after.params, "norm": {**after.params["norm"], "bias": bias}}
        return after._replace(params=params), {**sums, NONFINITE: jnp.float32(0)}

    programs = single_device(overflowing, EVAL_STEP)
    for options in ({}, {"checkpoint_steps": 2}):
        with Checkpoints(tmp_path / str(len(options))) as checkpoints:
            run = train(programs=programs, checkpoints=checkpoints, **options)
            assert checkpoints.latest == 10
        assert (run.diverged, int(run.state.skipped)) == (10, 1)
        assert [(record["epoch"], record["step"]) for record in run.history] == [(1, 7), (2, 10)]


def test_skipping_leaves_out_the_step_and_counts_it():
    skipping = single_device(parts(Net(dropout=0.2), skip_nonfinite=True)[0], EVAL_STEP)
    run = ill(programs=skipping, on_nonfinite="skip")
    assert (run.diverged, int(run.state.skipped), int(run.state.step)) == (None, 2, 28)
    assert [record["skipped"] for record in run.history] == [0, 0, 1, 1]
    assert all(np.isfinite(list(record.values())).all() for record in run.history)
