"""From the records of a study to its findings: contrasts on per-example errors, trends, fronts, protocol. No JAX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import starmap
from typing import Any

import numpy as np

from jaxcnn.analysis.agreement import mean_consistency
from jaxcnn.study.arm import Arm
from jaxcnn.study.result import RunRecord, StudyResult
from jaxcnn.study.statistics.multiplicity import benjamini_hochberg, holm
from jaxcnn.study.statistics.population import Contrast, crossed, superiority
from jaxcnn.study.statistics.seeds import (
    Interval,
    detectable,
    mean_interval,
    seeds_needed,
    tost_p,
    welch_interval,
    welch_p,
)
from jaxcnn.study.statistics.trend import expected_best, fit_depth, pareto
from jaxcnn.study.tuning import scores
from jaxcnn.study.verdict.checklist import protocol
from jaxcnn.study.verdict.findings import (
    ArmFinding,
    ClassFinding,
    ContrastFinding,
    Findings,
    FrontFinding,
    TrendFinding,
)
from jaxcnn.study.verdict.rule import decide, describe, overall


def analyse(result: StudyResult) -> Findings:
    """Everything that the report says, computed from the stored per-example predictions.

    Args:
        result: A finished study.

    Returns:
        The findings; equal for equal records.
    """
    arms = tuple(_arm(result, arm) for arm in result.plan.arms)
    pairs = [result.plan.contrast(budget) for budget in result.plan.budgets]
    contrasts = _contrasts(result, pairs, shared=False)
    with_shared = all(result.of(arm, shared=True) for pair in pairs for arm in pair) and _tuned_apart(result, pairs)
    trends = tuple(_trend(result, budget) for budget in result.plan.budgets)
    verdict = overall(contrasts, result.plan.margin, result.data["name"], trends)
    return Findings(
        decision=verdict.decision,
        scope=verdict.scope,
        sentence=verdict.sentence,
        change=verdict.change,
        arms=arms,
        contrasts=contrasts,
        shared=_contrasts(result, pairs, shared=True) if with_shared else (),
        trends=trends,
        fronts=_fronts(arms),
        protocol=protocol(result, arms, contrasts),
    )


def _tuned_apart(result: StudyResult, pairs: Sequence[tuple[Arm, Arm]]) -> bool:
    """Whether tuning gave some arm of a contrast another setting than the shared one."""
    choices, shared = result.tuned.choices, result.tuned.shared
    return any(choices[arm.label].setting != shared for pair in pairs for arm in pair)


def _arm(result: StudyResult, arm: Arm) -> ArmFinding:
    runs, errors = result.of(arm), result.errors(arm)
    rates = tuple(float(rate) for rate in errors.mean(1))
    choice, trials = result.tuned.choices[arm.label], result.tuned.trials[arm.label]
    scored = scores(trials)
    values = [1 - error for error, _ in scored.values()]
    best = expected_best(values, range(1, len(values) + 1)) if values else ()
    return ArmFinding(
        arm=arm,
        setting=choice.setting,
        edge=choice.edge,
        test_error=mean_interval(rates, resolution=1 / errors.shape[1]),
        test_errors=rates,
        validation_error=_mean(runs, "validation_accuracy", error=True),
        train_error=_mean(runs, "train_accuracy", error=True),
        train_loss=_mean(runs, "train_loss"),
        test_loss=_mean(runs, "test_loss"),
        tuning_error=scored[choice.setting][0] if scored else math.nan,
        expected_best=tuple(1 - value for value in best),
        cost=result.costs.get(arm.label),
        step=float(np.median([run.seconds["step"] for run in runs])),
        diverged=sum(run.diverged for run in runs),
        diverged_trials=sum(trial.diverged for trial in trials),
        seed_consistency=mean_consistency(errors == 0) if len(runs) > 1 else math.nan,
    )


def _mean(runs: Sequence[RunRecord], name: str, *, error: bool = False) -> float:
    values = [1 - run.metrics[name] if error else run.metrics[name] for run in runs]
    return float(np.mean(values))


def _contrasts(result: StudyResult, pairs: Sequence[tuple[Arm, Arm]], *, shared: bool) -> tuple[ContrastFinding, ...]:
    errors = [tuple(result.errors(arm, shared=shared) for arm in pair) for pair in pairs]
    population = list(starmap(crossed, errors))
    fixed = [welch_p(a.mean(1).tolist(), b.mean(1).tolist(), 1 / a.shape[1]) for a, b in errors]
    corrected = zip(holm([each.p for each in population]), holm(fixed), strict=True)
    return tuple(
        _contrast(result, pair, pair_errors, crossing, float(p_population), p, float(p_fixed), shared)
        for pair, pair_errors, crossing, p, (p_population, p_fixed) in zip(
            pairs, errors, population, fixed, corrected, strict=True
        )
    )


def _contrast(
    result: StudyResult, pair: tuple[Arm, Arm], errors: Any, crossing: Contrast, population_holm: float,
    fixed_p: float, fixed_holm: float, shared: bool,
) -> ContrastFinding:  # fmt: skip
    (deeper, wider), (first, second) = pair, errors
    images, margin, seeds = first.shape[1], result.plan.margin, first.shape[0]
    rates = first.mean(1), second.mean(1)
    population = Interval(crossing.estimate, crossing.low, crossing.high)
    population90 = Interval(crossing.estimate, crossing.low90, crossing.high90)
    fixed = welch_interval(*rates, resolution=1 / images)
    decision, scope = decide(population, population90, population_holm, fixed, fixed_holm, margin)
    spread = _spread(rates, 1 / images)
    settings = tuple(runs[0].setting for runs in (result.of(arm, shared=shared) for arm in pair))
    return ContrastFinding(
        budget=deeper.budget_label,
        deeper=deeper,
        wider=wider,
        settings=(settings[0], settings[1]),
        seeds=seeds,
        population=population,
        population90=population90,
        population_p=crossing.p,
        population_holm=population_holm,
        bootstrap=crossing.bootstrap if math.isfinite(crossing.standard_error) else None,
        parts=dict(crossing.parts),
        fixed=fixed,
        fixed_p=fixed_p,
        fixed_holm=fixed_holm,
        tost=tost_p(crossing.estimate, crossing.standard_error, crossing.freedom, margin) if crossing.freedom else 1.0,
        superiority=superiority(*rates),
        consistency=mean_consistency(first == 0, second == 0),
        detectable=detectable(spread, seeds),
        needed=seeds_needed(abs(fixed.estimate), spread) if seeds > 1 else None,
        classes=_classes(result, first, second),
        decision=decision,
        scope=scope,
        sentence=describe(
            decision, scope, deeper.budget_label, deeper, wider, seeds, population, population90, fixed, margin, images
        ),
    )


def _spread(rates: tuple[np.ndarray, np.ndarray], resolution: float) -> float:
    """Standard deviation over seeds, pooled over two arms and no less than that of a rounding to one image."""
    if rates[0].size < 2:
        return math.inf
    variances = [float(np.var(each, ddof=1)) for each in rates]
    return math.sqrt(float(np.mean(np.maximum(variances, resolution**2 / 12))))


def _classes(result: StudyResult, first: np.ndarray, second: np.ndarray) -> tuple[ClassFinding, ...]:
    """The contrast on the images of each class that has two or more, with Benjamini and Hochberg over classes."""
    found = []
    for label, name in enumerate(result.data["class_names"]):
        of_class = result.labels == label
        if of_class.sum() > 1:
            each = crossed(first[:, of_class], second[:, of_class], draws=0)
            difference = Interval(each.estimate, each.low, each.high)
            found.append(ClassFinding(str(name), int(of_class.sum()), difference, each.p, each.p))
    corrected = benjamini_hochberg([each.p for each in found]) if found else ()
    return tuple(each._replace(q=float(q)) for each, q in zip(found, corrected, strict=True))


def _trend(result: StudyResult, budget: str) -> TrendFinding:
    arms = result.plan.of(budget)
    if len({arm.depth for arm in arms}) < 3:
        return TrendFinding(budget, None)
    return TrendFinding(budget, fit_depth([arm.depth for arm in arms], [result.errors(arm).mean(1) for arm in arms]))


def _fronts(arms: Sequence[ArmFinding]) -> tuple[FrontFinding, ...]:
    resources: dict[str, list[float | None]] = {
        "params": [arm.arm.params for arm in arms],
        "macs": [arm.arm.macs for arm in arms],
        "memory": [arm.cost.memory if arm.cost else None for arm in arms],
        "time": [arm.cost.step if arm.cost else None for arm in arms],
    }
    errors = [arm.test_error.estimate for arm in arms]
    fronts = []
    for resource, values in resources.items():
        costs = [value for value in values if value is not None]
        if len(costs) == len(arms):
            on = pareto(costs, errors)
            fronts.append(
                FrontFinding(
                    resource,
                    tuple(map(float, costs)),
                    tuple(arm.arm.label for arm, member in zip(arms, on, strict=True) if member),
                )
            )
    return tuple(fronts)
