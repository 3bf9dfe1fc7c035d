"""Loss, sums and metrics of segmentation, against optax, scikit-learn and a count by hand; never NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.analysis.scores.segmentation import confusion_matrix, mean_dice, mean_iou, pixel_accuracy
from jaxcnn.errors import InputError
from jaxcnn.spec import Segmentation
from jaxcnn.tasks import resolve_task, segmentation
from jaxcnn.tasks.segmentation import median_frequency

N, H, W, K = 3, 4, 5, 3


def batch(labels=None, mask=None, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, (N, H, W)) if labels is None else labels
    mask = np.ones(N) if mask is None else mask
    images = np.zeros((N, H, W, 1), np.float32)
    return {"images": images, "labels": jnp.asarray(labels, jnp.uint8), "mask": jnp.asarray(mask, jnp.float32)}


def logits(seed=1, scale=2.0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, scale, (N, H, W, K)), jnp.float32)


LOSSES = ("cross_entropy", "dice", "both")
TASKS = {kind: segmentation(Segmentation(kind, (1.0, 0.5, 3.0))) for kind in LOSSES}
GRADIENTS = {kind: jax.jit(jax.value_and_grad(task.loss, has_aux=True)) for kind, task in TASKS.items()}


def test_cross_entropy_is_optax_over_the_pixels_that_count():
    data = batch(mask=(1, 0, 1))
    labels = np.array(data["labels"])
    labels[0, :2] = 255
    data["labels"] = jnp.asarray(labels)
    total, weight = segmentation().loss(logits(), data)
    counted = (labels != 255) & np.array([1, 0, 1], bool)[:, None, None]
    expected = optax.softmax_cross_entropy_with_integer_labels(logits(), jnp.asarray(np.where(counted, labels, 0), int))
    assert float(weight) == counted.sum() == 30
    assert float(total) == pytest.approx(float(np.array(expected)[counted].sum()), rel=1e-5)


def test_class_weights_weigh_the_loss_and_its_divisor():
    data, weights = batch(), np.array([1.0, 0.5, 3.0])
    total, weight = TASKS["cross_entropy"].loss(logits(), data)
    by_pixel = weights[np.array(data["labels"])]
    log_p = np.array(jax.nn.log_softmax(logits()))
    picked = np.take_along_axis(log_p, np.array(data["labels"], int)[..., None], -1)[..., 0]
    assert float(weight) == pytest.approx(by_pixel.sum())
    assert float(total) == pytest.approx(-(by_pixel * picked).sum(), rel=1e-5)


def test_dice_is_one_minus_the_mean_coefficient_of_the_classes_of_each_image():
    labels = np.array(batch()["labels"])
    labels[0], labels[1, 0] = 2, 255
    p = np.array(jax.nn.softmax(logits()))
    missed = []
    for mask, share in zip(labels, p, strict=True):
        counted, present = mask != 255, [k for k in range(K) if (mask == k).any()]
        both = [2 * share[mask == k, k].sum() + 1 for k in present]
        areas = [share[counted][:, k].sum() + (mask == k).sum() + 1 for k in present]
        missed.append(1 - np.mean(np.divide(both, areas)))
    total, weight = segmentation(Segmentation("dice")).loss(logits(), batch(labels))
    assert (float(total), float(weight)) == (pytest.approx(sum(missed), rel=1e-5), 3.0)
    last = {name: value[2:] for name, value in batch(labels).items()}
    ce, pixels = (np.array(each) for each in segmentation().loss(logits()[2:], last))
    both = segmentation(Segmentation("both")).loss(logits()[2:], last)
    assert float(both[0]) == pytest.approx(missed[2] + ce / pixels, rel=1e-5)


def test_a_foreground_dice_ignores_the_background():
    """Weights 0 1: only the second class of two counts, and images without it have no weight."""
    task, labels = segmentation(Segmentation("dice", (0.0, 1.0, 0.0))), np.zeros((N, H, W))
    labels[1, 1] = 1
    total, weight = task.loss(logits(), batch(labels))
    assert float(weight) == 1
    assert 0 < float(total) < 1
    sure = jnp.asarray(30.0 * jax.nn.one_hot(labels.astype(int), K))
    assert float(task.loss(sure, batch(labels))[0]) == pytest.approx(0, abs=1e-5)


def test_metrics_equal_the_analysis_of_all_pixels_together():
    """Sums over batches, metrics once: as scikit-learn does over all pixels (tests/analysis has that oracle)."""
    task, totals, seen, found = segmentation(), {}, [], []
    for seed in range(3):
        data = batch(mask=(1, 1, 0), seed=seed)
        data["labels"] = data["labels"].at[0, 0].set(255)
        for name, value in task.sums(logits(seed), data).items():
            totals[name] = totals.get(name, 0.0) + float(value)
        seen.append(np.array(data["labels"][:2]))
        found.append(np.array(task.decode(logits(seed))["predictions"][:2]))
    confusion = confusion_matrix(np.concatenate(seen), np.concatenate(found), K)
    metrics = task.metrics(totals)
    assert metrics["accuracy"] == pytest.approx(pixel_accuracy(confusion))
    assert metrics["mean_iou"] == pytest.approx(mean_iou(confusion))
    split, named = {"labels": np.concatenate(seen)}, np.concatenate(found)
    areas = np.stack([(named == k).sum((1, 2)) for k in range(K)], axis=1)
    decoded = {"predictions": named, "areas": areas}
    details, saved = task.details(decoded, split), task.save(decoded, split)
    np.testing.assert_array_equal(details["confusion"], confusion)
    assert details["mean_dice"] == pytest.approx(mean_dice(confusion))
    assert np.mean(details["class_iou"]) == pytest.approx(mean_iou(confusion))
    # Per image and class: sufficient for the measure of any sample of images.
    shares = saved["intersections"].sum(0) / saved["unions"].sum(0)
    assert shares.mean() == pytest.approx(mean_iou(confusion))
    assert saved["predictions"].dtype == saved["labels"].dtype == np.uint8


kinds = st.sampled_from(["random", "all_ignored", "one_class", "absent_class", "outside"])


@pytest.mark.parametrize("kind", LOSSES)
@settings(max_examples=25, deadline=None)
@given(st.lists(kinds, min_size=N, max_size=N), st.lists(st.booleans(), min_size=N, max_size=N),
       st.sampled_from([0.0, 1.0, 100.0, 1e4]), st.integers(0, 99))  # fmt: skip
def test_nothing_is_ever_nan(kind, contents, mask, scale, seed):
    rng = np.random.default_rng(seed)
    fill = {
        "random": rng.integers(0, K, (H, W)), "all_ignored": np.full((H, W), 255), "one_class": np.full((H, W), 1),
        "absent_class": rng.integers(0, K - 1, (H, W)), "outside": rng.integers(K, 255, (H, W)),
    }  # fmt: skip
    data = batch(np.stack([fill[each] for each in contents]), mask)
    (total, weight), gradients = GRADIENTS[kind](logits(seed, scale), data)
    assert np.isfinite([float(total), float(weight)]).all()
    assert np.isfinite(np.array(gradients)).all()
    assert float(total) >= 0
    if not any(on and each not in ("all_ignored", "outside") for on, each in zip(mask, contents, strict=True)):
        assert (float(total), float(weight)) == (0, 0)
        assert not np.array(gradients).any()
    metrics = TASKS[kind].metrics({n: float(v) for n, v in TASKS[kind].sums(logits(seed, scale), data).items()})
    assert np.isfinite(list(metrics.values())).all()


def test_median_frequency_weights():
    """By hand: class 0 has 6 of 8 pixels where it is, class 1 2 of 8, class 2 4 of 4, class 3 none."""
    labels = np.array([[[0, 0, 0, 1]], [[0, 0, 0, 1]], [[2, 2, 2, 2]]], np.uint8)
    assert median_frequency(labels, 4, 255) == pytest.approx((1.0, 3.0, 0.75, 1.0))
    assert median_frequency(np.full((2, 3, 3), 255, np.uint8), 2, 255) == (1.0, 1.0)
    names = ("a", "b", "c", "d")
    assert resolve_task(Segmentation(class_weights="median"), {"labels": labels}, names).class_weights[1] == 3.0
    with pytest.raises(InputError, match="the data have 4 classes"):
        resolve_task(Segmentation(class_weights=(1.0, 2.0)), {"labels": labels}, names)
    with pytest.raises(InputError, match="finite number"):
        segmentation(Segmentation(class_weights=(-1.0, 2.0)))


def test_outputs_of_a_classifier_are_refused():
    with pytest.raises(InputError, match="segmentation needs logits"):
        segmentation().loss(jnp.zeros((N, K)), batch())


def test_a_prediction_reads_as_shares():
    about = segmentation().describe(
        {"predictions": np.array([[0, 0], [0, 2]], np.uint8), "areas": np.array([3, 0, 1])}, ("sky", "road", "car"), 5
    )
    assert about["text"] == "sky 75.0%, car 25.0%"
    assert about["areas"] == [("sky", 0.75), ("car", 0.25)]
    assert about["mask"].tolist() == [[0, 0], [0, 2]]
