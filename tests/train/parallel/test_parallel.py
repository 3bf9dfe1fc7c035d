"""pmap over four virtual devices equals one device; who gets which way; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxcnn import ops
from jaxcnn.errors import InputError
from jaxcnn.train import data_parallel, make_programs, sharded, single_device
from jaxcnn.train.parallel import AXIS, choose
from jaxcnn.train.parallel.programs import compiled
from tests.train.small import Net, difference, parts, split

KEY = jax.random.key(3)


def run(programs, init, arrays, batch, steps):
    """Host state and summed counts after some steps over consecutive batches."""
    state = programs.place(jax.device_get(init(jax.random.key(0))))
    feed, sums = programs.feed(arrays), []
    for step in range(steps):
        indices = np.arange(step * batch, (step + 1) * batch, dtype=np.int32) % len(arrays["labels"])
        mask = np.ones(batch, np.float32)
        mask[-(step % 3) or batch :] = 0  # uneven: none, one or two examples of the last device are padding
        state, found = programs.train(state, feed(indices, mask), KEY)
        sums.append(jax.device_get(found))
    return state, sums


def programs(shared=True):
    train, evaluate, init = parts()
    mapped_train, mapped_evaluate, _ = parts(axis_name=AXIS, shared=shared)
    return single_device(train, evaluate), data_parallel(mapped_train, mapped_evaluate), init


@pytest.mark.slow
def test_four_devices_equal_one_after_twenty_steps():
    """Batches of eight rows a device, the last device's partly padding."""
    one, four, init = programs()
    arrays = split(97)
    (a, sums_a), (b, sums_b) = (run(p, init, arrays, 32, 20) for p in (one, four))
    a, b = one.fetch(a), four.fetch(b)
    assert difference(b.params, a.params) < 1e-5
    assert difference(b.batch_stats, a.batch_stats) < 1e-5
    assert [s["count"] for s in sums_a] == [s["count"] for s in sums_b]
    assert difference(sums_b, sums_a) < 1e-4


def test_local_statistics_differ():
    """The scope of batch norm matters: without an axis name the same data give another net."""
    one, four, init = programs(shared=False)
    (a, _), (b, _) = (run(p, init, split(97), 32, 5) for p in (one, four))
    assert difference(four.fetch(b).params, one.fetch(a).params) > 1e-4


def test_predictions_come_back_in_order():
    one, four, init = programs()
    arrays, state = split(30), jax.device_get(init(jax.random.key(0)))
    indices, mask = np.arange(30, dtype=np.int32), np.ones(30, np.float32)
    found = [p.evaluate(p.place(state), p.feed(arrays)(indices, mask)) for p in (one, four)]
    (sums_a, a), (sums_b, b) = found
    np.testing.assert_allclose(b["probabilities"][:30], a["probabilities"], rtol=1e-5)
    assert float(sums_b["count"]) == float(sums_a["count"]) == 30


def test_what_is_read_back_runs_no_program_of_all_devices():
    """Dozens of them in flight, one a leaf, each waiting for all devices, can stop XLA on a CPU for ever."""
    _, four, init = programs()
    state, feed = four.place(jax.device_get(init(jax.random.key(0)))), four.feed(split(32))
    state, sums = four.train(state, feed(np.arange(32, dtype=np.int32), np.ones(32, np.float32)), KEY)
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(sums)} == {1}
    with jax.transfer_guard_host_to_device("disallow"):  # an index of an eager a[0] would be sent to the device
        host = four.fetch(state)
    first = jax.tree.map(lambda a: np.asarray(a)[0], state)
    assert all(map(np.array_equal, jax.tree.leaves(host), jax.tree.leaves(first)))


def test_the_state_given_to_place_survives():
    one, _, init = programs()
    state = init(jax.random.key(0))
    one.train(one.place(state), one.feed(split(8))(np.arange(8, dtype=np.int32), np.ones(8, np.float32)), KEY)
    assert np.isfinite(np.asarray(state.params["head"]["kernel"])).all()


class Accelerator:
    platform = "gpu"


