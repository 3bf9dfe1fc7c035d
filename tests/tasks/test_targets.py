"""Class weights against PyTorch (stored), mixed labels against their definition, and both together."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.errors import InputError
from jaxcnn.spec import Classification
from jaxcnn.tasks import classification, cross_entropy

# import torch
# logits = torch.tensor([[(3 * i + 5 * k) % 7 / 2 - 1.5 for k in range(4)] for i in range(6)], dtype=torch.float64)
# labels, weight = torch.tensor([0, 1, 2, 3, 1, 1]), torch.tensor([0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
# for smoothing in (0.0, 0.1, 0.3):
#     loss = torch.nn.CrossEntropyLoss(weight=weight, reduction="mean", label_smoothing=smoothing)
#     print(smoothing, loss(logits, labels).item())
LOGITS = jnp.array([[(3 * i + 5 * k) % 7 / 2 - 1.5 for k in range(4)] for i in range(6)], jnp.float32)
LABELS = jnp.array([0, 1, 2, 3, 1, 1], jnp.int32)
WEIGHTS = (0.5, 2.0, 1.0, 3.0)
PYTORCH = {0.0: 1.8772887600282018, 0.1: 1.8621888663540667, 0.3: 1.8319890790057967}
OTHERS = jnp.array([1, 0, 3, 2, 1, 0], jnp.int32)


def batch(**more):
    return {"images": jnp.zeros((6, 1, 1, 1)), "labels": LABELS, "mask": jnp.ones(6), **more}


def task_of(smoothing=0.0, weights=None):
    return classification(Classification(smoothing, weights))


def mean(task, examples):
    total, weight = task.loss(LOGITS, examples)
    return float(total) / float(weight)


@pytest.mark.parametrize("smoothing", PYTORCH)
def test_class_weights_agree_with_pytorch(smoothing):
    assert mean(task_of(smoothing, WEIGHTS), batch()) == pytest.approx(PYTORCH[smoothing], rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equal_weights_change_nothing(smoothing):
    plain = mean(task_of(smoothing), batch())
    assert mean(task_of(smoothing, (3.0,) * 4), batch()) == pytest.approx(plain, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-3, 1e3), st.lists(st.sampled_from([0.0, 0.5, 1.0, 4.0]), min_size=4, max_size=4))
def test_only_ratios_of_weights_matter(factor, weights):
    weights[1] = 1.0
    once = mean(task_of(0.1, tuple(weights)), batch())
    assert mean(task_of(0.1, tuple(factor * w for w in weights)), batch()) == pytest.approx(once, rel=1e-5)


def test_a_weight_of_zero_leaves_its_class_out():
    total, weight = task_of(0.0, (1.0, 0.0, 1.0, 1.0)).loss(LOGITS, batch())
    total_without, weight_without = classification().loss(LOGITS, batch(mask=(LABELS != 1).astype(jnp.float32)))
    assert float(weight) == float(weight_without) == 3
    assert float(total) == pytest.approx(float(total_without), rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.0, 1.0, width=32), min_size=6, max_size=6),
    st.sampled_from([0.0, 0.2]),
    st.lists(st.booleans(), min_size=6, max_size=6).filter(any),
)
def test_mixed_labels_are_weighed_by_their_share(share, smoothing, mask):
    """Zhang et al. 2018, equation of section 2: the loss is linear in the target."""
    share, mask = np.array(share, np.float32), np.array(mask, np.float32)
    target = share[:, None] * np.eye(4)[LABELS] + (1 - share)[:, None] * np.eye(4)[OTHERS]
    target = (1 - smoothing) * target + smoothing / 4
    log_p = np.asarray(LOGITS, np.float64)
    log_p = log_p - np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    examples = batch(mixed_labels=OTHERS, share=jnp.asarray(share), mask=jnp.asarray(mask))
    total, weight = task_of(smoothing).loss(LOGITS, examples)
    assert float(total) == pytest.approx(-(mask[:, None] * target * log_p).sum(), rel=1e-5)
    assert float(weight) == pytest.approx(mask.sum(), rel=1e-6)


def test_a_share_of_one_is_no_mixing_and_of_zero_is_the_other_label():
    task = task_of(0.1, WEIGHTS)
    for share, labels in ((1.0, LABELS), (0.0, OTHERS)):
        mixed = task.loss(LOGITS, batch(mixed_labels=OTHERS, share=jnp.full(6, share)))
        for ours, alone in zip(mixed, task.loss(LOGITS, batch(labels=labels)), strict=True):
            assert float(ours) == pytest.approx(float(alone), rel=1e-6)


def test_weights_of_mixed_labels_are_mixed_too():
    share = np.linspace(0.0, 1.0, 6)
    examples = batch(mixed_labels=OTHERS, share=jnp.asarray(share, jnp.float32))
    total, weight = task_of(0.0, WEIGHTS).loss(LOGITS, examples)
    weights = np.array(WEIGHTS)
    own, other = (np.asarray(cross_entropy(LOGITS, labels)) * weights[labels] for labels in (LABELS, OTHERS))
    assert float(total) == pytest.approx((share * own + (1 - share) * other).sum(), rel=1e-6)
    assert float(weight) == pytest.approx((share * weights[LABELS] + (1 - share) * weights[OTHERS]).sum(), rel=1e-6)


def test_what_is_reported_is_neither_weighted_nor_mixed():
    plain = classification().sums(LOGITS, batch())
    mixed = batch(mixed_labels=OTHERS, share=jnp.full(6, 0.3))
    for name, value in task_of(0.2, WEIGHTS).sums(LOGITS, mixed).items():
        assert float(value) == float(plain[name])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0, -1.0), "must be a finite number of at least 0"),
        ((1.0, float("nan")), "must be a finite number"),
        ((1.0, float("inf")), "must be a finite number"),
        ((0.0, 0.0), "all are 0"),
    ],
)
def test_weights_that_cannot_be_are_refused(weights, message):
    with pytest.raises(InputError, match=message):
        task_of(0.0, weights)


def test_another_number_of_weights_than_classes_is_refused():
    with pytest.raises(InputError, match="give one weight for each of 4 classes"):
        task_of(0.0, (1.0, 2.0)).loss(LOGITS, batch())
