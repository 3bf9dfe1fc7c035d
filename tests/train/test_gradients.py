"""Gradients in parts, steps that are not finite, and moving averages of the weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from jaxcnn.tasks import classification
from jaxcnn.train import make_eval_step, make_init, make_train_step
from jaxcnn.train.gradients import make_gradients
from jaxcnn.train.step import NONFINITE
from tests.train.small import Net, batch, difference, same

KEY = jax.random.key(3)


class Plain(linen.Module):
    """No batch norm, no dropout: parts of a batch know nothing of each other."""

    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.relu(linen.Conv(4, (3, 3))(x)).reshape((x.shape[0], -1)))


def state_of(module, tx=None, ema=False):
    return make_init(module, optax.sgd(0.1) if tx is None else tx, (8, 8, 1), ema=ema)(jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 7])
def test_gradients_in_parts_are_those_of_the_batch(parts):
    """Weights differ from part to part: 13 examples, 3 of the rows are padding."""
    module, task, some = Plain(), classification(), batch(13, 3)
    state = state_of(module)
    whole = jax.jit(make_gradients(module, task))(state, some, KEY)
    split = jax.jit(make_gradients(module, task, accumulate=parts))(state, some, KEY)
    assert difference(split.grads, whole.grads) < 1e-6
    np.testing.assert_allclose(split.loss, whole.loss, rtol=1e-6)
    assert all(float(split.sums[name]) == pytest.approx(float(whole.sums[name]), rel=1e-6) for name in whole.sums)


def test_batch_norm_sees_a_part_at_a_time():
    module, task, some = Net(), classification(), batch(16, 0)
    state = state_of(module)
    split = jax.jit(make_gradients(module, task, accumulate=2))(state, some, KEY)
    gradients = jax.jit(make_gradients(module, task))
    first = gradients(state, {name: values[0::2] for name, values in some.items()}, KEY)
    after = state._replace(batch_stats=first.batch_stats)
    second = gradients(after, {name: values[1::2] for name, values in some.items()}, KEY)
    assert difference(split.batch_stats, second.batch_stats) < 1e-6


def ill(some):
    """The same batch with a pixel that is not a number."""
    return {**some, "images": some["images"].at[0, 0, 0, 0].set(jnp.nan)}


def test_a_step_that_is_skipped_changes_nothing_and_the_next_goes_on():
    module, task, some = Net(), classification(), batch(16, 0)
    tx = optax.sgd(0.1, momentum=0.9)
    step = jax.jit(make_train_step(module, tx, task, skip_nonfinite=True))
    before, _ = step(state_of(module, tx), some, KEY)
    after, sums = step(before, ill(some), KEY)
    assert float(sums[NONFINITE]) == 1
    assert all(float(value) == 0 for name, value in sums.items() if name != NONFINITE)
    assert same(before[1:4], after[1:4])
    assert (int(after.skipped), int(after.step)) == (1, 2)
    later, sums = step(after, some, KEY)
    assert (float(sums[NONFINITE]), int(later.step)) == (0, 3)
    assert not same(after.params, later.params)


def test_a_step_that_only_counts_goes_on_as_it_is():
    """What it leaves out is the look at the gradients: everything else is that of one that skips."""
    module, task, some = Net(), classification(), batch(16, 0)
    tx = optax.sgd(0.1, momentum=0.9)
    counts, skips = (jax.jit(make_train_step(module, tx, task, skip_nonfinite=each)) for each in (False, True))
    state = state_of(module, tx)
    (one, sums), (other, wanted) = counts(state, some, KEY), skips(state, some, KEY)
    assert difference(one, other) < 1e-6
    assert difference(sums, wanted) < 1e-5
    head = {**one.params["head"], "bias": jnp.full(3, jnp.nan)}
    lost, sums = counts(one._replace(params={**one.params, "head": head}), some, KEY)
    assert float(sums[NONFINITE]) == 1
    assert (int(lost.step), int(lost.skipped)) == (2, 0)
    assert jnp.isnan(lost.params["conv"]["kernel"]).any()


def test_averages_are_those_of_optax_and_are_evaluated():
    """optax.incremental_update with the same decays; what is evaluated has the averages for weights."""
    module, task, some = Net(), classification(), batch(16, 0)
    step = jax.jit(make_train_step(module, optax.sgd(0.5), task, ema=0.9))
    state = state_of(module, optax.sgd(0.5), ema=True)
    wanted = state.ema
    for number in range(4):
        state, _ = step(state, some, KEY)
        now = {"params": state.params, "batch_stats": state.batch_stats}
        wanted = optax.incremental_update(now, wanted, 1 - min(0.9, (1 + number) / (10 + number)))
    assert difference(state.ema, wanted) < 1e-6
    evaluate = jax.jit(make_eval_step(module, task))
    averaged = state._replace(**state.ema, ema={})
    np.testing.assert_array_equal(evaluate(state, some)[0]["loss"], evaluate(averaged, some)[0]["loss"])
    assert float(evaluate(state, some)[0]["loss"]) != float(evaluate(state._replace(ema={}), some)[0]["loss"])


def test_with_params_begins_the_averages_anew():
    state = state_of(Net(), ema=True)
    doubled = jax.tree.map(partial(jnp.multiply, 2), state.params)
    assert difference(state.with_params(doubled).ema["params"], doubled) == 0
    assert state_of(Net()).with_params(doubled).ema == {}