def test_choice():
    assert choose("auto") == "jit"  # virtual CPU devices share the cores
    assert choose("auto", [Accelerator()]) == "jit"
    assert choose("auto", [Accelerator()] * 4) == "sharded"
    assert [choose(mode) for mode in ("jit", "pmap", "sharded")] == ["jit", "pmap", "sharded"]
    made = [make_programs(mode, lambda axis: parts(Net(), axis_name=axis)[:2]) for mode in ("auto", "pmap", "sharded")]
    assert [(each.mode, each.devices) for each in made] == [("jit", 1), ("pmap", 4), ("sharded", 4)]
    assert made[2].record == {"mode": "sharded", "devices": 4, "scan": False, "members": 1}
    with pytest.raises(InputError, match="parallel='magic'"):
        make_programs("magic", lambda axis: parts(Net())[:2])


@pytest.mark.parametrize("make", [data_parallel, sharded])
@pytest.mark.parametrize("devices", [0, 5])
def test_more_devices_than_there_are(make, devices):
    with pytest.raises(InputError, match=rf"devices={devices}: there are 4; give 1 to 4"):
        make(*parts()[:2], devices)


@pytest.mark.slow
def test_fewer_devices_than_there_are():
    states = []
    for programs in (single_device(*parts()[:2]), sharded(*parts()[:2], 3), sharded(*parts()[:2], jax.devices()[2:])):
        state, _ = run(programs, parts()[2], split(97), 32, 3)
        states.append(programs.fetch(state))
    assert difference(states[1].params, states[0].params) < 1e-5
    assert difference(states[2].params, states[0].params) < 1e-5


def test_dropout_does_not_depend_on_the_devices():
    """Twelve rows on four devices, a prefix of them on three: each value falls as it would on one device."""
    key, x = jax.random.key(0), jnp.ones((12, 50))
    whole = ops.dropout(key, x, 0.3)
    for count in (4, 3):
        rows = x.reshape(count, -1, 50)
        spread = jax.pmap(lambda rows: ops.dropout(key, rows, 0.3, axis_name=AXIS), AXIS, devices=jax.devices()[:count])
        np.testing.assert_array_equal(np.asarray(spread(rows)).reshape(12, 50), whole)
    np.testing.assert_array_equal(ops.dropout(key, x[:9], 0.3), whole[:9])


class Own(linen.Module):
    """A user's module that knows of no axis, with Flax's own dropout."""

    @linen.compact
    def __call__(self, images, train=False):
        x = linen.Dropout(0.5, deterministic=not train)(images.reshape((images.shape[0], -1)))
        return linen.Dense(3)(x)


@pytest.mark.slow
def test_modules_without_an_axis_draw_differently_on_every_device():
    """Four devices with the same two rows: were all their masks alike, the loss would be four times that of one."""
    one, four = (parts(Own(), axis_name=axis, shared=False) for axis in (None, AXIS))
    rows = {name: np.concatenate([values] * 4) for name, values in split(2).items()}
    losses = []
    for programs, count in ((single_device(*one[:2]), 2), (data_parallel(*four[:2]), 8)):
        state = programs.place(jax.device_get(one[2](jax.random.key(0))))
        batch = programs.feed(rows)(np.arange(count, dtype=np.int32), np.ones(count, np.float32))
        losses.append(float(programs.train(state, batch, KEY)[1]["loss"]))
    assert losses[1] != pytest.approx(4 * losses[0], rel=1e-3)


def test_determinism_is_an_option_of_the_compiler_on_a_gpu(monkeypatch):
    asked = []
    monkeypatch.setattr(jax, "jit", lambda function, **options: asked.append(options) or function)
    compiled(len, deterministic=True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    compiled(len, deterministic=False)
    compiled(len, deterministic=True, donate_argnums=0)
    assert asked == [{}, {}, {"donate_argnums": 0, "compiler_options": {"xla_gpu_deterministic_ops": True}}]
    with pytest.raises(InputError, match=r"deterministic=True: pmap.*sharded"):
        make_programs("pmap", lambda axis: parts(axis_name=axis)[:2], deterministic=True)


def test_the_compiler_knows_the_option():
    step = jax.jit(lambda x: x + 1, compiler_options={"xla_gpu_deterministic_ops": True})
    assert int(step(jnp.int32(1))) == 2
