"""From a search's candidates to an arm, or to an error that says how near the nearest comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import NamedTuple

from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.spec import ModelSpec
from jaxcnn.study.arm import Arm
from jaxcnn.study.budget.costs import Builder, Candidate, Prices, Totals
from jaxcnn.study.budget.search import miss

REPEATS, SEARCHES = 5, 4


class Goal(NamedTuple):
    """What is to be met: the budget, the largest relative mismatch, and which of depth and width is given."""

    budget: float
    tolerance: float
    given: str


def counted(
    base: ModelSpec | Builder,
    shape: tuple[int, ...],
    classes: int,
    kind: str,
    goal: Goal,
    solve: Callable[[Prices], Candidate],
) -> Arm:
    """Solve with foretold costs, and once more with counted ones should a foretold one prove wrong.

    Raises:
        InputError: The nearest candidate misses the tolerance.
    """
    prices = Prices(base, shape, classes, kind)
    best = solve(prices)
    if check(prices, best)[Totals._fields.index(kind)] != prices.cost(best):
        prices = Prices(base, shape, classes, kind, foretell=False)
        best = solve(prices)
    if miss(prices, best, goal.budget) > goal.tolerance:
        cost = prices.cost(best)
        raise _refusal(prices, best, goal, f"has {cost:,}", cost)
    return _arm(prices, best, goal.budget)


def timed(prices: Prices, search: Callable[[], list[Candidate]], goal: Goal) -> Arm:
    """The nearest of the last candidates, each measured anew in turns: drift of the machine meets all alike.

    Where the new measurements show that a search was led astray by an outlier, it goes on with them.

    Raises:
        InputError: The nearest candidate misses the tolerance; the message says how far its measurements spread.
    """
    times: dict[Candidate, list[float]] = {}
    found = search()
    for _ in range(SEARCHES):
        for candidate in found:
            check(prices, candidate)
        turns = [[prices.measured(candidate) for candidate in found] for _ in range(REPEATS)]
        for index, candidate in enumerate(found):
            times[candidate] = [turn[index] for turn in turns]
            prices.correct(candidate, median(times[candidate]))
        if (again := search()) == found:
            break
        found = again
    best = min(times, key=lambda candidate: abs(median(times[candidate]) - goal.budget))
    seconds = median(times[best])
    if abs(seconds - goal.budget) / goal.budget > goal.tolerance:
        spread = 100 * (max(times[best]) - min(times[best])) / seconds
        words = f"takes {seconds:.4g}, its {REPEATS} measurements {spread:,.1f} % apart"
        raise _refusal(prices, best, goal, words, seconds)
    return _arm(prices, best, goal.budget, seconds)


def check(prices: Prices, candidate: Candidate) -> Totals:
    """Counts of a candidate.

    Raises:
        InputError: It cannot be built, or a function of the user's gives something else than was agreed.
    """
    try:
        totals = prices.exact(candidate)
    except InputError:
        raise
    except Exception as error:
        if not prices.own:
            raise
        raise InputError(
            f"base={prices.family}: depth={candidate.depth}, width={candidate.width} cannot be built: {error}"
        ) from error
    if totals.classes != prices.classes:
        raise InputError(
            f"base={prices.family}: its logits have length {totals.classes} where num_classes={prices.classes}; "
            "let the function close over the number of classes"
        )
    return totals


def _refusal(prices: Prices, best: Candidate, goal: Goal, words: str, cost: float) -> InputError:
    if best.stages is not None:
        where = f"stage widths {', '.join(map(str, best.stages))}"
    else:
        where = f"width {best.width}" if goal.given == "depth" else f"depth {best.depth}"
    return InputError(
        f"{prices.kind}={goal.budget:,}: no {prices.family} of {goal.given} {getattr(best, goal.given)} comes within "
        f"{100 * goal.tolerance:g} %; the nearest {words} ({where}), {100 * (cost / goal.budget - 1):+.3g} %; "
        f"change the budget, the {goal.given} or the tolerance"
    )


def _arm(prices: Prices, candidate: Candidate, budget: float, seconds: float | None = None) -> Arm:
    totals = prices.exact(candidate)
    cost = prices.cost(candidate) if seconds is None else seconds
    spec = None if prices.own else _renamed(prices, candidate)
    return Arm(
        spec=spec,
        family=prices.family,
        depth=candidate.depth,
        width=candidate.width if spec is None else spec.width,
        kind=prices.kind,
        budget=budget,
        params=totals.params,
        macs=totals.macs,
        activations=totals.activations,
        mismatch=(cost - budget) / budget,
        seconds=seconds,
    )


def _renamed(prices: Prices, candidate: Candidate) -> ModelSpec:
    """The spec under the width that its first stage has, where width means just that."""
    spec = prices.spec(candidate)
    if spec.stage_widths is None:
        return spec
    first = spec.stage_widths[0]
    renamed = replace(spec, width=first)
    same = build(renamed, prices.classes) == build(spec, prices.classes)
    return renamed if same and prices.stages(Candidate(candidate.depth, first))[0] == first else spec
