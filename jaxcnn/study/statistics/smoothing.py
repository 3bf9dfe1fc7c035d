"""Tuning as an estimate: a curve through the trials of one arm, the setting that it chooses, and how that varies.

A trial is one noisy run, so the lowest one is often not the best setting, and tuning anew chooses another one. A curve
through all trials chooses more steadily. A parametric bootstrap of the trials says how much the error of the chosen
setting still varies from one tuning to the next: a part of the variance of every comparison of tuned arms.
"""

import math
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

DRAWS = 20_000
"""Draws of the bootstrap: V_T is exact to about 2 %, and to 8 % where a much worse setting is chosen rarely."""
NOISE = 0.6
"""Variance of a trial's error rate p on N images, in units of p (1 - p) / N, before there are trials to estimate it."""
FREEDOM = 10
"""Degrees of freedom of the variance of tuning. With it 1 to 5 % of simulated arms that were tuned twice and compared
with themselves are called different (docs/study.md, tests/study/test_retuning.py)."""


class Surface(NamedTuple):
    """The curve through one arm's trials."""

    settings: np.ndarray  #: (settings, 2) learning rate and weight decay, rising.
    counts: np.ndarray  #: (settings,) number of trials.
    means: np.ndarray  #: (settings,) mean error of its trials.
    kept: np.ndarray  #: (settings,) whether the curve covers it: settings with far more errors are left out.
    fitted: np.ndarray  #: (settings,) error by the curve; infinite where it does not cover the setting.
    best: int  #: Index of the setting with the lowest fitted error.
    noise: float  #: Variance of one trial about the curve.
    residuals: np.ndarray  #: Errors of trials about the curve, of mean zero and of this variance.
    images: int  #: Validation images of a trial.


class Retuning(NamedTuple):
    """What another tuning of the same arm would do."""

    variance: float  #: Variance of the error of the setting that it would choose, in squared shares.
    others: float  #: Probability that it would choose another setting than this one.
    #: By how much the lowest point of its curve would lie below the error of the setting that it chooses, in the mean;
    #: zero in files of studies that did not record it.
    optimism: float = 0.0


def smooth(rates: ArrayLike, decays: ArrayLike, errors: ArrayLike, *, images: int) -> Surface:
    """Fit the validation error of one arm's trials over log learning rate and weight decay.

    Least squares on a plane in log rate and in the rank of the decay, with a square of either where it has three or
    more values and its curvature is positive. Settings much worse than the best one are left out: there the error is no
    parabola.

    Args:
        rates, decays: (trials,) setting of each trial.
        errors: (trials,) its validation error, a share; 1 if it diverged.
        images: Number of validation images of a trial.

    Returns:
        The curve, on the distinct settings of the trials.

    Raises:
        ValueError: There are no trials, or the lengths differ.
    """
    places, values = np.column_stack([rates, decays]).astype(np.float64), np.asarray(errors, np.float64)
    if values.ndim != 1 or not values.size or len(places) != values.size:
        raise ValueError(f"errors={values.tolist()!r}: give one error per trial, of one or more trials")
    settings, index, counts = np.unique(places, axis=0, return_inverse=True, return_counts=True)
    index = index.reshape(-1)  # NumPy 2.0 alone returns a column
    means = np.bincount(index, values) / counts
    kept, expected = _kept(means, settings, images), float(_expected(means.min(), images))
    fitted = np.full(means.shape, np.inf)
    curve, parameters = _fit(means[kept][None], settings[kept], counts[kept])
    fitted[kept] = curve[0]
    covered = kept[index]
    gaps = (values - fitted[index])[covered]
    rest, freedom = float(np.sum(gaps**2)), int(covered.sum()) - parameters
    noise = rest / freedom if freedom > 0 else expected
    spread = float(gaps.std()) if freedom > 0 else 0.0
    residuals = (gaps - gaps.mean()) / spread if spread > 0 else np.array([-1.0, 1.0])
    best = int(fitted.argmin())
    return Surface(settings, counts, means, kept, fitted, best, noise, math.sqrt(noise) * residuals, images)


