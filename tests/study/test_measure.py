"""The error of a study by task: what images contribute, and the coverage of intervals made of it."""

import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.study.measure import MEASURES, measure_of
from jaxcnn.study.statistics.population import crossed


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def effects(rng, arms, seeds, images, lead):
    """(arms, seeds, images) log odds: of arm, image, arm on image, seed, and seed on image."""
    common = rng.normal(0, 0.8, images) + rng.normal(0, 0.4, (arms, 1, images))
    own = rng.normal(0, 0.25, (arms, seeds, 1)) + rng.normal(0, 0.3, (arms, seeds, images))
    return 1.0 + lead * np.arange(arms)[:, None, None] + common + own


def masks(rng, seeds, images, lead):
    """Draw intersections and unions of two arms, (2 seeds, images, classes): a large, a middle and a rare class."""
    share = np.array([1.0, 0.3, 0.15]) * rng.gamma(2.0, 0.5, (images, 3)) * (rng.random((images, 3)) < [1, 0.7, 0.3])
    area = np.round(1000 * share)
    odds = effects(rng, 2, seeds, images, lead).reshape(-1, images, 1) + np.array([1.0, 0.0, -0.5])
    hits = np.floor(area * sigmoid(odds + rng.normal(0, 0.3, odds.shape)))
    wrong = np.floor(area[:, ::-1].mean(1, keepdims=True) * 0.2 * sigmoid(-odds))
    return {"intersections": hits, "unions": area + wrong}


def detections(rng, seeds, images, lead):
    """Draw detections of two arms as a study stores them: of each object one with some chance, and of background."""
    odds = effects(rng, 2, seeds, images, lead).reshape(-1, images)
    objects = rng.poisson([[3.0, 1.0]], (images, 2))
    runs, most = len(odds), 24
    labels, scores = np.full((runs, images, most), -1), np.zeros((runs, images, most))
    hits = np.zeros((runs, images, most), bool)
    for image, counts in enumerate(objects):
        true = np.repeat([0, 1], counts)[:12]
        size = len(true)
        found = rng.random((runs, size)) < sigmoid(odds[:, image, None])
        labels[:, image, :size], hits[:, image, :size] = np.where(found, true, -1), found
        scores[:, image, :size] = sigmoid(odds[:, image, None] / 2 + rng.normal(0, 1, (runs, size)))
        extra = rng.random((runs, most - size)) < 0.15
        labels[:, image, size:] = np.where(extra, rng.integers(0, 2, extra.shape), -1)
        scores[:, image, size:] = sigmoid(rng.normal(-1, 1, extra.shape) - odds[:, image, None] / 4)
    objects = np.stack([np.minimum(objects[:, 0], 12), np.clip(12 - objects[:, 0], 0, objects[:, 1])], axis=1)
    return {"objects": objects, "found_labels": labels, "found_scores": scores, "hits": hits}


DRAWS = {"segmentation": masks, "detection": detections}


def errors(kind, rng, seeds, images, lead):
    arrays = DRAWS[kind](rng, seeds, images, lead)
    return [MEASURES[kind].errors(arrays, list(rows)) for rows in np.arange(2 * seeds).reshape(2, seeds)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segmentation", "detection"])
@pytest.mark.parametrize("images", [40, 150])
def test_intervals_for_new_seeds_and_new_images_cover(kind, images):
    """95 % intervals of the difference of two arms, 400 studies of four seeds each: between 92 and 98.5 %."""
    lead = 0.15
    rng = np.random.default_rng(1)
    truth = np.mean([np.subtract(*(each.mean() for each in errors(kind, rng, 100, 400, lead))) for _ in range(6)])
    covered, studies = 0, 400
    for _ in range(studies):
        found = crossed(*errors(kind, rng, 4, images, lead), resolution=1e-4, draws=0)
        covered += found.interval.low <= truth <= found.interval.high
    assert 0.92 <= covered / studies <= 0.985, covered / studies


def test_the_error_of_a_run_is_the_mean_over_images():
    rng = np.random.default_rng(0)
    arrays = masks(rng, 2, 30, 0.0)
    shares = arrays["intersections"].sum(axis=1) / arrays["unions"].sum(axis=1)
    found = MEASURES["segmentation"].errors(arrays, [0, 3])
    np.testing.assert_allclose(found.mean(axis=1), 1 - shares.mean(axis=1)[[0, 3]])
    by_class = MEASURES["segmentation"].class_errors(arrays, [1], 2)
    np.testing.assert_allclose(by_class.mean(), 1 - shares[1, 2])


def test_a_class_without_objects_has_no_error():
    arrays = detections(np.random.default_rng(0), 2, 10, 0.0)
    arrays["objects"][:, 1] = 0
    assert MEASURES["detection"].class_errors(arrays, [0, 1], 1).shape == (2, 0)
    assert MEASURES["detection"].errors(arrays, [0, 1]).shape == (2, 10)


def test_a_task_that_no_study_compares_is_named():
    with pytest.raises(InputError, match="task='localization': a study compares networks for classification"):
        measure_of("localization")
    assert measure_of("counting") is MEASURES["classification"]
