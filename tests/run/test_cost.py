"""Memory and time of training steps, on tiny nets."""

import json
from dataclasses import replace

import jax
import pytest
from flax import linen

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.run import cost as costs
from jaxcnn.run.cost import Cost, make_stopwatch, measure_costs, measure_steps, step_cost
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig
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
    small, large = (step_cost(replace(TINY, batch_size=size), digits) for size in (32, 256))
    image = digits.train["images"][0].nbytes
    assert 32 * image < small.memory_bytes < large.memory_bytes
    # The large batch holds at least its images and one float activation map of 8x8x2 more.
    assert large.memory_bytes - small.memory_bytes > 224 * (image + 4 * 8 * 8 * 2)
    assert small.compile_seconds > 0


def test_memory_is_arguments_outputs_and_temporaries_less_aliases(digits):
    shape = jax.ShapeDtypeStruct((64, 64), "float32")
    compiled = jax.jit(lambda x: (x + 1.0, x @ x), donate_argnums=0).lower(shape).compile()
    assert memory_bytes(compiled) >= 2 * 64 * 64 * 4


def test_a_backend_without_the_analysis_has_no_memory(monkeypatch):
    def missing(executable):
        raise NotImplementedError

    compiled = jax.jit(lambda x: x + 1.0).lower(jax.ShapeDtypeStruct((4,), "float32")).compile()
    assert memory_bytes(compiled) > 0
    monkeypatch.setattr(type(compiled._executable), "memory_analysis", missing)
    assert memory_bytes(compiled) is None


def test_every_arm_is_timed_once_a_round_in_turns(digits, monkeypatch):
    turns = []
    real = costs._turn

    def spy(arm, steps):
        turns.append((id(arm.held), steps))
        return real(arm, steps)

    monkeypatch.setattr(costs, "_turn", spy)
    pairs = [(TINY, None), (replace(TINY, model=ModelSpec("dense", 3, 4)), None), (TINY, Own())]
    timed = measure_steps(pairs, digits, rounds=4, steps=2, warmup=1)
    arms = [arm for arm, _ in turns[:3]]
    assert [steps for _, steps in turns] == [1] * 3 + [2] * 12
    order = [arms.index(arm) for arm, _ in turns[3:]]
    assert order == [0, 1, 2, 1, 2, 0, 2, 0, 1, 0, 1, 2]
    for each in timed:
        assert len(each.rounds) == 4
        assert min(each.rounds) <= each.median <= max(each.rounds)
        assert 0 <= each.spread <= max(each.rounds) - min(each.rounds)
        assert each.compile_seconds > 0


def test_states_are_threaded_and_trained(digits):
    arm = costs._prepare(TINY, None, digits, {})
    costs._turn(arm, 3)
    costs._turn(arm, 2)
    assert int(arm.held[0].step) == 5


def test_costs_are_plain_values(digits):
    pairs = [(TINY, None), (TINY, Own(units=64))]
    found = measure_costs(pairs, digits, rounds=2, steps=1)
    assert [Cost(*json.loads(json.dumps(each))) for each in found] == list(found)
    assert all(each.memory > 0 and each.step > 0 and each.spread >= 0 for each in found)
    assert found[0].memory == step_cost(TINY, digits).memory_bytes


def test_the_images_lie_on_the_device_once(digits):
    feeds = {}
    first, second = (costs._prepare(TINY, module, digits, feeds) for module in (None, Own()))
    assert first.feed is second.feed


def test_several_devices(digits):
    config = replace(TINY, parallel="pmap")
    (found,) = measure_costs([(config, None)], digits, rounds=1, steps=1, warmup=1)
    assert found.step > 0
    assert found.memory == step_cost(replace(TINY, batch_size=8), digits).memory_bytes


def test_a_stopwatch_times_specs_and_modules():
    watch = make_stopwatch((8, 8, 1), 10, 16, rounds=1)
    assert watch(ModelSpec("dense", 2, 4)) > 0
    assert watch(Own()) > 0
    assert watch(ModelSpec("dense", 2, 4)) > 0


def test_a_wider_net_takes_longer():
    """A hundredfold more work: beyond any noise."""
    watch = make_stopwatch((8, 8, 1), 10, 128, rounds=3)
    assert watch(ModelSpec("dense", 4, 1024)) > watch(ModelSpec("dense", 4, 8))


@pytest.mark.parametrize("fields", [{"rounds": 0}, {"steps": 0}, {"warmup": 0}])
def test_numbers_out_of_range(digits, fields):
    with pytest.raises(InputError, match=f"{next(iter(fields))}=0: must be at least 1"):
        measure_steps([(TINY, None)], digits, **fields)
    with pytest.raises(InputError, match="pairs="):
        measure_steps([], digits)
