"""Stretches of steps as one program: interrupted, resumed and reported as single steps are."""

import os
import signal

import jax
import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.tasks import classification
from jaxcnn.train import (
    Checkpoints,
    Interrupted,
    Member,
    Plan,
    fit,
    fit_together,
    make_programs,
    member_programs,
    sharded,
    single_device,
)  # fmt: skip
from jaxcnn.train.parallel import advance, choose_scan, programs, stretch_length, warm_up
from tests.train.driven import BATCH, TRAIN, VALIDATION, start, steps, trained
from tests.train.small import difference

KEY = jax.random.key(100)
STEPWISE = single_device(*steps())
SCANNED = single_device(*steps(), scan=True)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def go_on(state, driven, sums=None, **options):
    return fit(state, driven, classification(), TRAIN, VALIDATION, Plan(2, BATCH, 0), KEY, sums=sums, **options)


def interrupting(driven, after):
    """The same programs; SIGINT arrives during one call of the stretch."""
    calls = []

    def stretch(arrays):
        inner = driven.stretch(arrays)

        def counted(*arguments):
            calls.append(1)
            if len(calls) == after:
                os.kill(os.getpid(), signal.SIGINT)
            return inner(*arguments)

        return counted

    return driven._replace(stretch=stretch)


@pytest.mark.parametrize(("per_epoch", "length"), [(1, 1), (4, 4), (64, 64), (65, 33), (100, 50), (391, 56)])
def test_stretches_are_bounded_and_even(per_epoch, length):
    assert stretch_length(SCANNED, per_epoch) == length
    assert stretch_length(STEPWISE, per_epoch) == 1


def test_a_signal_is_answered_at_the_end_of_a_stretch(tmp_path, monkeypatch):
    """And the run goes on from there, scanned to the bit, or step by step."""
    monkeypatch.setattr(programs, "STRETCH_STEPS", 3)  # two stretches of two steps an epoch
    whole, records = go_on(start(), SCANNED)
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(Interrupted, match="after step 6, saved"):
            go_on(start(), interrupting(SCANNED, after=3), checkpoints=checkpoints)
        state, sums = checkpoints.restore(start())
    assert (int(state.step), sums["count"]) == (6, 60)
    resumed, later = go_on(state, SCANNED, sums)
    assert same(resumed, whole)
    assert later[-1]["train_loss"] == records[-1]["train_loss"]
    other, _ = go_on(state, STEPWISE, sums)
    assert difference(other.params, whole.params) < 1e-5


def test_scanning_goes_on_from_any_step(tmp_path):
    """A run interrupted step by step in the middle of an epoch."""
    whole, records = go_on(start(), STEPWISE)
    calls = []

    def feed(arrays):
        def batch(indices, mask):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return STEPWISE.feed(arrays)(indices, mask)

        return batch

    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(Interrupted, match="after step 3, saved"):
            go_on(start(), STEPWISE._replace(feed=feed), checkpoints=checkpoints)
        state, sums = checkpoints.restore(start())
    found, later = go_on(state, SCANNED, sums)
    assert difference(found.params, whole.params) < 1e-5
    assert [record["train_accuracy"] for record in later] == [record["train_accuracy"] for record in records]


def test_all_members_are_saved_and_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "STRETCH_STEPS", 3)
    driven = member_programs(*steps(), 2, scan=True)

    def members(states, sums, checkpoints):
        return [
            Member(state, Plan(2, BATCH, seed), jax.random.key(100 + seed), part, saver)
            for seed, (state, part, saver) in enumerate(zip(states, sums, checkpoints, strict=True))
        ]

    def together(driven, *arguments):
        return fit_together(members(*arguments), driven, classification(), TRAIN, VALIDATION)

    fresh = start(0), start(1)
    whole = together(driven, fresh, ({}, {}), (None, None))
    with Checkpoints(tmp_path / "a") as first, Checkpoints(tmp_path / "b") as second:
        with pytest.raises(Interrupted, match="after step 6, saved"):
            together(interrupting(driven, after=3), fresh, ({}, {}), (first, second))
        restored = [checkpoints.restore(start()) for checkpoints in (first, second)]
    states, sums = zip(*restored, strict=True)
    for (state, records), (wanted, wanted_records) in zip(
        together(driven, states, sums, (None, None)), whole, strict=True
    ):
        assert same(state, wanted)
        assert records[-1]["train_loss"] == wanted_records[-1]["train_loss"]
    alone, _ = fit(
        states[1], STEPWISE, classification(), TRAIN, VALIDATION, Plan(2, BATCH, 1), jax.random.key(101), sums=sums[1]
    )
    assert difference(alone.params, whole[1][0].params) < 1e-5


