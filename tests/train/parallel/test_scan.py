"""Stretches of steps as one program: interrupted, resumed and reported as single steps are."""

import os
import signal

import jax
import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.runtime import onednn
from jaxcnn.train import Checkpoints, Interrupted, make_programs, member_programs, sharded
from jaxcnn.train.parallel import advance, choose_scan, programs, stretch_length, warm_up
from tests.train.driven import TRAIN, begun, start, steps, train, trained, way
from tests.train.small import difference, same, timeless

KEY = jax.random.key(100)
STEPWISE, SCANNED = way("jit"), way("scanned")
TWO = member_programs(*steps(), 2, scan=True)


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
    whole = trained(SCANNED, epochs=2)
    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(Interrupted, match="after step 6, saved"):
            trained(interrupting(SCANNED, after=3), epochs=2, checkpoints=checkpoints)
        state, sums = checkpoints.restore(start())
    assert (int(state.step), sums["count"]) == (6, 48)  # two even batches of 24
    resumed = train(SCANNED, begun(state=state, sums=sums, epochs=2))
    assert same(resumed.state, whole.state)
    assert timeless(resumed.history) == timeless(whole.history[1:])
    other = train(STEPWISE, begun(state=state, sums=sums, epochs=2))
    assert difference(other.state.params, whole.state.params) < 1e-5


def test_scanning_goes_on_from_any_step(tmp_path):
    """A run interrupted step by step in the middle of an epoch."""
    whole, calls = trained(STEPWISE, epochs=2), []

    def feed(arrays):
        def batch(indices, mask):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return STEPWISE.feed(arrays)(indices, mask)

        return batch

    with Checkpoints(tmp_path / "c") as checkpoints:
        with pytest.raises(Interrupted, match="after step 3, saved"):
            trained(STEPWISE._replace(feed=feed), epochs=2, checkpoints=checkpoints)
        state, sums = checkpoints.restore(start())
    found = train(SCANNED, begun(state=state, sums=sums, epochs=2))
    assert difference(found.state.params, whole.state.params) < 1e-5
    accuracies = [[record["train_accuracy"] for record in one.history] for one in (found, whole)]
    assert accuracies[0] == accuracies[1]


@pytest.mark.slow
def test_all_members_are_saved_and_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "STRETCH_STEPS", 3)
    whole = [begun(0, epochs=2), begun(1, epochs=2)]
    train(TWO, *whole)
    with Checkpoints(tmp_path / "a") as first, Checkpoints(tmp_path / "b") as second:
        with pytest.raises(Interrupted, match="after step 6, saved"):
            train(interrupting(TWO, after=3), *(
                begun(seed, epochs=2, checkpoints=saver) for seed, saver in enumerate((first, second))
            ))  # fmt: skip
        restored = [checkpoints.restore(start()) for checkpoints in (first, second)]
    resumed = [begun(seed, state=state, sums=sums, epochs=2) for seed, (state, sums) in enumerate(restored)]
    train(TWO, *resumed)
    for found, wanted in zip(resumed, whole, strict=True):
        assert same(found.state, wanted.state)
        assert timeless(found.history) == timeless(wanted.history[1:])
    state, sums = restored[1]
    alone = train(STEPWISE, begun(1, state=state, sums=sums, epochs=2))
    assert difference(alone.state.params, whole[1].state.params) < 1e-5


def test_runs_that_cannot_be_side_by_side_are_refused():
    def refused(match, *runs):
        with pytest.raises(InputError, match=match):
            train(TWO, *runs)

    refused("configs differ in more than seed and rates", begun(epochs=2), begun(epochs=3))
    refused("configs differ in more", begun(), begun(ema=0.9))
    refused(r"at steps \[0, 4\]", begun(), begun(1, state=start()._replace(step=np.int32(4))))
    refused("1 given, but the programs were made for 2", begun())
    refused("patience=1: runs in one program end together", begun(patience=1), begun(1, patience=1))


def test_who_scans(monkeypatch):
    # On a CPU over a small split, where no convolution is XLA's and no single steps are wanted.
    monkeypatch.setattr(onednn, "bridge", lambda: "loaded")
    assert [choose_scan(None, mode, TRAIN) for mode in ("jit", "sharded", "pmap")] == [True, False, False]
    assert choose_scan(None, "jit", TRAIN, single=True) is False
    assert choose_scan(None, "jit", {"images": np.zeros((2**21 + 1,), np.uint8)}) is False
    monkeypatch.setattr(onednn, "bridge", lambda: None)
    assert choose_scan(None, "jit", TRAIN) is False
    assert choose_scan(True, "sharded", TRAIN) is True
    with pytest.raises(InputError, match=r"scan=True: pmap makes one step at a time.*sharded"):
        choose_scan(True, "pmap", TRAIN)
    with pytest.raises(InputError, match="scan=True: pmap has no such option"):
        make_programs("pmap", steps, scan=True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert [choose_scan(None, mode, TRAIN) for mode in ("jit", "sharded", "pmap")] == [True, True, False]
    monkeypatch.setattr(programs, "RESIDENT_BYTES", 1000)
    assert choose_scan(None, "jit", TRAIN) is False
    with pytest.raises(InputError, match=r"scan=True: the training split of 25,608 bytes does not fit into the 1,000"):
        choose_scan(True, "jit", TRAIN)


def test_data_that_do_not_fit_are_gathered_on_the_host(monkeypatch):
    ways = [STEPWISE, sharded(*steps())]
    wanted = [trained(driven, epochs=1).state for driven in ways]
    monkeypatch.setattr(programs, "RESIDENT_BYTES", 1000)
    found = [trained(driven, epochs=1).state for driven in ways]
    for state, resident in zip(found, wanted, strict=True):
        assert difference(state.params, resident.params) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("driven", [STEPWISE, TWO])
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
