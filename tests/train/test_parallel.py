"""pmap over four virtual devices equals one device."""

import jax
import numpy as np
import pytest

from jaxcnn.data import make_augment
from jaxcnn.errors import InputError
from jaxcnn.train import data_parallel, make_programs, single_device
from jaxcnn.train.parallel import AXIS, choose
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


def programs(synchronised=True, prepare=None):
    train, evaluate, init = parts(prepare=prepare)
    mapped_train, mapped_evaluate, _ = parts(axis_name=AXIS, synchronised=synchronised, prepare=prepare)
    return single_device(train, evaluate), data_parallel(mapped_train, mapped_evaluate), init


@pytest.mark.parametrize("batch", [32, 30])
def test_four_devices_equal_one_after_twenty_steps(batch):
    assert len(jax.devices()) == 4
    one, four, init = programs()
    arrays = split(97)
    (a, sums_a), (b, sums_b) = (run(p, init, arrays, batch, 20) for p in (one, four))
    a, b = one.fetch(a), four.fetch(b)
    assert difference(b.params, a.params) < 1e-5
    assert difference(b.batch_stats, a.batch_stats) < 1e-5
    assert [s["count"] for s in sums_a] == [s["count"] for s in sums_b]
    assert difference(sums_b, sums_a) < 1e-4


def test_augmentation_does_not_depend_on_the_devices():
    change = make_augment(("crop", "flip"))

    def prepare(key, batch, start):
        return batch if key is None else {**batch, "images": change(key, batch["images"], start)}

    one, four, init = programs(prepare=prepare)
    (a, _), (b, _) = (run(p, init, split(97), 32, 5) for p in (one, four))
    assert difference(four.fetch(b).params, one.fetch(a).params) < 1e-5
    plain, _ = run(programs()[0], init, split(97), 32, 5)
    assert difference(one.fetch(a).params, one.fetch(plain).params) > 1e-3


def test_local_statistics_differ():
    """The scope of batch norm matters: without an axis name the same data give another net."""
    one, four, init = programs(synchronised=False)
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


def test_the_state_given_to_place_survives():
    one, _, init = programs()
    state = init(jax.random.key(0))
    one.train(one.place(state), one.feed(split(8))(np.arange(8, dtype=np.int32), np.ones(8, np.float32)), KEY)
    assert np.isfinite(np.asarray(state.params["head"]["kernel"])).all()


def test_choice():
    assert choose("auto") == "jit"  # virtual CPU devices share the cores
    assert choose("pmap") == "pmap"
    with pytest.raises(InputError, match="parallel='magic'"):
        make_programs("magic", lambda axis: parts(Net())[:2])
