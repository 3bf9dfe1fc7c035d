"""Networks of different depth at one budget: the width, or the depth, that spends it, found by exact counting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flax import linen

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.models import FAMILIES
from jaxcnn.models.family import nearest
from jaxcnn.records import shortened
from jaxcnn.spec import BUDGETS, ModelSpec, StudyConfig
from jaxcnn.study.arm import LARGEST_BUDGET, Arm
from jaxcnn.study.budget.costs import Builder, Candidate, Measure, Prices
from jaxcnn.study.budget.outcome import Goal, check, counted, timed
from jaxcnn.study.budget.search import START, nearest_depth, nearest_width, whole_depths, whole_widths

__all__ = ["Arm", "match_depth", "match_width", "match_widths"]


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
    goal, base, shape = Goal(budget, tolerance, "depth"), _base(base), tuple(input_shape)
    if kind == "seconds":
        prices = Prices(base, shape, num_classes, kind, measure or _stopwatch(shape, num_classes, batch_size))
        check(prices, Candidate(depth, START))
        return timed(prices, lambda: whole_widths(prices, depth, budget), goal)

    def solve(prices: Prices) -> Candidate:
        if prices.own:
            check(prices, Candidate(depth, START))
        return nearest_width(prices, depth, budget, tolerance)

    return counted(base, shape, num_classes, kind, goal, solve)


def match_widths(config: StudyConfig, *, family: Builder | None = None, known: Sequence[Arm] = ()) -> list[Arm]:
    """Return the arms of a study: every depth at every budget, for the images of its run.

    Args:
        config: Its depths, budgets and tolerance count; its run's model gives everything but depth and width, its data
            the image shape and the classes.
        family: A user-defined family in place of `config.base.model`.
        known: Arms of a stored plan. Those with a budget in seconds are not measured again: another measurement might
            give other widths, which would be another study.

    Returns:
        One arm per budget and depth, budget by budget.

    Raises:
        InputError: A depth cannot meet a budget.
    """
    if wrong := [depth for depth in config.depths if not isinstance(depth, int) or depth < 1]:
        raise InputError(f"depths={wrong[0]!r}: give integers of at least 1")
    images = load(config.base.data, progress=True)
    options: dict[str, Any] = {"input_shape": images.image_shape, "num_classes": len(images.class_names)}
    options |= {"tolerance": config.tolerance, "batch_size": config.base.batch_size}
    measured = {(arm.budget, arm.depth): arm for arm in known if arm.kind == "seconds"}
    return [
        (measured.get((amount, depth)) if kind == "seconds" else None)
        or match_width(family or config.base.model, depth, **options, **{kind: amount})
        for kind, amount in config.budget_values
        for depth in config.depths
    ]


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
    goal, base, shape = Goal(budget, tolerance, "width"), _base(base), tuple(input_shape)
    if isinstance(base, ModelSpec) and base.stage_sizes is not None:
        raise InputError(f"stage_sizes={base.stage_sizes}: the depth is what is solved for; leave it out")
    if not isinstance(width, int) or width < 1:
        raise InputError(f"width={width!r}: give an integer of at least 1")
    if kind == "seconds":
        prices = Prices(base, shape, num_classes, kind, measure or _stopwatch(shape, num_classes, batch_size))
        return timed(prices, lambda: [Candidate(d, width) for d in whole_depths(prices, width, budget)], goal)

    def solve(prices: Prices) -> Candidate:
        return nearest_depth(prices, width, budget, tolerance)

    return counted(base, shape, num_classes, kind, goal, solve)


def _budget(tolerance: float, **given: float | None) -> tuple[str, float]:
    """Kind and amount of the one budget that was given."""
    named = [(kind, given[kind]) for kind in BUDGETS if given[kind] is not None]
    if len(named) != 1:
        raise InputError(f"budget={dict(named)}: give exactly one of {', '.join(BUDGETS)}")
    kind, amount = named[0]
    # Integers may be longer than any float.
    if not isinstance(amount, int | float) or not 0 < amount < LARGEST_BUDGET or not tolerance > 0:
        raise InputError(
            f"{kind}={shortened(amount)} and tolerance={tolerance} must both be positive, and the budget below "
            f"{LARGEST_BUDGET:g}"
        )
    return kind, amount


def _base(base: ModelSpec | str | Builder) -> ModelSpec | Builder:
    if isinstance(base, linen.Module):
        raise InputError(
            f"base={type(base).__name__}(...): a module has one size; give a function (depth, width) -> module"
        )
    spec = ModelSpec(family=base) if isinstance(base, str) else base
    if isinstance(spec, ModelSpec) and spec.family not in FAMILIES:
        raise InputError(f"family={spec.family!r}: there is no such family; {nearest(spec.family, FAMILIES)}")
    if not isinstance(spec, ModelSpec):
        if not callable(spec):
            raise InputError(f"base={spec!r}: give a family's name, a ModelSpec or a function (depth, width) -> module")
        return spec
    if spec.stage_widths is not None:
        raise InputError(f"stage_widths={spec.stage_widths}: the width is what is solved for; leave it out")
    return spec


def _stopwatch(shape: tuple[int, ...], classes: int, batch_size: int) -> Callable[[Any], float]:
    from jaxcnn.run.cost import make_stopwatch

    return make_stopwatch(shape, classes, batch_size)
