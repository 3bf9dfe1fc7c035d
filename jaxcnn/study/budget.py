"""Networks of different depth at one budget: the width, or the depth, that spends it, found by exact counting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from flax import linen

from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.spec import ModelSpec
from jaxcnn.study.arm import KINDS, Arm
from jaxcnn.study.prices import Builder, Candidate, Measure, Prices, Totals
from jaxcnn.study.solver import START, miss, nearest_depth, nearest_width, whole_depths, whole_widths

__all__ = ["Arm", "match_depth", "match_width"]

REPEATS = 5


def match_width(
    base: ModelSpec | str | Builder,
    depth: int,
    *,
    input_shape: Sequence[int],
    num_classes: int,
    params: float | None = None,
    macs: float | None = None,
    activations: float | None = None,
    seconds: float | None = None,
    tolerance: float = 0.01,
    batch_size: int = 128,
    measure: Measure | None = None,
) -> Arm:
    """The network of a given depth whose width spends a budget.

    The plainest answer within the tolerance wins: first whole widths in the family's own proportions; then, between two
    of these, stages that differ from the proportions by one or two channels. A family of your own has whole widths
    only, and so has a budget in seconds.

    A budget in seconds is measured on this machine, up to its noise: where the tolerance lies below it, the error says
    how far repeated measurements of the nearest width spread.

    Args:
        base: Everything but depth and width; or just the family's name; or a family of your own, a function
            (depth, width) -> Flax module whose logits have length num_classes.
        depth: Weighted layers, as the family counts them.
        input_shape: (H, W, C) of one image.
        num_classes: Length of the logits.
        params: Trainable parameters to spend. Give exactly one of the four budgets.
        macs: Multiply-accumulates of convolutions and dense layers for one image.
        activations: Elements that convolutions put out for one image.
        seconds: Time of one training step.
        tolerance: Largest |cost - budget| / budget accepted.
        batch_size: Examples of the step that is timed.
        measure: How a spec (of an own family: a module) is timed, in seconds a step; by default training steps on
            random images on this machine's device.

    Returns:
        The arm, with exact counts and its signed mismatch.

    Raises:
        InputError: No width meets the budget (the message names the nearest that there is), or the family has no such
            depth.

    Reference: Dollár et al., "Fast and accurate model scaling", 2021 (activations).

    >>> match_width("resnet", 20, params=270_000, input_shape=(32, 32, 3), num_classes=10).width
    16
    """
    kind, budget = _budget(tolerance, params=params, macs=macs, activations=activations, seconds=seconds)
    base, shape = _base(base), tuple(input_shape)
    if kind == "seconds":
        prices = Prices(base, shape, num_classes, kind, measure or _stopwatch(shape, num_classes, batch_size))
        _check(prices, Candidate(depth, 1))
        return _timed(prices, whole_widths(prices, depth, budget), budget, tolerance)

    def solve(prices: Prices) -> Candidate:
        if prices.own:
            _check(prices, Candidate(depth, START))
        return nearest_width(prices, depth, budget, tolerance)

    return _counted(base, shape, num_classes, kind, budget, tolerance, solve)


def match_depth(
    base: ModelSpec | str | Builder,
    width: int,
    *,
    input_shape: Sequence[int],
    num_classes: int,
    params: float | None = None,
    macs: float | None = None,
    activations: float | None = None,
    seconds: float | None = None,
    tolerance: float = 0.01,
    batch_size: int = 128,
    measure: Measure | None = None,
) -> Arm:
    """The network of a given width whose depth spends a budget.

    The nearest depth that the family has, and where that is not within the tolerance the nearest depths with stages
    moved by one or two channels, the first stage last. A family of your own has whole depths only (those at which its
    function gives a module that can be traced), and so has a budget in seconds.

    Args:
        base: As for `match_width`.
        width: Width, as the family counts it.
        input_shape: (H, W, C) of one image.
        num_classes: Length of the logits.
        params: Trainable parameters to spend. Give exactly one of the four budgets.
        macs: Multiply-accumulates of convolutions and dense layers for one image.
        activations: Elements that convolutions put out for one image.
        seconds: Time of one training step.
        tolerance: Largest |cost - budget| / budget accepted.
        batch_size: Examples of the step that is timed.
        measure: As for `match_width`.

    Returns:
        The arm, with exact counts and its signed mismatch; its width is that of its first stage.

    Raises:
        InputError: No depth meets the budget; the message names the nearest that there is.

    >>> match_depth("resnet", 16, params=270_000, input_shape=(32, 32, 3), num_classes=10).depth
    20
    """
    kind, budget = _budget(tolerance, params=params, macs=macs, activations=activations, seconds=seconds)
    base, shape = _base(base), tuple(input_shape)
    if isinstance(base, ModelSpec) and base.stage_sizes is not None:
        raise InputError(f"stage_sizes={base.stage_sizes}: the depth is what is solved for; leave it out")
    if not isinstance(width, int) or width < 1:
        raise InputError(f"width={width!r}: give an integer of at least 1")
    if kind == "seconds":
        prices = Prices(base, shape, num_classes, kind, measure or _stopwatch(shape, num_classes, batch_size))
        found = [Candidate(depth, width) for depth in whole_depths(prices, width, budget)]
        return _timed(prices, found, budget, tolerance)
    return _counted(
        base, shape, num_classes, kind, budget, tolerance,
        lambda prices: nearest_depth(prices, width, budget, tolerance),
    )  # fmt: skip


def _budget(tolerance: float, **given: float | None) -> tuple[str, float]:
    """Kind and amount of the one budget that was given."""
    named = [(kind, given[kind]) for kind in KINDS if given[kind] is not None]
    if len(named) != 1:
        raise InputError(f"budget={dict(named)}: give exactly one of {', '.join(KINDS)}")
    kind, amount = named[0]
    if not isinstance(amount, int | float) or not math.isfinite(amount) or amount <= 0 or not tolerance > 0:
        raise InputError(f"{kind}={amount} and tolerance={tolerance} must both be positive")
    return kind, amount


def _base(base: ModelSpec | str | Builder) -> ModelSpec | Builder:
    if isinstance(base, linen.Module):
        raise InputError(
            f"base={type(base).__name__}(...): a module has one size; give a function (depth, width) -> module"
        )
    spec = ModelSpec(family=base) if isinstance(base, str) else base
    if not isinstance(spec, ModelSpec):
        if not callable(spec):
            raise InputError(f"base={spec!r}: give a family's name, a ModelSpec or a function (depth, width) -> module")
        return spec
    if spec.stage_widths is not None:
        raise InputError(f"stage_widths={spec.stage_widths}: the width is what is solved for; leave it out")
    return spec


def _check(prices: Prices, candidate: Candidate) -> Totals:
    """Refuse a depth that cannot be built, and a function of the user's that gives something else than was agreed."""
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


