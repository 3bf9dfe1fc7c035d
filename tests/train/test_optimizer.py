"""Optimisers against the update rules that their papers and PyTorch's documentation state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.spec import OptimizerConfig
from jaxcnn.train.optimizer import make_optimizer, schedule_shape

PLAIN = OptimizerConfig(schedule="constant", warmup_epochs=0.0, weight_decay=0.0)


def trajectory(config, grads, start, steps=1000):
    """Parameters after each gradient."""
    tx = make_optimizer(config, steps, 10)
    params = {"kernel": jnp.asarray(start)[:, None], "bias": jnp.asarray(start)}
    state, seen = tx.init(params), []
    for g in grads:
        updates, state = tx.update({"kernel": jnp.asarray(g)[:, None], "bias": jnp.asarray(g)}, state, params)
        params = jax.tree.map(lambda p, u: p + u, params, updates)
        seen.append({k: np.asarray(v).ravel() for k, v in params.items()})
    return seen


@pytest.fixture
def grads():
    return np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", ["l2", "decoupled"])
def test_sgd_follows_the_update_rule(grads, nesterov, decay):
    """torch.optim.SGD's documented recursion: v = mu v + g, step = g + mu v (Nesterov) or v; decay g + wd p (L2)."""
    config = OptimizerConfig(
        learning_rate=0.1, nesterov=nesterov, weight_decay=0.05, decay=decay, schedule="constant", warmup_epochs=0
    )
    seen = trajectory(config, grads, np.ones(3, np.float32))
    for name, strength in (("kernel", 0.05), ("bias", 0.0)):
        p, v = np.ones(3), np.zeros(3)
        for g, found in zip(grads.astype(np.float64), seen, strict=True):
            g = g + strength * p if decay == "l2" else g
            v = 0.9 * v + g
            update = g + 0.9 * v if nesterov else v
            update = update + strength * p if decay == "decoupled" else update
            p = p - 0.1 * update
            np.testing.assert_allclose(found[name], p, rtol=1e-5, err_msg=name)


def test_adam_follows_kingma_and_ba(grads):
    """Algorithm 1 of Kingma & Ba 2015 with its default constants; decoupled decay as in AdamW's algorithm 2."""
    config = OptimizerConfig(
        "adam", learning_rate=0.01, weight_decay=0.1, decay="decoupled", schedule="constant", warmup_epochs=0
    )
    seen = trajectory(config, grads, np.ones(3, np.float32))
    p, m, v = np.ones(3), np.zeros(3), np.zeros(3)
    for t, (g, found) in enumerate(zip(grads.astype(np.float64), seen, strict=True), 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        p = p - 0.01 * (m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + 0.1 * p)
        np.testing.assert_allclose(found["kernel"], p, rtol=1e-5)


def test_clipping_bounds_the_global_norm():
    config = OptimizerConfig(
        learning_rate=1.0, momentum=0.0, clip_norm=1.0, weight_decay=0, schedule="constant", warmup_epochs=0
    )
    moved = trajectory(config, [np.full(3, 100, np.float32)], np.zeros(3, np.float32))[0]
    assert np.linalg.norm(np.concatenate(list(moved.values()))) == pytest.approx(1.0, rel=1e-5)


def test_learning_rate_is_an_array_in_the_state():
    tx = make_optimizer(PLAIN, 10, 5)
    state = tx.init({"w": jnp.ones((2, 2))})
    assert state.hyperparams["learning_rate"].dtype == jnp.float32
    doubled = state._replace(hyperparams={**state.hyperparams, "learning_rate": jnp.float32(0.2)})
    grads = {"w": jnp.ones((2, 2))}
    one, two = (tx.update(grads, s, {"w": jnp.ones((2, 2))})[0]["w"] for s in (state, doubled))
    np.testing.assert_allclose(two, 2 * np.asarray(one), rtol=1e-6)


def test_schedules():
    shape = schedule_shape(OptimizerConfig(schedule="cosine", warmup_epochs=1), 110, 10)
    values = np.array([shape(i) for i in range(110)])
    assert values[0] > 0
    assert values.max() == values[10] == 1.0
    np.testing.assert_allclose(values[60], 0.5, atol=1e-6)  # half of the cosine's 100 steps
    assert values[-1] < 1e-3
    assert np.all(np.diff(values[:10]) > 0)
    assert np.all(np.diff(values[10:]) < 0)
    steps = schedule_shape(OptimizerConfig(schedule="step", milestones=(0.5, 0.75), warmup_epochs=0), 100, 10)
    np.testing.assert_allclose([steps(i) for i in (0, 49, 51, 76)], [1, 1, 0.1, 0.01], rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [("learning_rate", 0.0), ("momentum", 1.0), ("weight_decay", -1.0), ("clip_norm", 0.0), ("warmup_epochs", -1.0),
     ("milestones", (1.5,))],
)  # fmt: skip
def test_values_out_of_range_are_named(field, value):
    with pytest.raises(InputError, match=field):
        make_optimizer(OptimizerConfig(**{field: value}), 10, 5)
