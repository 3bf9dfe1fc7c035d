import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from jaxcnn.analysis.scores.calibration import expected_calibration_error, reliability

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(PAIRS, st.integers(1, 20))
def test_the_curve_is_scikit_learns(pairs, bins):
    confidence, correct = (np.array(column) for column in zip(*pairs, strict=True))
    ours = reliability(confidence, correct, bins)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=bins)  # drops empty bins
    used = ours.counts > 0
    np.testing.assert_allclose(ours.accuracy[used], accuracy)
    np.testing.assert_allclose(ours.confidence[used], mean)
    assert ours.counts.sum() == len(pairs)
    assert np.isnan(ours.accuracy[~used]).all()
    shares = ours.counts[used] / len(pairs)
    error = expected_calibration_error(confidence, correct, bins)
    assert error == pytest.approx((shares * np.abs(accuracy - mean)).sum(), abs=1e-12)


def test_a_calibrated_forecast_has_no_error():
    confidence = np.repeat([0.25, 0.75], 4)
    assert expected_calibration_error(confidence, [1, 0, 0, 0, 1, 1, 1, 0]) == pytest.approx(0)
    assert expected_calibration_error([1.0], [False]) == 1


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [([], [], "one per example"), ([0.5], [1, 0], "one per example"), ([1.5], [1], "1.5"), ([np.nan], [1], "nan")],
)
def test_bad_confidence_is_named(confidence, correct, message):
    with pytest.raises(ValueError, match=message):
        reliability(confidence, correct)
