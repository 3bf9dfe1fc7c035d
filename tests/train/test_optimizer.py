"""Optimisers against the update rules that their papers and PyTorch's documentation state."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.records import as_record, from_record
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


def newton_schulz(matrix):
    """Five quintic steps with the coefficients that Jordan et al. 2024 publish."""
    x = (matrix / np.linalg.norm(matrix)).T  # the smaller side first
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T


@pytest.mark.parametrize("nesterov", [False, True])
def test_muon_orthogonalises_kernels_as_matrices(nesterov):
    rng = np.random.default_rng(0)
    config = replace(PLAIN, name="muon", learning_rate=0.1, momentum=0.6, nesterov=nesterov)
    tx, params = make_optimizer(config, 100, 10), {"kernel": jnp.ones((3, 3, 4, 6))}
    state, mean = tx.init(params), np.zeros((36, 6))
    for step in range(1, 4):
        g = rng.normal(size=(3, 3, 4, 6)).astype(np.float32)
        updates, state = tx.update({"kernel": jnp.asarray(g)}, state, params)
        g = g.reshape(36, 6).astype(np.float64)
        mean = 0.6 * mean + 0.4 * g
        # Corrected for starting at zero, Nesterov's form a step ahead (Dozat 2016).
        ahead = 0.6 * mean / (1 - 0.6 ** (step + 1)) + 0.4 * g / (1 - 0.6**step)
        momentum = ahead if nesterov else mean
        moved = -np.asarray(updates["kernel"], np.float64).reshape(36, 6) / 0.1
        np.testing.assert_allclose(moved, newton_schulz(momentum), rtol=1e-3, atol=1e-5)
        values = np.linalg.svd(moved, compute_uv=False)
        assert np.all((values > 0.6) & (values < 1.3)), values
        left, _, right = np.linalg.svd(momentum, full_matrices=False)
        np.testing.assert_allclose(left.T @ moved @ right.T, np.diag(values_in_order(left, moved, right)), atol=1e-4)


def values_in_order(left, moved, right):
    """Stretch of `moved` along singular directions of another matrix."""
    return np.einsum("ik,ij,kj->k", left, moved, right)


def test_muon_moves_the_rest_by_sgd():
    rng = np.random.default_rng(1)
    params = {"conv": {"kernel": jnp.ones((3, 3, 2, 4)), "bias": jnp.zeros(4)}, "head": {"kernel": jnp.ones((4, 3))}}
    config = replace(PLAIN, weight_decay=0.1, decay="decoupled", momentum=0.6, bias_scale=8.0)
    muon, sgd = (make_optimizer(replace(config, name=name, rest_scale=5.0), 100, 10) for name in ("muon", "sgd"))
    states = [muon.init(params), sgd.init(params)]
    for _ in range(2):
        grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
        (by_muon, states[0]), (by_sgd, states[1]) = (
            tx.update(grads, s, params) for tx, s in zip((muon, sgd), states, strict=True)
        )
        np.testing.assert_allclose(by_muon["conv"]["bias"], 5 * by_sgd["conv"]["bias"], rtol=1e-5)
        decay = 0.1 * 0.1  # of the weights, all ones, at a rate of 0.1: not multiplied
        np.testing.assert_allclose(by_muon["head"]["kernel"] + decay, 5 * (by_sgd["head"]["kernel"] + decay), rtol=1e-4)


@pytest.mark.parametrize("name", ["sgd", "adam", "muon"])
def test_biases_have_a_rate_of_their_own_and_frozen_parameters_stay(name):
    rng = np.random.default_rng(2)
    params = {
        "whiten": {"kernel": jnp.ones((2, 2, 1, 8)), "bias": jnp.zeros(8)},
        "norm": {"scale": jnp.ones(8), "bias": jnp.zeros(8)},
        "rescale": jnp.ones(2),
    }
    grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
    config = replace(PLAIN, name=name, weight_decay=0.1)
    special = replace(config, bias_scale=64.0, frozen=("whiten/kernel", "scale"))
    plain, scaled = (
        tx.update(grads, tx.init(params), params)[0] for tx in (make_optimizer(c, 100, 10) for c in (config, special))
    )
    for layer in ("whiten", "norm"):
        np.testing.assert_allclose(scaled[layer]["bias"], 64 * plain[layer]["bias"], rtol=1e-5)
    assert not np.any(scaled["whiten"]["kernel"])  # not by decay either
    assert not np.any(scaled["norm"]["scale"])
    assert np.any(plain["whiten"]["kernel"])
    np.testing.assert_allclose(scaled["rescale"], plain["rescale"], rtol=1e-5)  # a name, not any ending of one


def test_a_frozen_name_that_no_parameter_has_is_refused():
    tx = make_optimizer(replace(PLAIN, frozen=("whitten/kernel",)), 10, 5)
    with pytest.raises(InputError, match="frozen='whitten/kernel': no parameter's path ends so; one is 'w'"):
        tx.init({"w": jnp.ones(2)})


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
    linear = schedule_shape(OptimizerConfig(schedule="linear", warmup_epochs=2), 120, 10)
    np.testing.assert_allclose([linear(i) for i in (0, 19, 20, 70, 119)], [1 / 21, 20 / 21, 1, 0.5, 0.01], rtol=1e-5)
    steps = schedule_shape(OptimizerConfig(schedule="step", milestones=(0.5, 0.75), warmup_epochs=0), 100, 10)
    np.testing.assert_allclose([steps(i) for i in (0, 49, 51, 76)], [1, 1, 0.1, 0.01], rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [("learning_rate", 0.0), ("momentum", 1.0), ("weight_decay", -1.0), ("clip_norm", 0.0), ("warmup_epochs", -1.0),
     ("bias_scale", 0.0), ("rest_scale", -1.0), ("milestones", (1.5,))],
)  # fmt: skip
def test_values_out_of_range_are_named(field, value):
    with pytest.raises(InputError, match=field):
        make_optimizer(OptimizerConfig(**{field: value}), 10, 5)


def factor(config, step, total, per_epoch):
    """The factor of the peak rate by its definition: warm-up, then each milestone once, however few steps there are."""
    warmup = min(round(config.warmup_epochs * per_epoch), total - 1)
    if step < warmup:
        return (1 + step) / (warmup + 1)
    done, left = step - warmup, max(total - warmup, 1)
    if config.schedule == "step":
        passed = sum(step >= max(round(share * total), warmup + 1) for share in config.milestones)
        return config.factor**passed
    return {"constant": 1.0, "linear": 1 - done / left, "cosine": (1 + np.cos(np.pi * done / left)) / 2}[
        config.schedule
    ]


MILESTONES = ((), (0.5, 0.75), (0.2, 0.3), (0.3, 0.2, 0.1, 0.9))


@pytest.mark.parametrize(
    ("schedule", "milestones"),
    [("constant", ()), ("cosine", ()), ("linear", ()), *(("step", shares) for shares in MILESTONES)],
)
def test_every_schedule_holds_its_definition_at_very_few_steps(schedule, milestones):
    for total, per_epoch, warmup in [(1, 1, 1), (1, 1, 0), (2, 1, 0), (2, 2, 0.5), (3, 1, 1), (4, 4, 9), (10, 1, 5)]:
        config = OptimizerConfig(schedule=schedule, milestones=milestones, warmup_epochs=warmup)
        shape = schedule_shape(config, total, per_epoch)
        found = np.array([shape(step) for step in range(total)], np.float64)
        expected = [factor(config, step, total, per_epoch) for step in range(total)]
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=f"{total} {per_epoch} {warmup}")
        assert found.min() > 0
        assert found.max() <= 1


def test_milestones_on_one_step_multiply_as_often_as_they_are_given():
    config = OptimizerConfig(schedule="step", milestones=(0.2, 0.3), warmup_epochs=5)
    shape = schedule_shape(config, 10, 1)
    np.testing.assert_allclose([shape(step) for step in (5, 6, 9)], [1.0, 0.01, 0.01], rtol=1e-5)


@pytest.mark.parametrize(("name", "rate"), [("sgd", 0.1), ("muon", 0.1), ("adam", 0.001)])
def test_the_default_rate_is_that_of_the_optimizer(name, rate):
    config = OptimizerConfig(name)
    assert config.learning_rate == rate
    assert from_record(OptimizerConfig, as_record(config)) == config
    assert OptimizerConfig(name, learning_rate=0.05).learning_rate == 0.05
