"""The one step: pure, masked, moving statistics and dropping units only in training."""

import jax
import numpy as np
import pytest

from jaxcnn.spec import Classification, OptimizerConfig
from jaxcnn.tasks import classification
from jaxcnn.train import make_eval_step
from jaxcnn.train.state import apply
from jaxcnn.train.step import make_forward
from tests.train.small import Net, batch, difference, parts

KEY = jax.random.key(7)


def test_step_is_a_function_of_its_arguments():
    train, _, init = parts(Net(dropout=0.5))
    state, step = init(jax.random.key(0)), jax.jit(train)
    one, two = step(state, batch(12), KEY), step(state, batch(12), KEY)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)
    other = step(state, batch(12), jax.random.key(8))[0]
    assert difference(other.params, one[0].params) > 1e-4  # another key drops other units


def test_the_step_number_changes_the_dropout():
    train, _, init = parts(Net(dropout=0.5))
    train, state = jax.jit(train), init(jax.random.key(0))
    later = state._replace(step=state.step + 1)
    assert difference(train(state, batch(12), KEY)[0].params, train(later, batch(12), KEY)[0].params) > 1e-4


def test_padding_changes_nothing():
    train, evaluate, init = parts()
    train, evaluate, state = jax.jit(train), jax.jit(evaluate), init(jax.random.key(0))
    padded = {**batch(10), **{}}
    rubbish = batch(10, padding=6)
    rubbish = {k: v.at[:10].set(padded[k]) if k != "mask" else v for k, v in rubbish.items()}
    (plain, plain_sums), (masked, masked_sums) = train(state, padded, KEY), train(state, rubbish, KEY)
    assert difference(masked.params, plain.params) < 1e-6
    assert difference(masked.batch_stats, plain.batch_stats) < 1e-6
    assert float(masked_sums["count"]) == float(plain_sums["count"]) == 10
    assert difference(evaluate(state, rubbish)[0], evaluate(state, padded)[0]) < 1e-6


def test_statistics_and_dropout_act_only_in_training():
    module = Net(dropout=0.5)
    train, evaluate, init = parts(module)
    train, evaluate, state = jax.jit(train), jax.jit(evaluate), init(jax.random.key(0))
    moved = train(state, batch(12), KEY)[0]
    assert difference(moved.batch_stats, state.batch_stats) > 1e-3
    first, second = (evaluate(moved, batch(12))[1]["probabilities"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    variables = {"params": moved.params, "batch_stats": moved.batch_stats}
    _, stats = apply(module, variables, (batch(12)["images"],), train=False)
    for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(moved.batch_stats), strict=True):
        np.testing.assert_array_equal(a, b)


def test_flips_are_the_mean_over_image_and_mirror_image():
    # Its logits are its outputs for known images: the mean can be taken by hand.
    module = Net()
    state, data = parts(module)[2](jax.random.key(0)), batch(10, padding=2)
    mirrored = {**data, "images": data["images"][:, :, ::-1]}
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits = [np.asarray(apply(module, variables, (d["images"],), train=False)[0]) for d in (data, mirrored)]
    assert not np.allclose(*logits)
    task = classification(Classification(test_flips=True))
    sums, decoded = make_eval_step(module, task)(state, data)
    mean = (logits[0] + logits[1]) / 2
    np.testing.assert_allclose(decoded["probabilities"], task.decode(mean)["probabilities"], rtol=1e-5)
    np.testing.assert_allclose(sums["loss"], task.sums(mean, data)["loss"], rtol=1e-5)
    again, _ = make_eval_step(module, task)(state, mirrored)
    np.testing.assert_allclose(again["loss"], sums["loss"], rtol=1e-6)
    without_targets = {name: values for name, values in data.items() if name != "labels"}
    np.testing.assert_allclose(make_forward(module, task)(state, without_targets), mean, rtol=1e-5)


def test_loss_falls():
    train, _, init = parts()
    state, step = init(jax.random.key(0)), jax.jit(train)
    losses = []
    for _ in range(30):
        state, sums = step(state, batch(32), KEY)
        losses.append(float(sums["loss"]) / 32)
    assert losses[-1] < 0.5 * losses[0]
    assert int(state.step) == 30


def test_gradient_equals_finite_differences():
    """One SGD step without momentum is -lr times the gradient; central differences say what that should be."""
    rate = 1e-2
    config = OptimizerConfig(
        learning_rate=rate, momentum=0.0, nesterov=False, weight_decay=0.0, schedule="constant", warmup_epochs=0.0
    )
    module, data = Net(), batch(16)
    train, _, init = parts(module, config)
    state = init(jax.random.key(0))
    moved = jax.jit(train)(state, data, KEY)[0].params["head"]["bias"] - state.params["head"]["bias"]

    @jax.jit
    def loss(bias):
        params = {**state.params, "head": {**state.params["head"], "bias": bias}}
        variables = {"params": params, "batch_stats": state.batch_stats}
        outputs, _ = apply(module, variables, (data["images"],), train=True, mask=data["mask"])
        total, weight = classification().loss(outputs, data)
        return total / weight

    step = 1e-2
    for i in range(3):
        up, down = (state.params["head"]["bias"].at[i].add(sign * step) for sign in (1, -1))
        assert -float(moved[i]) / rate == pytest.approx(float(loss(up) - loss(down)) / (2 * step), rel=2e-2, abs=1e-3)