def test_members_that_are_not_side_by_side_are_refused():
    driven = member_programs(*steps(), 2)

    def refused(second, match, first=None):
        with pytest.raises(InputError, match=match):
            fit_together([first or Member(start(), Plan(2, BATCH, 0), KEY), second], driven, classification(), TRAIN,
                         VALIDATION)  # fmt: skip

    refused(Member(start(), Plan(3, BATCH, 0), KEY), "plans differ in more than the seed")
    refused(Member(start()._replace(step=np.int32(4)), Plan(2, BATCH, 1), KEY), r"at steps \[0, 4\]")
    with pytest.raises(InputError, match="1 given, and the programs were made for 2"):
        fit_together([Member(start(), Plan(2, BATCH, 0), KEY)], driven, classification(), TRAIN, VALIDATION)


def test_who_scans(monkeypatch):
    assert choose_scan(None, "jit", TRAIN) is False  # on a CPU
    assert choose_scan(True, "sharded", TRAIN) is True
    with pytest.raises(InputError, match=r"scan=True: pmap makes one step at a time.*sharded"):
        choose_scan(True, "pmap", TRAIN)
    with pytest.raises(InputError, match="scan=True: pmap has no such option"):
        make_programs("pmap", steps, scan=True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [choose_scan(None, mode, TRAIN) for mode in ("jit", "sharded", "pmap")] == [True, True, False]
    monkeypatch.setattr(programs, "RESIDENT_BYTES", 1000)
    assert choose_scan(None, "jit", TRAIN) is False
    with pytest.raises(InputError, match=r"scan=True: the training split of 25,220 bytes does not fit into the 1,000"):
        choose_scan(True, "jit", TRAIN)


def test_data_that_do_not_fit_are_gathered_on_the_host(monkeypatch):
    wanted = [trained(driven, epochs=1)[0] for driven in (STEPWISE, sharded(*steps()))]
    monkeypatch.setattr(programs, "RESIDENT_BYTES", 1000)
    found = [trained(driven, epochs=1)[0] for driven in (STEPWISE, sharded(*steps()))]
    for state, resident in zip(found, wanted, strict=True):
        assert difference(state.params, resident.params) < 1e-6


@pytest.mark.parametrize("driven", [SCANNED, STEPWISE, member_programs(*steps(), 2, scan=True)])
def test_warming_up_compiles_all_and_leaves_the_state(monkeypatch, driven):
    """Five steps an epoch, in stretches of three and two."""
    monkeypatch.setattr(programs, "STRETCH_STEPS", 3)
    state, key = driven.join([start()] * driven.members), driven.join([KEY] * driven.members)
    assert warm_up(driven, state, TRAIN, 20, key) > 0
    assert int(np.max(state.step)) == 0
    assert np.isfinite(np.asarray(state.params["head"]["kernel"])).all()
    step, placed, compiled = advance(driven, TRAIN), driven.place(state), []

    def listen(event, seconds, **about):
        compiled.extend([event] if event.endswith("backend_compile_duration") else [])

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for length in (1,) if driven is STEPWISE else (3, 2):
            indices, masks = np.zeros((length, 20), np.int32), np.ones((length, 20), np.float32)
            placed, _ = step(placed, *(driven.join([part] * driven.members) for part in (indices, masks)), key)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == []
