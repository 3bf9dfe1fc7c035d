"""Do two networks err on the same images? Error consistency (Geirhos et al. 2020, "Beyond accuracy")."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def _right(values: ArrayLike, name: str, dimensions: int) -> np.ndarray:
    """Return runs by images, 1 where right."""
    array = np.asarray(values)
    shape = "(images,)" if dimensions == 1 else "(runs, images)"
    if array.ndim != dimensions or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}; give correctness as {shape}")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} holds values other than 0 and 1; give whether each prediction is right")
    return np.atleast_2d(array).astype(np.float64)


def _kappas(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return kappa (runs of first, runs of second)."""
    count = first.shape[1]
    if second.shape[1] != count:
        sizes = f"first has {count} images and second {second.shape[1]}"
        raise ValueError(f"{sizes}; give both networks' answers to the same images")
    a, b = first.mean(1)[:, None], second.mean(1)[None, :]
    observed = 1 - a - b + 2 * (first @ second.T) / count
    expected = a * b + (1 - a) * (1 - b)
    # Chance alone agrees everywhere only where both are right everywhere, or both wrong everywhere: 0 / 0, and the two
    # sets of answers are the same.
    certain = 1 - expected < 1e-12
    return np.where(certain, 1.0, (observed - expected) / np.where(certain, 1.0, 1 - expected))


def error_consistency(first: ArrayLike, second: ArrayLike) -> float:
    """Compute the agreement of two networks on which images they get right, beyond what accuracies alone give.

    kappa = (c_obs - c_exp) / (1 - c_exp), with c_obs the share of images where both are right or both wrong and
    c_exp = p_a p_b + (1 - p_a)(1 - p_b).

    Args:
        first: (images,) whether each prediction is right.
        second: (images,) the same of another network, on the same images.

    Returns:
        1 for the same images right, 0 for chance, below 0 for complementary errors. Never NaN: where both are right
        everywhere (or both wrong everywhere) the answers are the same and kappa is 1; where only one is, it is 0.

    Raises:
        ValueError: Not one number per image, not 0 or 1, or different numbers of images.

    Reference:
        Geirhos, Meding & Wichmann 2020, "Beyond accuracy: quantifying trial-by-trial behaviour".
    """
    return float(_kappas(_right(first, "first", 1), _right(second, "second", 1))[0, 0])


def mean_consistency(first: ArrayLike, second: ArrayLike | None = None) -> float:
    """Compute the mean kappa between the runs of two arms, or between the seeds of one arm (the baseline).

    Args:
        first: (runs, images) whether each prediction is right.
        second: (runs, images) of another arm on the same images: all cross pairs. None: all pairs within `first`.

    Returns:
        The mean of `error_consistency` over the pairs.

    Raises:
        ValueError: As `error_consistency`; or a single run without a second arm, which has no pair.
    """
    a = _right(first, "first", 2)
    if second is not None:
        return float(_kappas(a, _right(second, "second", 2)).mean())
    if len(a) < 2:
        raise ValueError("first has 1 run and second is None; give two or more seeds, or a second arm")
    return float(_kappas(a, a)[np.triu_indices(len(a), 1)].mean())
