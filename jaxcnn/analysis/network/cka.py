"""Linear CKA of two sets of features: Kornblith et al. 2019; unbiased and in batches: Nguyen et al. 2021."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class CkaSums(NamedTuple):
    """What one batch adds to a minibatch CKA: three unbiased HSIC values, of x with y and of each with itself."""

    xy: float
    xx: float
    yy: float


def _features(x: ArrayLike, y: ArrayLike, least: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = (np.asarray(values, np.float64) for values in (x, y))
    for name, values in (("x", first), ("y", second)):
        if values.ndim < 2 or len(values) < least:
            raise ValueError(f"{name} has shape {values.shape}; give (examples, ...) with {least} examples or more")
    if len(first) != len(second):
        raise ValueError(f"x has {len(first)} examples and y {len(second)}; give features of the same examples")
    return _centred(first), _centred(second)


def _centred(values: np.ndarray) -> np.ndarray:
    """Return features (examples, features) centred: HSIC_1 does not need it, but a large mean would cost digits."""
    flat = values.reshape(len(values), -1)
    # A mean is rounded: what never varies must be exactly zero, or a dead layer would show the likeness of roundings.
    return np.where(np.ptp(flat, 0) == 0, 0.0, flat - flat.mean(0))


def _biased(x: np.ndarray, y: np.ndarray) -> float:
    """Compute the squared Frobenius norm of y^T x through the smaller of its two forms."""
    if x.shape[1] * y.shape[1] <= len(x) ** 2:
        return float(np.sum((y.T @ x) ** 2))
    return float(np.vdot(x @ x.T, y @ y.T))


def _unbiased(k: np.ndarray, m: np.ndarray) -> float:
    """Compute HSIC_1 of two (n, n) kernels with zero diagonals (Song et al. 2012)."""
    n = len(k)
    rows_k, rows_m = k.sum(0), m.sum(0)
    trace, both = np.vdot(k, m), rows_k.sum() * rows_m.sum() / ((n - 1) * (n - 2))
    return float(trace + both - 2 / (n - 2) * np.vdot(rows_k, rows_m)) / (n * (n - 3))


def _kernel(x: np.ndarray) -> np.ndarray:
    kernel = x @ x.T
    np.fill_diagonal(kernel, 0.0)
    return kernel


def compact(x: ArrayLike) -> np.ndarray:
    """Return features (n, n) with the same inner products between centred examples, so with the same CKA.

    Args:
        x: (n, ...) features of one layer; maps are much larger than (n, n). NumPy or JAX.

    >>> x = np.random.default_rng(0).random((6, 50))
    >>> compact(x).shape, round(linear_cka(x, compact(x)), 6)
    ((6, 6), 1.0)
    """
    values = _features(x, x, 2)[0]
    sizes, axes = np.linalg.eigh(values @ values.T)
    return axes * np.sqrt(np.maximum(sizes, 0))


def cka_sums(x: ArrayLike, y: ArrayLike) -> CkaSums:
    """Compute the unbiased HSIC_1 of one batch; sum over batches of one size, then call `cka_from_sums`.

    Args:
        x: (examples, ...) features of one layer, flattened behind the first axis; 4 examples or more. NumPy or JAX.
        y: (examples, ...) features of another layer or network for the same examples.

    Returns:
        The sums, in float64.

    Raises:
        ValueError: Fewer than 4 examples, or different numbers of examples.

    Reference:
        Song et al. 2012, "Feature selection via dependence maximization"; Nguyen, Raghu & Kornblith 2021, "Do wide and
        deep networks learn the same things?".
    """
    k, m = (_kernel(values) for values in _features(x, y, 4))
    return CkaSums(_unbiased(k, m), _unbiased(k, k), _unbiased(m, m))


def cka_from_sums(*batches: CkaSums) -> float:
    """Add the batches' sums and normalise once.

    Args:
        batches: One or more results of `cka_sums`, from batches of one size.

    Returns:
        Linear CKA: at most 1 in expectation, about 0 for unrelated features (it may fall below). NaN where the features
        do not vary, as in a dead layer, or where the examples are so few that an own HSIC is estimated below zero.
    """
    xy, xx, yy = (math.fsum(column) for column in zip(*batches, strict=True))
    return xy / (math.sqrt(xx) * math.sqrt(yy)) if xx > 0 and yy > 0 else math.nan


def linear_cka(x: ArrayLike, y: ArrayLike, *, unbiased: bool = False) -> float:
    """Compute the similarity of two layers' features: 1 where they are equal up to rotation, shift and scale.

    Args:
        x: (examples, ...) features of one layer, flattened behind the first axis. NumPy or JAX.
        y: (examples, ...) features of another layer or network for the same examples; the width may differ.
        unbiased: False: ||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F), columns centred; it is pushed up where examples are
            fewer than features. True: through HSIC_1, which is not, and needs 4 examples.

    Returns:
        A number; biased in [0, 1]. NaN where the features do not vary, as in a dead layer.

    Raises:
        ValueError: Too few examples (2; unbiased 4), or different numbers of examples.

    Reference:
        Kornblith et al. 2019, "Similarity of neural network representations revisited"; Nguyen et al. 2021.
    """
    if unbiased:
        return cka_from_sums(cka_sums(x, y))
    first, second = _features(x, y, 2)
    return cka_from_sums(CkaSums(_biased(first, second), _biased(first, first), _biased(second, second)))


def cka_matrix(
    first: Iterable[Mapping[str, ArrayLike]], second: Iterable[Mapping[str, ArrayLike]] | None = None
) -> np.ndarray:
    """Compute the minibatch CKA of every layer of one network with every layer of another.

    Args:
        first: For each batch the features of all layers, (examples, ...) by name, as `feature_maps` and `relu_outputs`
            return them; batches of one size, 4 examples or more.
        second: Those of another network (another seed or arm) for the same examples. None: `first` with itself.

    Returns:
        (layers of first, layers of second), unbiased; the values of `cka_from_sums`.

    Raises:
        ValueError: Too few examples, or different numbers of batches or examples.

    Reference:
        Nguyen, Raghu & Kornblith 2021, "Do wide and deep networks learn the same things?".

    >>> rng = np.random.default_rng(0)
    >>> batches = [{"a": rng.random((8, 3)), "b": rng.random((8, 2))} for _ in range(4)]
    >>> cka_matrix(batches).diagonal().round(6).tolist()
    [1.0, 1.0]
    """
    first = list(first)
    second = first if second is None else list(second)
    if not first or len(first) != len(second):
        raise ValueError(f"first has {len(first)} batches and second {len(second)}; give the same, one or more")
    sums = []
    for left, right in zip(first, second, strict=True):
        a, b = ([_kernel(_features(layer, layer, 4)[0]) for layer in each.values()] for each in (left, right))
        if a and b and len(a[0]) != len(b[0]):
            raise ValueError(f"first has {len(a[0])} examples and second {len(b[0])}; give features of the same")
        own = [np.array([_unbiased(kernel, kernel) for kernel in each]) for each in (a, b)]
        sums.append((np.array([[_unbiased(k, m) for m in b] for k in a]), *own))
    xy, xx, yy = (np.sum(parts, axis=0) for parts in zip(*sums, strict=True))
    return np.array([[cka_from_sums(CkaSums(xy[i, j], xx[i], yy[j])) for j in range(len(yy))] for i in range(len(xx))])