def _expected(errors: ArrayLike, images: int) -> np.ndarray:
    """Return the variance of a trial with these errors, before its trials say more."""
    chances = (np.asarray(errors) * images + 0.5) / (images + 1)
    return NOISE * chances * (1 - chances) / images


def _kept(means: np.ndarray, settings: np.ndarray, images: int) -> np.ndarray:
    """Return which settings a curve covers by their means (..., settings): a rate has one good setting, none is bad."""
    lowest = means.min(-1, keepdims=True)
    spread = np.sqrt(_expected(lowest, images))
    near = means <= lowest + np.maximum(5 * spread, 0.5 * lowest)
    of_rate = settings[:, None, 0] == settings[None, :, 0]
    return (near @ of_rate) & (means <= lowest + np.maximum(8 * spread, lowest))


def retune(surface: Surface, *, draws: int = DRAWS, seed: int = 0) -> Retuning:
    """Draw the trials of an arm anew from its curve, choose again, and return how the choice varies.

    Reference:
        Efron & Tibshirani 1993, "An introduction to the bootstrap", ch. 6.5 (the parametric bootstrap), ch. 17.6
        (optimism).
    """
    kept, fitted = surface.settings[surface.kept], surface.fitted[surface.kept]
    counts, rng = surface.counts[surface.kept], np.random.default_rng(seed)
    drawn = fitted + np.sqrt(surface.noise / counts) * rng.standard_normal((draws, counts.size))
    chosen = _fit(drawn, kept, counts)[0].argmin(1)
    others = float(np.mean(chosen != fitted.argmin()))
    return Retuning(float(fitted[chosen].var()), others, _optimism(surface, -(-draws // 5), rng))


def _optimism(surface: Surface, draws: int, rng: np.random.Generator) -> float:
    """Return how much lower the lowest point of a curve is than the error there, in the mean over trials drawn anew.

    Trials are the curve and residuals of the real ones, and settings are left out as in a fit: normal noise with no
    setting left out says too little where trials are few.
    """
    truth = np.where(surface.kept, surface.fitted, surface.means)
    counts = np.maximum(1, np.round(surface.counts)).astype(int)
    noise = [rng.choice(surface.residuals, (draws, count)).mean(1) for count in counts]
    drawn = np.clip(truth + np.stack(noise, 1), 0, 1)
    masks, number = np.unique(_kept(drawn, surface.settings, surface.images), axis=0, return_inverse=True)
    total = 0.0
    for place, mask in enumerate(masks):
        curves = _fit(drawn[number.reshape(-1) == place][:, mask], surface.settings[mask], counts[mask])[0]
        total += float(np.sum(truth[mask][curves.argmin(1)] - curves.min(1)))
    return total / draws


def _fit(means: np.ndarray, settings: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the fitted errors (draws, settings) of means (draws, settings), and the parameters of the first fit."""
    plane, squares, weights = [np.ones(len(settings))], list[np.ndarray](), np.sqrt(counts)
    for values in (np.log(settings[:, 0]), np.unique(settings[:, 1], return_inverse=True)[1].astype(float)):
        distinct, centred = np.unique(values).size, values - values.mean()
        plane += [centred] * (distinct > 1)
        squares += [centred**2] * (distinct > 2)
    fitted, parameters = np.empty(means.shape), np.zeros(len(means), int)
    for curved in product((False, True), repeat=len(squares)):  # the plane first: more squares overwrite fewer
        design = np.stack([*plane, *(each for each, use in zip(squares, curved, strict=True) if use)], 1)
        if any(curved) and design.shape[1] >= len(settings):
            continue
        coefficients = means @ (np.linalg.pinv(design * weights[:, None]) * weights).T
        upwards = (coefficients[:, len(plane) :] > 0).all(1)
        fitted[upwards] = coefficients[upwards] @ design.T
        parameters[upwards] = np.linalg.matrix_rank(design)
    return fitted, int(parameters[0])
