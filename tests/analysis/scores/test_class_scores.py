import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from jaxcnn.analysis.scores.class_scores import Confusion, class_scores, confusion_matrix, top_confusions

PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@given(PAIRS)
def test_equals_scikit_learn(pairs):
    labels, predictions = np.array(pairs).T
    confusion = confusion_matrix(labels, predictions, 4)
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(labels, predictions, labels=range(4)))
    reference = metrics.precision_recall_fscore_support(labels, predictions, labels=range(4), zero_division=0)
    for ours, theirs in zip(class_scores(confusion), reference, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_the_most_frequent_mistakes_come_first():
    confusion = [[7, 0, 3], [1, 0, 1], [3, 0, 0]]
    assert top_confusions(confusion, 3) == [Confusion(0, 2, 3, 0.3), Confusion(2, 0, 3, 1.0), Confusion(1, 0, 1, 0.5)]
    assert len(top_confusions(confusion)) == 4
    assert top_confusions(np.eye(3, dtype=int)) == []


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [([0, 1], [0], "labels have shape"), ([0, 2], [0, 1], "labels hold 0 to 2"), ([0], [-1], "predictions hold -1")],
)
def test_bad_classes_are_named(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, predictions, 2)
