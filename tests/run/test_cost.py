"""Memory and time of training steps, on tiny nets."""

import json
import time
from dataclasses import replace

import jax
import pytest
from flax import linen

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.records import as_record, from_record
from jaxcnn.run.cost import compile_all, make_stopwatch, measure_costs, step_memory, time_steps
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig, StepCost
from jaxcnn.train.parallel.programs import memory_bytes

TINY = RunConfig(model=ModelSpec("plain", 2, 2), batch_size=32)


class Own(linen.Module):
    """A user's module without train or mask."""

    units: int = 8

    @linen.compact
    def __call__(self, x):
        return linen.Dense(10)(linen.relu(linen.Dense(self.units)(x.reshape(len(x), -1))))


@pytest.fixture(scope="module")
def digits():
    return load(DataConfig("digits"), progress=False)


def test_memory_grows_with_the_batch_and_holds_the_arguments(digits):
    small, large = (step_memory(replace(TINY, batch_size=size), digits) for size in (32, 256))
    image = digits.train["images"][0].nbytes
    assert 32 * image < small < large
    # The large batch holds at least its images and one float activation map of 8x8x2 more.
    assert large - small > 224 * (image + 4 * 8 * 8 * 2)


def test_memory_is_arguments_outputs_and_temporaries_less_aliases():
    shape = jax.ShapeDtypeStruct((64, 64), "float32")
    compiled = jax.jit(lambda x: (x + 1.0, x @ x), donate_argnums=0).lower(shape).compile()
    assert memory_bytes(compiled) >= 2 * 64 * 64 * 4


class Unmeasured:
    """A compiled program of a backend without the analysis."""

    def memory_analysis(self):
        return None


def test_a_backend_without_the_analysis_has_no_memory():
    assert memory_bytes(Unmeasured()) is None


def test_networks_take_turns_each_round_beginning_with_another(digits):
    """Recorded by the networks' own steps: which was called, in which order."""
    pairs = [(TINY, None), (replace(TINY, model=ModelSpec("dense", 3, 4)), None), (TINY, Own())]
    calls, networks = [], compile_all(pairs, digits)

    def recording(number, step):
        def call(*arguments):
            calls.append(number)
            return step(*arguments)

        return call

    networks = [each._replace(step=recording(number, each.step)) for number, each in enumerate(networks)]
    times = time_steps(networks, rounds=4, steps=1, warmup=1)
    assert calls == [0, 1, 2, *(0, 1, 2), *(1, 2, 0), *(2, 0, 1), *(0, 1, 2)]
    for each in networks:  # states are passed on and trained
        assert int(each.states[0].step) == 5 * len(each.batches[0][0])
    assert [len(each) for each in times] == [4, 4, 4]
    assert all(seconds > 0 for each in times for seconds in each)
    assert all(each.seconds > 0 for each in networks)


def test_costs_are_records(digits):
    pairs = [(TINY, None), (TINY, Own(units=64))]
    costs = measure_costs(pairs, digits, rounds=2, steps=1)
    assert [from_record(StepCost, json.loads(json.dumps(as_record(each)))) for each in costs] == list(costs)
    assert costs[0].memory == step_memory(TINY, digits)


def test_the_images_lie_on_the_device_once(digits):
    scanned = replace(TINY, scan=True)
    first, second = compile_all([(scanned, None), (scanned, Own())], digits)
    assert first.step.args[0]["images"] is second.step.args[0]["images"]


def test_a_step_of_many_takes_about_the_memory_of_one(digits):
    one, many = (step_memory(replace(TINY, scan=scan), digits) for scan in (False, True))
    assert one == pytest.approx(many, rel=0.5)


def test_several_devices(digits):
    (cost,) = measure_costs([(replace(TINY, parallel="pmap"), None)], digits, rounds=1, steps=1, warmup=1)
    assert cost.step > 0
    assert cost.memory == step_memory(replace(TINY, batch_size=8), digits)


@pytest.mark.slow
def test_a_stopwatch_times_specs_and_modules_and_compiles_them_once():
    watch = make_stopwatch((8, 8, 1), 10, 128, rounds=3)
    assert watch(Own()) > 0
    narrow, wide = watch(ModelSpec("dense", 4, 8)), watch(ModelSpec("dense", 4, 1024))
    assert wide > narrow > 0  # a hundredfold more work: beyond any noise
    started = time.process_time()
    watch(ModelSpec("dense", 4, 8))
    assert time.process_time() - started < 5  # a few turns of a quarter of a second


SLOW = [pytest.param(head, marks=pytest.mark.slow) for head in ("ssd", "localizer")]


@pytest.mark.slow
@pytest.mark.parametrize("head", ["fcn", *SLOW])
def test_a_stopwatch_has_targets_of_the_task(head):
    assert make_stopwatch((16, 16, 3), 3, 4, rounds=1)(ModelSpec("plain", 4, 2, head=head)) > 0


@pytest.mark.parametrize("fields", [{"rounds": 0}, {"steps": 0}, {"warmup": 0}])
def test_numbers_out_of_range(digits, fields):
    with pytest.raises(InputError, match=f"{next(iter(fields))}=0: must be at least 1"):
        measure_costs([(TINY, None)], digits, **fields)
    with pytest.raises(InputError, match="pairs="):
        measure_costs([], digits)
