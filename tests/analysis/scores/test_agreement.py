import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from jaxcnn.analysis.scores.agreement import error_consistency, mean_consistency

PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40)


def test_kappa_of_the_toy():
    # SCIENCE.md, section 5: accuracies 0.9 and 0.8, both right 0.75, both wrong 0.05.
    first, second = np.repeat([1, 1, 0, 0], [75, 15, 5, 5]), np.repeat([1, 0, 1, 0], [75, 15, 5, 5])
    assert (first.mean(), second.mean()) == (0.9, 0.8)
    assert error_consistency(first, second) == pytest.approx(0.230769, abs=1e-6)


@given(PAIRS)
def test_kappa_is_cohens_on_correctness(pairs):
    first, second = np.array(pairs).T
    ours = error_consistency(first, second)
    assert -1 - 1e-12 <= ours <= 1 + 1e-12
    assert ours == pytest.approx(error_consistency(second, first))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = cohen_kappa_score(first, second)
    # Where scikit-learn divides zero by zero both are right, or wrong, everywhere.
    assert ours == pytest.approx(1.0 if np.isnan(reference) else reference, abs=1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_the_same_errors_are_consistent(right):
    assert error_consistency(right, right) == pytest.approx(1)


def test_kappa_at_the_ends():
    some = np.array([True, True, False, False])
    assert error_consistency(some, ~some) == -1
    assert error_consistency(np.ones(4), np.ones(4)) == 1
    assert error_consistency(np.zeros(4), np.zeros(4)) == 1
    assert error_consistency(np.ones(4), some) == 0


def test_means_over_pairs():
    rng = np.random.default_rng(0)
    first, second = rng.random((3, 50)) < 0.8, rng.random((4, 50)) < 0.9
    across = [error_consistency(a, b) for a in first for b in second]
    assert mean_consistency(first, second) == pytest.approx(np.mean(across))
    within = [error_consistency(first[i], first[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert mean_consistency(first) == pytest.approx(np.mean(within))
    # Shared difficulty raises both, and a perfect run does no harm.
    assert mean_consistency(np.ones((2, 5)), np.eye(2, 5)) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: error_consistency([0.5, 1.0], [1, 1]), "first holds values other than 0 and 1"),
        (lambda: error_consistency([1, 1], [1, 1, 1]), "first has 2 images and second 3"),
        (lambda: error_consistency([1, 1], []), r"second has shape \(0,\)"),
        (lambda: mean_consistency([1, 1]), r"first has shape \(2,\); give correctness as \(runs, images\)"),
        (lambda: mean_consistency([[1, 1]]), "first has 1 run and second is None"),
    ],
)
def test_bad_answers_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
