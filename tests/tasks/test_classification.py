"""Cross-entropy against scikit-learn; sums that add up."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import log_loss

from jaxcnn.errors import InputError
from jaxcnn.spec import Classification
from jaxcnn.tasks import classification, cross_entropy

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(12, 5)).astype(np.float32)
LABELS = RNG.integers(0, 5, 12).astype(np.int32)


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def batch(mask):
    return {"images": jnp.zeros((12, 1, 1, 1)), "labels": jnp.asarray(LABELS), "mask": jnp.asarray(mask, jnp.float32)}


def test_cross_entropy_equals_scikit_learn():
    ours = cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS)).mean()
    assert float(ours) == pytest.approx(log_loss(LABELS, softmax(LOGITS), labels=range(5)), rel=1e-6)


def test_smoothing_is_a_mixture_of_targets():
    log_p = np.log(softmax(LOGITS))
    target = 0.8 * np.eye(5)[LABELS] + 0.2 / 5
    ours = cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS), 0.2)
    np.testing.assert_allclose(ours, -(target * log_p).sum(axis=1), rtol=1e-5)


def test_padding_adds_nothing_and_sums_add_up():
    task = classification()
    whole = task.sums(jnp.asarray(LOGITS), batch(np.ones(12)))
    parts = [task.sums(jnp.asarray(LOGITS), batch(m)) for m in (np.arange(12) < 5, np.arange(12) >= 5)]
    for name, value in whole.items():
        assert float(sum(p[name] for p in parts)) == pytest.approx(float(value), rel=1e-5)
    metrics = task.metrics({k: float(v) for k, v in whole.items()})
    assert metrics["accuracy"] == pytest.approx((LOGITS.argmax(1) == LABELS).mean())
    total, weight = task.loss(jnp.asarray(LOGITS), batch(np.arange(12) < 5))
    assert float(weight) == 5
    assert float(total) == pytest.approx(5 * log_loss(LABELS[:5], softmax(LOGITS[:5]), labels=range(5)), rel=1e-5)


def test_decode_gives_classes_and_probabilities():
    decoded = classification().decode(jnp.asarray(LOGITS))
    np.testing.assert_array_equal(decoded["predictions"], LOGITS.argmax(axis=1))
    np.testing.assert_allclose(decoded["probabilities"], softmax(LOGITS), rtol=1e-5)


def test_smoothing_out_of_range_is_refused():
    with pytest.raises(InputError, match=r"label_smoothing=1\.0"):
        classification(Classification(label_smoothing=1.0))
