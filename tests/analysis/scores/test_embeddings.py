"""Few-shot accuracy, retrieval and verification, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as reference_curve
from sklearn.neighbors import NearestCentroid, NearestNeighbors

from jaxcnn.analysis.scores.few_shot import class_members, draw_episode, few_shot_accuracy
from jaxcnn.analysis.scores.open_set import calibrate_unknown
from jaxcnn.analysis.scores.retrieval import recall_at
from jaxcnn.analysis.scores.verification import equal_error, pair_distances, roc_curve
from jaxcnn.errors import InputError

RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(12), 15)[RNG.permutation(180)]
VECTORS = (RNG.normal(size=(12, 6))[LABELS] + 0.8 * RNG.normal(size=(180, 6))).astype(np.float32)


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")  # NearestCentroid with one example a class
@pytest.mark.parametrize(("ways", "shots"), [(5, 1), (3, 4)])
def test_episodes_are_named_as_by_the_nearest_centroid(ways, shots):
    found = few_shot_accuracy(VECTORS, LABELS, ways, shots, queries=6, episodes=40, seed=3)
    rng, members, accuracies = np.random.default_rng(3), class_members(LABELS, shots + 1), []
    for _ in range(40):
        known, asked, names = draw_episode(rng, members, ways, shots, 6)
        assert not set(known.ravel()) & set(asked)
        assert (LABELS[known] == LABELS[known][:, :1]).all()
        assert (LABELS[asked] == LABELS[known][names, 0]).all()
        model = NearestCentroid().fit(VECTORS[known.ravel()], np.repeat(np.arange(ways), shots))
        accuracies.append((model.predict(VECTORS[asked]) == names).mean())
    assert found.accuracy == pytest.approx(np.mean(accuracies))
    assert found.half_width == pytest.approx(1.96 * np.std(accuracies, ddof=1) / np.sqrt(40))


def test_recall_is_that_of_the_nearest_neighbours(monkeypatch):
    monkeypatch.setattr("jaxcnn.analysis.scores.retrieval.CHUNK", 50)
    labels = np.append(LABELS, 99)  # alone in its class
    vectors = np.vstack([VECTORS, VECTORS[:1] + 9])
    near = NearestNeighbors(n_neighbors=6).fit(vectors).kneighbors(vectors, return_distance=False)[:, 1:]
    hits = (labels[near] == labels[:, None])[:-1]
    expected = [hits[:, :1].any(axis=1).mean(), hits.any(axis=1).mean()]
    assert recall_at(vectors, labels, (1, 5)) == pytest.approx(expected)
    assert recall_at(vectors, labels, (10**6,)) == [1.0]
    assert np.isnan(recall_at(np.eye(2), np.arange(2), (1,))[0])


def test_the_roc_curve_is_that_of_scikit_learn():
    distances, same = pair_distances(VECTORS, LABELS)
    assert len(distances) == 180 * 179 // 2
    distances = np.round(distances, 2)  # many ties
    roc = roc_curve(distances, same)
    wrong, right, thresholds = reference_curve(same, -distances, drop_intermediate=False)
    np.testing.assert_allclose(roc.false_accept, wrong, atol=1e-12)
    np.testing.assert_allclose(roc.true_accept, right, atol=1e-12)
    np.testing.assert_allclose(roc.thresholds, -thresholds)
    assert roc.area == pytest.approx(roc_auc_score(same, -distances))
    rate, threshold = equal_error(roc)
    accepted = distances <= threshold
    assert accepted[~same].mean() == pytest.approx(rate, abs=0.01)
    assert (~accepted[same]).mean() == pytest.approx(rate, abs=0.01)
    grid = np.linspace(0, 1, 100_001)  # where the curve meets the line from (0, 1) to (1, 0)
    assert rate == pytest.approx(grid[np.argmin(np.abs(np.interp(grid, wrong, right) - (1 - grid)))], abs=2e-3)
    with pytest.raises(InputError, match="pairs of one class and pairs of different"):
        roc_curve(np.ones(3), np.ones(3, bool))


def test_unknown_is_balanced_on_other_galleries():
    limit = calibrate_unknown(VECTORS, LABELS, names=4, shots=2)
    rng, members, errors = np.random.default_rng(9), class_members(LABELS, 3), []
    for _ in range(300):
        rows = [rng.permutation(members[each]) for each in rng.permutation(12)]
        means = np.stack([VECTORS[row[:2]].mean(axis=0) for row in rows[:4]])
        known, unknown = (VECTORS[np.concatenate(part)] for part in ([row[2:] for row in rows[:4]], rows[4:]))
        far = [
            (np.linalg.norm(each[:, None] - means[None], axis=2).min(axis=1) > limit.threshold)
            for each in (known, unknown)
        ]
        errors.append((far[0].mean(), 1 - far[1].mean()))
    assert np.mean(errors, axis=0) == pytest.approx([limit.error] * 2, abs=0.02)
    assert calibrate_unknown(VECTORS, LABELS, names=99, shots=1).names == 6
    with pytest.raises(InputError, match="two classes with 2 images"):
        calibrate_unknown(VECTORS[:2], np.arange(2), 2, 1)
