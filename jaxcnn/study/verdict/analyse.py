"""Analyse a finished study: contrasts on per-example errors, trends, Pareto fronts, protocol. Needs no JAX."""

import math
from collections.abc import Sequence
from itertools import starmap

import numpy as np

from jaxcnn.analysis.agreement import mean_consistency
from jaxcnn.study.arm import Arm
from jaxcnn.study.result import StudyResult
from jaxcnn.study.rule import rule_named
from jaxcnn.study.statistics.multiplicity import benjamini_hochberg, holm
from jaxcnn.study.statistics.population import crossed, superiority
from jaxcnn.study.statistics.seeds import detectable, mean_interval, seeds_needed, tost_p, welch
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
from jaxcnn.study.verdict.sentences import describe, outlook, summarise


def analyse(result: StudyResult) -> Findings:
    """Compute all results of a finished study from its stored per-example predictions; equal for equal records.

    Raises:
        InputError: The plan's rule is unknown to this version.
    """
    plan, tuning = result.plan, result.tuning
    rule = rule_named(plan.rule)
    arms = tuple(_arm(result, arm) for arm in plan.arms)
    contrasts = _contrasts(result, shared=False)
    compared = [arm for budget in plan.budgets for arm in plan.contrast(budget)]
    has_shared = all(result.of(arm, shared=True) for arm in compared) and any(
        tuning.arms[arm.label].setting != tuning.shared for arm in compared
    )
    trends = tuple(_trend(result, budget) for budget in plan.budgets)
    decision, scope = rule.combine([(contrast.decision, contrast.scope) for contrast in contrasts])
    return Findings(
        decision=decision,
        scope=scope,
        sentence=summarise(decision, scope, contrasts, trends),
        change=outlook(contrasts, result.data["name"]),
        arms=arms,
        contrasts=contrasts,
        shared=_contrasts(result, shared=True) if has_shared else (),
        trends=trends,
        fronts=_fronts(arms),
        protocol=protocol(result, arms, contrasts),
    )


def _arm(result: StudyResult, arm: Arm) -> ArmFinding:
    runs, errors = result.of(arm), result.errors(arm)
    rates = tuple(float(rate) for rate in errors.mean(1))
    setting, edge, trials = result.tuning.arms[arm.label]
    scored = scores(trials)
    values = [1 - error for error, _ in scored.values()]

    def mean(name: str) -> float:
        return float(np.mean([run.metrics[name] for run in runs]))

    return ArmFinding(
        arm=arm,
        setting=setting,
        edge=edge,
        test_error=mean_interval(rates, resolution=1 / errors.shape[1]).within(0, 1),
        test_errors=rates,
        validation_error=1 - mean("validation_accuracy"),
        train_error=1 - mean("train_accuracy"),
        train_loss=mean("train_loss"),
        test_loss=mean("test_loss"),
        tuning_error=scored[setting][0] if scored else math.nan,
        expected_best=tuple(1 - best for best in expected_best(values, range(1, len(values) + 1))) if values else (),
        cost=result.costs.get(arm.label),
        step=float(np.median([run.seconds["step"] for run in runs])),
        diverged=sum(run.diverged for run in runs),
        diverged_trials=sum(trial.diverged for trial in trials),
        seed_consistency=mean_consistency(errors == 0) if len(runs) > 1 else math.nan,
    )


def _contrasts(result: StudyResult, *, shared: bool) -> tuple[ContrastFinding, ...]:
    plan, margin, findings = result.plan, result.plan.margin, []
    decide, pairs = rule_named(plan.rule).decide, [plan.contrast(budget) for budget in plan.budgets]
    errors = [(result.errors(deeper, shared=shared), result.errors(wider, shared=shared)) for deeper, wider in pairs]
    population = list(starmap(crossed, errors))
    fixed = [welch(first.mean(1), second.mean(1), resolution=1 / first.shape[1]) for first, second in errors]
    holms = [[float(p) for p in holm(p_values)] for p_values in ([e.p for e in population], [p for _, p in fixed])]
    for (deeper, wider), (first, second), crossing, (interval, fixed_p), population_holm, fixed_holm in zip(
        pairs, errors, population, fixed, *holms, strict=True
    ):
        (seeds, images), rates = first.shape, (first.mean(1), second.mean(1))
        decision, scope = decide(crossing.interval, crossing.interval90, population_holm, interval, fixed_holm, margin)
        decision = {"deeper": plan.sides[0], "wider": plan.sides[1]}.get(decision, decision)
        # Pooled over the arms, and at least that of rounding to one image.
        spread = math.inf
        if seeds > 1:
            variances = [np.var(each, ddof=1) for each in rates]
            spread = math.sqrt(float(np.mean(np.maximum(variances, (1 / images) ** 2 / 12))))
        finding = ContrastFinding(
            budget=deeper.budget_label,
            deeper=deeper,
            wider=wider,
            settings=(result.of(deeper, shared=shared)[0].setting, result.of(wider, shared=shared)[0].setting),
            seeds=seeds,
            population=crossing.interval.within(-1, 1),
            population90=crossing.interval90.within(-1, 1),
            population_p=crossing.p,
            population_holm=population_holm,
            bootstrap=crossing.bootstrap.within(-1, 1) if crossing.bootstrap and crossing.freedom else None,
            parts=dict(crossing.parts),
            fixed=interval.within(-1, 1),
            fixed_p=fixed_p,
            fixed_holm=fixed_holm,
            tost=tost_p(crossing.interval.estimate, crossing.standard_error, crossing.freedom, margin),
            superiority=superiority(*rates),
            consistency=mean_consistency(first == 0, second == 0),
            detectable=detectable(spread, seeds),
            needed=seeds_needed(abs(interval.estimate), spread) if seeds > 1 else None,
            classes=_classes(result, first, second),
            decision=decision,
            scope=scope,
        )
        findings.append(finding._replace(sentence=describe(finding, margin, images)))
    return tuple(findings)


def _classes(result: StudyResult, first: np.ndarray, second: np.ndarray) -> tuple[ClassFinding, ...]:
    """Contrast the arms on the images of each class that has two or more."""
    findings = []
    for label, name in enumerate(result.data["class_names"]):
        of_class = result.labels == label
        if of_class.sum() > 1:
            each = crossed(first[:, of_class], second[:, of_class], draws=0)
            findings.append(ClassFinding(str(name), int(of_class.sum()), each.interval.within(-1, 1), each.p, each.p))
    corrected = benjamini_hochberg([each.p for each in findings])
    return tuple(each._replace(q=float(q)) for each, q in zip(findings, corrected, strict=True))


def _trend(result: StudyResult, budget: str) -> TrendFinding:
    arms = result.plan.of(budget)
    if len({arm.depth for arm in arms}) < 3:
        return TrendFinding(budget, None)
    return TrendFinding(budget, fit_depth([arm.depth for arm in arms], [result.errors(arm).mean(1) for arm in arms]))


def _fronts(arms: Sequence[ArmFinding]) -> tuple[FrontFinding, ...]:
    """Return the Pareto front of each resource that is known for all arms."""
    resources: dict[str, list[float | None]] = {
        "params": [each.arm.params for each in arms],
        "macs": [each.arm.macs for each in arms],
        "memory": [each.cost.memory if each.cost else None for each in arms],
        "time": [each.cost.step if each.cost else None for each in arms],
    }
    fronts = []
    for resource, values in resources.items():
        costs = tuple(float(value) for value in values if value is not None)
        if len(costs) == len(arms):
            on_front = pareto(costs, [each.test_error.estimate for each in arms])
            labels = tuple(each.arm.label for each, member in zip(arms, on_front, strict=True) if member)
            fronts.append(FrontFinding(resource, costs, labels))
    return tuple(fronts)
