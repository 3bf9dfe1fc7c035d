"""Instance scores: StarDist's published arithmetic, cases by hand, and laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxcnn.analysis.scores.instances import InstanceScores, instance_iou, instance_scores
from jaxcnn.errors import InputError

MAPS = arrays(np.int32, (5, 6), elements=st.integers(0, 4))


def test_stardists_arithmetic():
    # The notebook of StarDist on the nuclei of DSB 2018 prints these counts, with a mean matched IoU of 0.8472.
    scores = InstanceScores(2210, 103, 333, 2210 * 0.8472)
    assert (round(scores.precision, 4), round(scores.recall, 4)) == (0.9555, 0.8691)
    assert (round(scores.ap, 4), round(scores.pq, 4)) == (0.8352, 0.7711)


def test_a_case_by_hand():
    truth = np.array([[1, 1, 0, 2], [1, 1, 0, 2], [0, 0, 0, 0]])
    found = np.array([[7, 7, 0, 0], [7, 7, 0, 9], [7, 0, 0, 0]])
    assert instance_iou(found, truth).tolist() == [[0.8, 0.0], [0.0, 0.5]]
    assert instance_scores(found, truth, 0.5) == (2, 0, 0, 1.3)
    assert instance_scores(found, truth, 0.6) == (1, 1, 1, 0.8)
    both = instance_scores(found, truth, 0.6).plus(instance_scores(found, truth, 0.5))
    assert both == (3, 1, 1, pytest.approx(2.1))


@settings(deadline=None, max_examples=100)
@given(MAPS, MAPS, st.sampled_from([0.1, 0.5, 0.75, 1.0]))
def test_counts_add_up_and_nothing_is_nan(found, truth, threshold):
    scores = instance_scores(found, truth, threshold)
    assert scores.hits + scores.extra == len(np.setdiff1d(found, 0))
    assert scores.hits + scores.missed == len(np.setdiff1d(truth, 0))
    assert scores.hits * threshold <= scores.overlap + 1e-9
    for value in (scores.ap, scores.f1, scores.pq, scores.precision, scores.recall):
        assert 0 <= value <= 1
    swapped = instance_scores(truth, found, threshold)
    assert (swapped.hits, swapped.extra, swapped.missed) == (scores.hits, scores.missed, scores.extra)


def test_empty_maps_and_maps_of_different_sizes():
    empty = np.zeros((3, 3), int)
    assert instance_scores(empty, empty) == (0, 0, 0, 0.0)
    assert instance_scores(empty, empty).pq == 0.0
    with pytest.raises(InputError, match="one size"):
        instance_iou(empty, np.zeros((3, 4), int))
