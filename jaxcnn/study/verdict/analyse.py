"""Analyse a finished study: contrasts on per-example errors, trends, Pareto fronts, protocol. Needs no JAX."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.analysis.scores.agreement import mean_consistency
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import Plan
from jaxcnn.study.result import StudyResult
from jaxcnn.study.rule import Rule, rule_named
from jaxcnn.study.statistics.multiplicity import benjamini_hochberg, holm, holm_both_ways
from jaxcnn.study.statistics.population import crossed, superiority
from jaxcnn.study.statistics.seeds import (
    ENDLESS_SEEDS,
    Interval,
    detectable,
    mean_interval,
    seeds_needed,
    tost_p,
    welch,
)
from jaxcnn.study.statistics.trend import expected_best, fit_depth, pareto
from jaxcnn.study.tuning import Setting, TuningResult, fitted, lowest, retuning, scores
from jaxcnn.study.verdict.checklist import protocol
from jaxcnn.study.verdict.findings import (
    ArmFinding,
    ClassFinding,
    ContrastFinding,
    Findings,
    FrontFinding,
    TrendFinding,
)
from jaxcnn.study.verdict.sentences import CONDITIONAL, another_tuning, describe, outlook, summarise


def analyse(result: StudyResult) -> Findings:
    """Compute all results of a finished study from its stored per-example predictions; equal for equal records.

    Raises:
        InputError: The plan's rule is unknown to this version.
    """
    plan, tuning = result.plan, result.tuning
    rule = rule_named(plan.rule)
    arms = tuple(_arm(result, rule, arm) for arm in plan.arms)
    contrasts, between = _contrasts(result, rule, arms)
    compared = [arm for budget in plan.budgets for arm in plan.contrast(budget)]
    has_shared = all(result.of(arm, shared=True) for arm in compared) and any(
        tuning.arms[arm.label].setting != tuning.shared for arm in compared
    )
    trends = tuple(_trend(result, budget) for budget in plan.budgets)
    decision, scope = rule.combine([(contrast.decision, contrast.scope) for contrast in contrasts])
    conditional = not rule.retuned and any(arm.trials for arm in tuning.arms.values())
    return Findings(
        decision=decision,
        scope=scope,
        sentence=summarise(decision, scope, contrasts, trends),
        change=outlook(contrasts, result.data["name"]) + another_tuning(arms) + CONDITIONAL * conditional,
        arms=arms,
        contrasts=contrasts,
        shared=_contrasts(result, rule, arms, shared=True)[0] if has_shared else (),
        trends=trends,
        fronts=_fronts(arms),
        protocol=protocol(result, arms, (*contrasts, *between)),
        between=between,
        curse=_curse(arms),
    )


def interior(plan: Plan, tuning: TuningResult, budget: str) -> Arm | None:
    """Return the arm between the two ends with the lowest error by the curve through its trials, on validation images.

    Without trials it is the middle one, and with folds, whose validation images are test images of other folds; None
    where no depth lies between the ends, or two families are compared.
    """
    deeper, wider = plan.contrast(budget)
    arms = [] if plan.families else [arm for arm in plan.of(budget) if wider.depth < arm.depth < deeper.depth]
    if not arms or plan.folds or not all(tuning.arms[arm.label].trials for arm in arms):
        return arms[(len(arms) - 1) // 2] if arms else None
    chosen = {arm.label: tuning.arms[arm.label] for arm in arms}
    return min(arms, key=lambda arm: fitted(chosen[arm.label].trials)[chosen[arm.label].setting])


def _arm(result: StudyResult, rule: Rule, arm: Arm) -> ArmFinding:
    runs, errors = result.of(arm), result.errors(arm)
    smooth = result.plan.tuning.method == "smooth"
    rates = tuple(float(rate) for rate in errors.mean(1))
    setting, edge, trials, _ = result.tuning.arms[arm.label]
    scored = scores(trials)
    values = [1 - error for error, _ in scored.values()]

    def mean(name: str) -> float:
        return float(np.mean([run.metrics.get(name, math.nan) for run in runs]))

    metric, whole = result.plan.measure.metric, result.plan.measure.counts_images

    return ArmFinding(
        arm=arm,
        setting=setting,
        edge=edge,
        test_error=mean_interval(rates, resolution=result.resolution).within(0, 1),
        test_errors=rates,
        validation_error=1 - mean(f"validation_{metric}"),
        train_error=1 - mean(f"train_{metric}"),
        train_loss=mean("train_loss"),
        test_loss=mean("test_loss"),
        tuning_error=math.nan if not scored else lowest(trials) if smooth else scored[setting][0],
        expected_best=tuple(1 - best for best in expected_best(values, range(1, len(values) + 1))) if values else (),
        cost=result.costs.get(arm.label),
        step=float(np.median([run.seconds["step"] for run in runs])),
        diverged=sum(run.diverged for run in runs),
        diverged_trials=sum(trial.diverged for trial in trials),
        seed_consistency=mean_consistency(errors == 0) if whole and len(errors) > 1 else math.nan,
        retuning=retuning(trials) if trials and rule.retuned else None,
    )


def _curse(arms: Sequence[ArmFinding]) -> Interval | None:
    tuned = [each for each in arms if not math.isnan(each.tuning_error)]
    promised = [each.tuning_error + (each.retuning.optimism if each.retuning else 0.0) for each in tuned]
    gaps = [each.validation_error - promise for each, promise in zip(tuned, promised, strict=True)]
    return mean_interval(gaps) if gaps else None


def _contrasts(
    result: StudyResult, rule: Rule, arms: Sequence[ArmFinding], *, shared: bool = False
) -> tuple[tuple[ContrastFinding, ...], tuple[ContrastFinding, ...]]:
    """Return the contrasts of the ends of all budgets, and those of an interior arm, as the rule has them."""
    plan, ends, others = result.plan, list[ContrastFinding](), list[ContrastFinding]()
    budgets = [[plan.contrast(budget)] for budget in plan.budgets]
    if rule.retuned and not shared:
        for pairs, budget in zip(budgets, plan.budgets, strict=True):
            middle, (deeper, wider) = interior(plan, result.tuning, budget), pairs[0]
            pairs += [] if middle is None else [(middle, wider), (deeper, middle)]
    tested = iter(_tested(result, rule, arms, [pair for pairs in budgets for pair in pairs], shared))
    for pairs in budgets:
        first, *rest = (next(tested) for _ in pairs)
        decision, scope = rule.judge([(each.decision, each.scope) for each in (first, *rest)])
        first = first._replace(decision=decision, scope=scope)
        ends.append(first._replace(sentence=describe(first, plan.margin, result.images, rest)))
        others += [each._replace(sentence=describe(each, plan.margin, result.images)) for each in rest]
    return tuple(ends), tuple(others)


def _tested(
    result: StudyResult, rule: Rule, arms: Sequence[ArmFinding], pairs: Sequence[tuple[Arm, Arm]], shared: bool
) -> list[ContrastFinding]:
    """Test contrasts as one family, each (deeper, wider)."""
    margin, again = result.plan.margin, {each.arm.label: each.retuning for each in arms}
    errors = [(result.errors(deeper, shared=shared), result.errors(wider, shared=shared)) for deeper, wider in pairs]
    tunings = [[each.variance for arm in pair if (each := again[arm.label]) and not shared] for pair in pairs]
    step, whole, groups = result.resolution, result.plan.measure.counts_images, result.groups
    population = [
        crossed(*each, tuning=own, resolution=step, folds=_folds(result, each[0]), groups=groups)
        for each, own in zip(errors, tunings, strict=True)
    ]
    fixed = [welch(first.mean(1), second.mean(1), resolution=step) for first, second in errors]
    tosts = [tost_p(each.interval.estimate, each.standard_error, each.freedom, margin) for each in population]
    p_values = [each.p for each in population]
    different, equivalent = holm_both_ways(p_values, tosts) if rule.retuned else (holm(p_values), np.array(tosts))
    fixed_holms, findings = holm([p for _, p in fixed]), []
    for number, ((deeper, wider), (first, second)) in enumerate(zip(pairs, errors, strict=True)):
        crossing, (interval, fixed_p), seeds = population[number], fixed[number], len(first)
        corrected = float(different[number]), float(fixed_holms[number]), float(equivalent[number])
        decision, scope = rule.decide(
            crossing.interval, crossing.interval90, corrected[0], interval, corrected[1], margin, corrected[2]
        )
        rates, floor = (first.mean(1), second.mean(1)), 0.0
        spread = _spread(rates, step)
        if rule.retuned and seeds > 1:  # new images and new tuning, which more seeds do not make fewer
            spread = crossing.standard_error * math.sqrt(crossing.parts["seeds"] * seeds / 2)
            floor = crossing.standard_error * math.sqrt(1 - crossing.parts["seeds"])
        finding = ContrastFinding(
            budget=deeper.budget_label,
            deeper=deeper,
            wider=wider,
            settings=(_setting(result, deeper, shared), _setting(result, wider, shared)),
            seeds=seeds,
            population=crossing.interval.within(-1, 1),
            population90=crossing.interval90.within(-1, 1),
            population_p=crossing.p,
            population_holm=corrected[0],
            bootstrap=crossing.bootstrap.within(-1, 1) if crossing.bootstrap and crossing.freedom else None,
            parts=dict(crossing.parts),
            fixed=interval.within(-1, 1),
            fixed_p=fixed_p,
            fixed_holm=corrected[1],
            tost=tosts[number],
            tost_holm=corrected[2],
            superiority=superiority(*rates),
            consistency=mean_consistency(first == 0, second == 0) if whole else math.nan,
            detectable=detectable(spread, seeds, floor),
            needed=seeds_needed(abs(interval.estimate), spread, floor=floor) if seeds > 1 else None,
            classes=_classes(result, deeper, wider, shared),
            decision={"deeper": result.plan.sides[0], "wider": result.plan.sides[1]}.get(decision, decision),
            scope=scope,
            endless=ENDLESS_SEEDS * floor if rule.retuned and seeds > 1 else math.nan,
            groups=0 if result.groups is None else np.unique(result.groups).size,
            folds=result.plan.folds or 0,
            resampled=result.plan.resample_train,
        )
        findings.append(finding)
    return findings


def _setting(result: StudyResult, arm: Arm, shared: bool) -> Setting:
    return result.tuning.shared if shared else result.tuning.arms[arm.label].setting


def _folds(result: StudyResult, errors: np.ndarray, chosen: Any = slice(None)) -> np.ndarray | None:
    """Return the fold of each error (seeds, images), of chosen images; None without cross-validation."""
    return None if result.folds is None else np.broadcast_to(result.folds[chosen].astype(int), errors.shape)


def _spread(rates: tuple[np.ndarray, np.ndarray], step: float) -> float:
    """Return the standard deviation over seeds, pooled over the arms, at least that of rounding to a step."""
    if min(map(len, rates)) < 2:
        return math.inf
    return math.sqrt(sum(max(float(np.var(each, ddof=1)), step**2 / 12) for each in rates) / len(rates))


def _classes(result: StudyResult, deeper: Arm, wider: Arm, shared: bool) -> tuple[ClassFinding, ...]:
    """Contrast the arms in the error of each class that has two or more images, in every fold."""
    findings, step = [], None if result.plan.measure.counts_images else result.resolution
    for label, name in enumerate(result.data["class_names"]):
        first, second = (result.class_errors(arm, label, shared=shared) for arm in (deeper, wider))
        own = result.arrays["labels"] == label if result.plan.measure.counts_images else np.ones(result.images, bool)
        if (images := min(first.shape[1], second.shape[1])) > 1 and _enough(result, own):
            folds, groups = _folds(result, first, own), None if result.groups is None else result.groups[own]
            each = crossed(first, second, resolution=step, draws=0, folds=folds, groups=groups)
            findings.append(ClassFinding(str(name), images, each.interval.within(-1, 1), each.p, each.p))
    corrected = benjamini_hochberg([each.p for each in findings])
    return tuple(each._replace(q=float(q)) for each, q in zip(findings, corrected, strict=True))


def _enough(result: StudyResult, chosen: np.ndarray) -> bool:
    """Return whether of some test images, a mask, there are two or more, in every fold and of two or more groups."""
    counts = [chosen.sum()]
    if result.folds is not None:
        counts = np.bincount(result.folds[chosen], minlength=len(result.plan.parts))
    several = result.groups is None or np.unique(result.groups[chosen]).size > 1
    return bool(min(counts) > 1) and several


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
