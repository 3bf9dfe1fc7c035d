"""The statistics do what they promise, shown on studies made up with a known truth: 1,000 a row, fixed seeds."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from jaxcnn.study.statistics.population import crossed, superiority
from jaxcnn.study.statistics.seeds import mean_interval, power, welch

STUDIES = 1000
EXAMPLES = 10_000
ERROR = 0.06


class Outcome(NamedTuple):
    """Shares of the simulated studies."""

    crossed: float  # calls the arms different, population
    welch: float  # calls the arms different, seeds on the one test set
    covered: float  # crossed interval holds the true difference


class World(NamedTuple):
    """Two arms' chance of an error on each example of a large population, equal in the mean, and how seeds move it."""

    chances: np.ndarray  # (2, examples)
    spread: float  # SD of the seeds' factor on every chance
    shift: float  # what is added to the first arm's factor

    def error(self, arm: int, factor: float) -> float:
        """Population error of a seed."""
        return float(np.clip(self.chances[arm] * factor, 0, 1).mean())

    def truth(self) -> tuple[float, float]:
        """Difference of the arms' expected errors and the SD over seeds of the second, by Gauss-Hermite quadrature."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(21)
        weights = weights / weights.sum()
        first = np.array([self.error(0, 1 + self.shift + self.spread * node) for node in nodes])
        second = np.array([self.error(1, 1 + self.spread * node) for node in nodes])
        return float(weights @ (first - second)), float(np.sqrt(weights @ (second - weights @ second) ** 2))


@lru_cache
def world(spread: float, shift: float = 0.0, evenness: float = 1.0) -> World:
    """Few examples are hard and most are easy (Beta, mean 6 %); two in five are differently hard for the two arms."""
    rng, size = np.random.default_rng(60_000), 50_000
    first, other = rng.beta(evenness * ERROR, evenness * (1 - ERROR), (2, size))
    second = np.where(rng.random(size) < 0.62, first, other)
    # Mirrored, so that the population is exactly as hard for one arm as for the other.
    chances = np.stack([np.concatenate([first, second]), np.concatenate([second, first])])
    return World(chances.astype(np.float32), spread, shift)


def one_study(rng: np.random.Generator, truth: World, seeds: tuple[int, int], examples: int) -> list[np.ndarray]:
    """New test examples, met by new seeds of both arms: two (seeds, examples) arrays of errors."""
    drawn = rng.integers(truth.chances.shape[1], size=examples)
    errors = []
    for arm, shift in ((0, truth.shift), (1, 0.0)):
        factor = 1 + shift + truth.spread * rng.standard_normal((seeds[arm], 1), np.float32)
        errors.append(rng.random((seeds[arm], examples), np.float32) < truth.chances[arm, drawn] * factor)
    return errors


def simulate(seeds: int, truth: World, examples: int = EXAMPLES) -> Outcome:
    rng = np.random.default_rng(1000 * seeds + round(100 * truth.spread))
    difference, _ = truth.truth()
    population = fixed = covered = 0
    for _ in range(STUDIES):
        first, second = one_study(rng, truth, (seeds, seeds), examples)
        contrast = crossed(first, second, draws=0)
        population += contrast.p < 0.05
        fixed += welch(first.mean(1), second.mean(1), resolution=1 / examples)[1] < 0.05
        covered += contrast.interval.low <= difference <= contrast.interval.high
    return Outcome(population / STUDIES, fixed / STUDIES, covered / STUDIES)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "welch"), [(5, 0.19), (10, 0.34), (30, 0.57)])
def test_equal_arms_whose_seeds_differ_only_by_the_test_set(seeds, welch):
    # SCIENCE 4: 10,000 images, 6 % error; Welch over seeds calls equal arms different in 19 / 34 / 57 % of studies.
    outcome = simulate(seeds, world(0.0))
    assert 0.03 <= outcome.crossed <= 0.07
    assert 0.93 <= outcome.covered <= 0.97
    assert outcome.welch == pytest.approx(welch, abs=0.07)


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "welch"), [(5, 0.19), (10, 0.34), (30, 0.57)])
def test_equal_arms_whose_seeds_differ_on_the_population_too(seeds, welch):
    # A spread of 0.05 is 0.3 points of population error, more than the 0.17 that the test set adds to a run.
    outcome = simulate(seeds, world(0.05))
    assert 0.03 <= outcome.crossed <= 0.07
    assert 0.93 <= outcome.covered <= 0.97
    # Welch's fault shrinks where seeds differ by themselves, and is not gone.
    assert outcome.crossed < outcome.welch < welch - 0.07


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "examples", "spread"), [(3, 1000, 0.15), (8, 360, 0.2)])
def test_equal_arms_in_small_studies(seeds, examples, spread):
    outcome = simulate(seeds, world(spread), examples=examples)
    assert 0.03 <= outcome.crossed <= 0.07
    assert 0.93 <= outcome.covered <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "seeds"), [(1.0, 17), (1.5, 9), (2.0, 6)])
def test_planted_differences_are_found_on_the_population(effect, seeds):
    # Seeds differ by 1.8 points, ten times what the test set adds: then the seeds-per-arm table holds for both tests.
    spread = 0.3
    truth = world(spread, effect * spread, evenness=20.0)
    difference, over_seeds = truth.truth()
    assert difference / over_seeds == pytest.approx(effect, rel=0.02)
    outcome = simulate(seeds, truth)
    assert power(effect, 1.0, seeds) >= 0.8
    assert outcome.crossed == pytest.approx(power(effect, 1.0, seeds), abs=0.05)
    assert outcome.welch == pytest.approx(power(effect, 1.0, seeds), abs=0.05)
    assert 0.93 <= outcome.covered <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "freedom"), [(5, 16), (10, 64), (30, 800)])
def test_planted_differences_are_found_where_seeds_and_examples_share_the_blame(seeds, freedom):
    spread = 0.05
    first, second = (world(spread).chances[arm].astype(float) for arm in (0, 1))
    over_seeds = world(spread).truth()[1] ** 2
    between, within = np.var(first - second), np.mean(first * (1 - first)) - over_seeds
    error = np.sqrt(2 * over_seeds / seeds + (between + 2 * within / seeds) / EXAMPLES)
    truth = world(spread, 2.8 * error / ERROR)
    # V from the known population, against Student's t with the degrees of freedom that such studies have in the middle.
    shift, limit = truth.truth()[0] / error, stats.t(freedom).ppf(0.975)
    outcome = simulate(seeds, truth)
    assert outcome.crossed == pytest.approx(stats.nct(freedom, shift).sf(limit), abs=0.05)
    assert 0.93 <= outcome.covered <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "seeds"), [(0.5, 64), (0.75, 29), (1, 17), (1.33, 10), (1.5, 9), (2, 6), (3, 4)])
def test_planted_differences_are_found_as_the_table_promises(effect, seeds):
    rng = np.random.default_rng(seeds)
    first, second = rng.normal(effect, 1, (STUDIES, seeds)), rng.normal(0, 1, (STUDIES, seeds))
    found = np.mean([welch(*study)[1] < 0.05 for study in zip(first, second, strict=True)])
    assert found == pytest.approx(power(effect, 1.0, seeds), abs=0.05)
    assert power(effect, 1.0, seeds) >= 0.8 > power(effect, 1.0, seeds - 1)
    assert np.mean(stats.ttest_ind(first, second, axis=1, equal_var=False).pvalue < 0.05) == found


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [5, 10, 30])
def test_intervals_over_seeds_cover(seeds):
    rng, inside = np.random.default_rng(seeds), np.zeros(3)
    true_chance = stats.norm.cdf((0.036 - 0.03) / np.hypot(0.004, 0.006))
    for _ in range(STUDIES):
        deep, wide = rng.normal(0.03, 0.004, seeds), rng.normal(0.036, 0.006, seeds)
        intervals = mean_interval(deep), welch(deep, wide)[0], superiority(deep, wide)
        truths = (0.03, -0.006, true_chance)
        inside += [found.low <= truth <= found.high for found, truth in zip(intervals, truths, strict=True)]
    assert (inside >= 0.93 * STUDIES).all()
    assert (inside <= 0.97 * STUDIES).all()


@pytest.mark.slow
def test_the_bootstrap_interval_covers_and_agrees_with_t():
    rng, truth, inside, ratios = np.random.default_rng(5), world(0.1), 0, []
    for _ in range(STUDIES):
        contrast = crossed(*one_study(rng, truth, (5, 5), 2000), draws=500, seed=int(rng.integers(2**31)))
        inside += contrast.bootstrap.low <= 0 <= contrast.bootstrap.high
        (_, low, high), (_, first, last) = contrast.interval, contrast.bootstrap
        ratios.append((last - first) / (high - low))
    assert 0.93 <= inside / STUDIES <= 0.97
    assert np.median(ratios) == pytest.approx(1, abs=0.03)
