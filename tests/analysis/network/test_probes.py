import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from jaxcnn.analysis.network.probes import linear_probe


def test_is_scikit_learns_logistic_regression():
    digits = load_digits()
    x, y = digits.images.reshape(-1, 4, 2, 8), digits.target  # as if 8 channels at 4 x 2 positions
    train, test = slice(0, 300), slice(300, 600)
    features = x.mean((1, 2))
    scaled = (features - features[train].mean(0)) / features[train].std(0)
    reference = LogisticRegression(max_iter=1000).fit(scaled[train], y[train]).score(scaled[test], y[test])
    assert linear_probe(x[train], y[train], x[test], y[test]) == pytest.approx(reference, abs=1e-12)
    assert 0.3 < reference < 1


def test_noise_is_at_chance():
    rng = np.random.default_rng(0)
    accuracy = linear_probe(
        rng.standard_normal((200, 3)), rng.integers(0, 2, 200), rng.standard_normal((2000, 3)), rng.integers(0, 2, 2000)
    )
    assert accuracy == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ValueError, match="class"):
        linear_probe(rng.standard_normal((5, 2)), np.zeros(5), rng.standard_normal((5, 2)), np.zeros(5))
