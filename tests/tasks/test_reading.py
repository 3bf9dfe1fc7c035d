"""Lines: the CTC loss against the sum over all paths, greedy reading, and that nothing is ever NaN."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.spec import ModelSpec, Reading, RunConfig
from jaxcnn.tasks import read_greedily, reading

N, T, K, L = 3, 5, 2, 3
TASK = reading()
GRADIENT = jax.jit(jax.value_and_grad(TASK.loss, has_aux=True))
LABELS = np.array([[0, 1, -1], [1, 1, -1], [-1, -1, -1]], np.int32)


def batch(labels=LABELS, mask=(1, 1, 1)):
    return {
        "images": jnp.zeros((N, 8, 20, 1)),
        "labels": jnp.asarray(labels, jnp.int32),
        "mask": jnp.asarray(mask, jnp.float32),
    }


def logits(seed=0, scale=1.0):
    return jnp.asarray(scale * np.random.default_rng(seed).normal(size=(N, T, K + 1)), jnp.float32)


def collapse(path):
    return [k for k, _ in itertools.groupby(path) if k != K]


def test_the_loss_sums_over_all_paths():
    """Graves et al. 2006, equation 3: p(labels) is the sum over the paths that collapse to them."""
    found, losses = np.asarray(jax.nn.softmax(logits())), []
    for row, label in zip(found, LABELS, strict=True):
        wanted = [k for k in label.tolist() if k >= 0]
        paths = [path for path in itertools.product(range(K + 1), repeat=T) if collapse(path) == wanted]
        losses.append(-np.log(sum(np.prod([row[t, k] for t, k in enumerate(path)]) for path in paths)))
    for mask in ((1, 1, 1), (0, 1, 0)):
        total, weight = TASK.loss(logits(), batch(mask=mask))
        assert float(weight) == sum(mask)
        assert float(total) == pytest.approx(np.dot(losses, mask), rel=1e-4)


def test_greedy_reading_collapses_the_likeliest_path():
    found = logits(3)
    characters, p = read_greedily(found)
    for row, read, shares in zip(np.asarray(found), np.asarray(characters), np.asarray(p), strict=True):
        wanted = collapse(row.argmax(axis=1).tolist())
        assert read[read >= 0].tolist() == wanted
        assert (read[len(wanted) :] == -1).all()
        assert (shares[: len(wanted)] > 1 / (K + 1)).all()


def test_sums_and_what_is_saved():
    found = 9 * jax.nn.one_hot(jnp.array([[0, 2, 1, 1, 2], [1, 1, 1, 2, 2], [2, 2, 0, 2, 2]]), K + 1)
    metrics = TASK.metrics({k: float(v) for k, v in TASK.sums(found, batch()).items()})
    assert metrics["character_error"] == pytest.approx((0 + 1 + 1) / 4)
    assert metrics["line_accuracy"] == pytest.approx(1 / 3)
    decoded = {name: np.asarray(value) for name, value in TASK.decode(found).items()}
    saved = TASK.save(decoded, {"labels": LABELS})
    assert saved["predictions"].tolist() == [[0, 1], [1, -1], [0, -1]]
    told = TASK.describe({name: value[0] for name, value in decoded.items()}, ("a", "b"), 1)
    assert told["line"] == told["text"] == "ab"
    assert len(told["probabilities"]) == 2


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.booleans(), min_size=N, max_size=N),
    st.lists(st.integers(-1, K - 1), min_size=N * L, max_size=N * L),
    st.integers(0, 99),
    st.sampled_from([0.0, 1.0, 30.0]),
)
def test_nothing_is_ever_nan(mask, symbols, seed, scale):
    rows = np.reshape(symbols, (N, L))
    labels = np.take_along_axis(rows, np.argsort(rows < 0, axis=1, kind="stable"), axis=1)  # padding at the end
    (total, weight), gradient = GRADIENT(logits(seed, scale), batch(labels, mask))
    assert np.isfinite([float(total), float(weight)]).all()
    assert float(total) >= 0
    assert np.isfinite(np.asarray(gradient)).all()


def test_the_head_on_any_backbone():
    for family, depth in (("resnet", 8), ("plain", 4), ("wrn", 10)):
        spec = ModelSpec(family, depth, 2, head="reader", options={"reader_width": 8})
        assert RunConfig(spec).task == Reading()
        shape = jax.ShapeDtypeStruct((2, 32, 64, 1), jnp.float32)
        module = build(spec, K)
        found = jax.eval_shape(lambda x, module=module: module.init_with_output(jax.random.key(0), x)[0], shape)
        assert found.shape == (2, 16, K + 1)


def test_lines_that_do_not_fit_and_other_outputs_are_refused():
    with pytest.raises(InputError, match="5 columns cannot hold 6 characters"):
        TASK.loss(logits(), batch(np.zeros((N, 6), np.int32)))
    with pytest.raises(InputError, match="head='reader'"):
        TASK.loss(jnp.zeros((N, K)), batch())