def _counted(
    base: ModelSpec | Builder,
    shape: tuple[int, ...],
    classes: int,
    kind: str,
    budget: float,
    tolerance: float,
    solve: Callable[[Prices], Candidate],
) -> Arm:
    """Solve with foretold costs, and once more with counted ones should a foretold one prove wrong."""
    prices = Prices(base, shape, classes, kind)
    best = solve(prices)
    if _check(prices, best)[Totals._fields.index(kind)] != prices.cost(best):
        prices = Prices(base, shape, classes, kind, foretell=False)
        best = solve(prices)
    if miss(prices, best, budget) > tolerance:
        raise _refusal(prices, best, budget, tolerance, f"has {prices.cost(best):,}", prices.cost(best))
    return _arm(prices, best, budget, prices.cost(best) / budget - 1)


def _timed(prices: Prices, found: Sequence[Candidate], budget: float, tolerance: float) -> Arm:
    """The nearest of the last candidates, each measured anew in turns: drift of the machine meets all alike."""
    for candidate in found:
        _check(prices, candidate)
    rounds = [[prices.measured(candidate) for candidate in found] for _ in range(REPEATS)]
    times = {candidate: [turn[index] for turn in rounds] for index, candidate in enumerate(found)}
    best = min(found, key=lambda candidate: abs(median(times[candidate]) - budget))
    seconds = median(times[best])
    if abs(seconds - budget) / budget > tolerance:
        spread = 100 * (max(times[best]) - min(times[best])) / seconds
        words = f"takes {seconds:.4g} s, with a spread of {spread:.2g} % over {REPEATS} measurements, and"
        raise _refusal(prices, best, budget, tolerance, words, seconds)
    return _arm(prices, best, budget, seconds / budget - 1, seconds)


def _refusal(prices: Prices, best: Candidate, budget: float, tolerance: float, words: str, cost: float) -> InputError:
    where = f"width {best.width}" if best.stages is None else f"stage widths {', '.join(map(str, best.stages))}"
    return InputError(
        f"{prices.kind}={budget:,}: no {prices.family} of depth {best.depth} comes within {100 * tolerance:g} %; "
        f"the nearest {words} ({where}), {100 * (cost / budget - 1):+.2g} %; "
        "change the budget, the depth, the width or the tolerance"
    )


def _arm(prices: Prices, candidate: Candidate, budget: float, mismatch: float, seconds: float | None = None) -> Arm:
    totals = prices.exact(candidate)
    spec = None if prices.own else _renamed(prices, candidate)
    width = candidate.width if spec is None else spec.width
    return Arm(
        spec, prices.family, candidate.depth, width, prices.kind, budget, *totals[:3], mismatch=mismatch,
        seconds=seconds,
    )  # fmt: skip


def _renamed(prices: Prices, candidate: Candidate) -> ModelSpec:
    """The spec under the width that its first stage has, where width means just that."""
    spec = prices.spec(candidate)
    if spec.stage_widths is None:
        return spec
    first = spec.stage_widths[0]
    renamed = replace(spec, width=first)
    same = build(renamed, prices.classes) == build(spec, prices.classes)
    return renamed if same and prices.stages(Candidate(candidate.depth, first))[0] == first else spec


def _stopwatch(shape: tuple[int, ...], classes: int, batch_size: int) -> Callable[[Any], float]:
    from jaxcnn.run.cost import make_stopwatch

    return make_stopwatch(shape, classes, batch_size)
