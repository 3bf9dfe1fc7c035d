import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.analysis.network.cka import CkaSums, cka_from_sums, cka_matrix, cka_sums, compact, linear_cka

# SCIENCE.md, section 5.
X = np.array([[1, 2], [3, 4], [5, 7], [8, 1], [2, 2], [0, 5]])
Y = np.array([[2], [1], [6], [3], [0], [4]])


def hsic_by_loops(x, y):
    """HSIC_1 as the mean over all ordered quadruples of different examples (Song et al. 2012, the U-statistic)."""
    n, total, count = len(x), 0.0, 0
    k, m = x @ x.T, y @ y.T
    for i in range(n):
        for j in range(n):
            for q in range(n):
                for r in range(n):
                    if len({i, j, q, r}) == 4:
                        total += k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])
                        count += 1
    return total / count


def features(seed, examples=12, x=5, y=7):
    rng = np.random.default_rng(seed)
    first = rng.standard_normal((examples, x))
    return first, first @ rng.standard_normal((x, y)) + rng.standard_normal((examples, y))


def test_the_toys():
    assert linear_cka(X, Y) == pytest.approx(0.3044831451, abs=1e-10)
    assert linear_cka(X, Y, unbiased=True) == pytest.approx(0.2004704044, abs=1e-10)


def test_the_unbiased_sums_are_the_u_statistic():
    sums = cka_sums(X, Y)
    np.testing.assert_allclose(sums, (hsic_by_loops(X, Y), hsic_by_loops(X, X), hsic_by_loops(Y, Y)), rtol=1e-12)


def test_features_of_any_shape_and_kind():
    wide = np.random.default_rng(0).standard_normal((6, 2, 3, 4)).astype(np.float32)
    # More features than examples goes through the examples' kernel; both ways give the one formula.
    flat = wide.reshape(6, -1).astype(np.float64)
    flat, y = flat - flat.mean(0), Y - Y.mean(0)
    reference = np.linalg.norm(y.T @ flat) ** 2 / np.linalg.norm(flat.T @ flat) / np.linalg.norm(y.T @ y)
    assert linear_cka(wide, Y) == pytest.approx(reference, rel=1e-6)
    for unbiased in (False, True):
        assert linear_cka(jnp.asarray(wide), jnp.asarray(Y), unbiased=unbiased) == linear_cka(
            wide, Y, unbiased=unbiased
        )


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.booleans())
def test_rotations_shifts_and_scales_change_nothing(seed, unbiased):
    x, y = features(seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((5, 5)))
    plain = linear_cka(x, y, unbiased=unbiased)
    assert linear_cka(3.7 * x @ rotation + 100, -0.2 * y, unbiased=unbiased) == pytest.approx(plain, abs=1e-9)
    assert linear_cka(y, x, unbiased=unbiased) == pytest.approx(plain, abs=1e-12)
    assert linear_cka(x, 2 * x @ rotation, unbiased=unbiased) == pytest.approx(1)
    if not unbiased:
        assert 0 <= plain <= 1


def test_unrelated_features_are_alike_only_in_the_biased_form():
    rng = np.random.default_rng(1)
    biased, unbiased = (
        np.mean([linear_cka(*rng.standard_normal((2, 20, 50)), unbiased=form) for _ in range(50)])
        for form in (False, True)
    )
    assert biased > 0.6
    assert abs(unbiased) < 0.02


def test_batches_add_up():
    x, y = features(2, examples=4000)
    batches = [cka_sums(x[start : start + 50], y[start : start + 50]) for start in range(0, 4000, 50)]
    assert cka_from_sums(*batches) == pytest.approx(linear_cka(x, y, unbiased=True), abs=0.01)
    assert cka_from_sums(CkaSums(1, 2, 3), CkaSums(2, 1, 2)) == pytest.approx(3 / math.sqrt(3 * 5))
    assert cka_from_sums(batches[0]) == linear_cka(x[:50], y[:50], unbiased=True)


@pytest.mark.parametrize("unbiased", [False, True])
def test_a_dead_layer_has_no_likeness(unbiased):
    assert math.isnan(linear_cka(X, np.full((6, 3), 0.1), unbiased=unbiased))
    assert math.isnan(linear_cka(np.zeros((6, 3)), Y, unbiased=unbiased))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_cka(X[:, 0], Y), r"x has shape \(6,\)"),
        (lambda: linear_cka(X, Y[:5]), "x has 6 examples and y 5"),
        (lambda: linear_cka(X[:1], Y[:1]), "with 2 examples or more"),
        (lambda: cka_sums(X[:3], Y[:3]), "with 4 examples or more"),
    ],
)
def test_bad_features_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_matrix_of_layers():
    rng = np.random.default_rng(3)
    first = [{"a": rng.standard_normal((10, 4)), "b": rng.standard_normal((10, 2, 3))} for _ in range(3)]
    second = [{name: layer.reshape(10, -1)[:, :2] + 1 for name, layer in batch.items()} for batch in first]
    ours = cka_matrix(first, second)
    for i, one in enumerate("ab"):
        for j, other in enumerate("ab"):
            sums = [cka_sums(x[one], y[other]) for x, y in zip(first, second, strict=True)]
            assert ours[i, j] == pytest.approx(cka_from_sums(*sums), abs=1e-12)
    own = cka_matrix(first)
    np.testing.assert_allclose(own, own.T, atol=1e-12)
    np.testing.assert_allclose(own.diagonal(), 1)
    with pytest.raises(ValueError, match="first has 3 batches and second 2"):
        cka_matrix(first, second[:2])
    with pytest.raises(ValueError, match="first has 10 examples and second 9"):
        cka_matrix(first[:1], [{"a": np.ones((9, 2))}])


def test_compact_features_have_the_same_cka():
    rng = np.random.default_rng(3)
    maps = {"a": rng.random((8, 5, 5, 4)), "dead": np.ones((8, 3))}
    other = [{"c": rng.random((8, 6))}]
    small = {name: compact(values) for name, values in maps.items()}
    np.testing.assert_allclose(cka_matrix([small], other), cka_matrix([maps], other), atol=1e-9)
