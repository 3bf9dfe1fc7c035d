"""Networks of different depth at one parameter budget: the width that spends it, found by exact counting."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from jaxcnn.analysis.complexity import count
from jaxcnn.errors import InputError
from jaxcnn.models import FAMILIES, build
from jaxcnn.models.family import complete
from jaxcnn.spec import ModelSpec
from jaxcnn.study.arm import Arm

__all__ = ["Arm", "match_width"]

START = 8
STEPS = (-2, -1, 0, 1, 2)
NEAR, TRIES = 0.02, 40


def match_width(
    base: ModelSpec | str,
    depth: int,
    *,
    params: int,
    input_shape: Sequence[int],
    num_classes: int,
    tolerance: float = 0.01,
) -> Arm:
    """The network of a given depth whose width spends a parameter budget.

    The plainest answer within the tolerance wins: first whole widths in the family's own proportions; then, between two
    of these, stages that differ from the proportions by one or two channels.

    Args:
        base: Everything but depth and width, or just the family's name.
        depth: Weighted layers, as the family counts them.
        params: Trainable parameters to spend.
        input_shape: (H, W, C) of one image.
        num_classes: Length of the logits.
        tolerance: Largest |params - budget| / budget accepted.

    Returns:
        The arm, with exact counts and its signed mismatch.

    Raises:
        InputError: No width meets the budget (the message names the nearest that there is), or the family has no such
            depth.

    >>> match_width("resnet", 20, params=270_000, input_shape=(32, 32, 3), num_classes=10).width
    16
    """
    spec = ModelSpec(family=base) if isinstance(base, str) else base
    if spec.stage_widths is not None:
        raise InputError(f"stage_widths={spec.stage_widths}: the width is what is solved for; leave it out")
    if params < 1 or not tolerance > 0:
        raise InputError(f"params={params} and tolerance={tolerance} must both be positive")
    search = _Search(replace(spec, depth=depth), tuple(input_shape), num_classes, params)
    found: list[ModelSpec] = []
    for stage in (_whole_widths, _fractional_widths, _neighbours):
        for candidate in stage(search, found):
            found.append(candidate)
            if stage is _neighbours and search.miss(candidate) <= tolerance:
                return search.arm(candidate)
        best = min(found, key=search.miss)
        if search.miss(best) <= tolerance:
            return search.arm(best)
    raise InputError(
        f"params={params:,}: no {spec.family} of depth {depth} comes within {100 * tolerance:g} %; the nearest has "
        f"{search.params(best):,} (width {best.width}); change the budget, the depth or the tolerance"
    )


class _Search:
    """One family, depth and budget, with every count remembered."""

    def __init__(self, spec: ModelSpec, shape: tuple[int, ...], num_classes: int, target: int) -> None:
        self.spec, self.target = spec, target
        self._shape, self._classes = shape, num_classes
        self._known: dict[ModelSpec, tuple[int, int]] = {}

    def costs(self, spec: ModelSpec) -> tuple[int, int]:
        """Parameters and MACs, exactly."""
        if spec not in self._known:
            cost = count(build(spec, self._classes), self._shape)
            self._known[spec] = (cost.params, cost.macs)
        return self._known[spec]

    def params(self, spec: ModelSpec) -> int:
        return self.costs(spec)[0]

    def miss(self, spec: ModelSpec) -> float:
        return abs(self.params(spec) - self.target) / self.target

    def whole(self, width: int) -> ModelSpec:
        return replace(self.spec, width=width)

    def stages(self, width: int) -> tuple[int, ...]:
        """Channels per stage that the family gives a width."""
        spec = replace(self.whole(width), num_classes=self._classes)
        widths = complete(spec, FAMILIES[spec.family]).stage_widths
        assert widths
        return widths

    def arm(self, spec: ModelSpec) -> Arm:
        params, macs = self.costs(spec)
        spec = self._renamed(spec)
        return Arm(spec, spec.depth, spec.width, params, macs, params / self.target - 1)

    def _renamed(self, spec: ModelSpec) -> ModelSpec:
        """The same module under the width that its first stage has, where width means just that."""
        if spec.stage_widths is None:
            return spec
        first = spec.stage_widths[0]
        renamed = replace(spec, width=first)
        same = build(renamed, self._classes) == build(spec, self._classes)
        return renamed if same and self.stages(first)[0] == first else spec


def _last_within(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Largest number that fits, of low (which does) to high (which does not), by bisection."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _whole_widths(search: _Search, found: Sequence[ModelSpec]) -> Iterator[ModelSpec]:
    """The widths on either side of the budget: the largest inside it, and the next."""

    def fits(width: int) -> bool:
        return search.params(search.whole(width)) <= search.target

    # Parameters grow about with the square of the width; from that guess double the stride until the budget is passed.
    guess = max(1, round(START * math.sqrt(search.target / search.params(search.whole(START)))))
    low, high, stride = (guess, guess + 1, 1) if fits(guess) else (guess - 1, guess, 1)
    while low > 0 and not fits(low):
        low, high, stride = max(0, low - stride), low, 2 * stride
    while fits(high):
        low, high, stride = high, high + stride, 2 * stride
    below = _last_within(fits, low, high)
    yield from (search.whole(width) for width in (below, below + 1) if width > 0)


def _fractional_widths(search: _Search, found: Sequence[ModelSpec]) -> Iterator[ModelSpec]:
    """The same proportions at a width between two whole ones, each stage rounded to whole channels."""
    if len(found) < 2:
        return
    below, above = (search.stages(spec.width) for spec in found)
    steps = max(high - low for low, high in zip(below, above, strict=True))

    def at(step: int) -> ModelSpec:
        share = step / steps
        stages = tuple(low + math.floor(share * (high - low) + 0.5) for low, high in zip(below, above, strict=True))
        return replace(found[0], stage_widths=stages)

    step = _last_within(lambda step: search.params(at(step)) <= search.target, 0, steps)
    yield from (at(number) for number in (step, step + 1) if 0 < number < steps)


def _neighbours(search: _Search, found: Sequence[ModelSpec]) -> Iterator[ModelSpec]:
    """Stages moved by one or two channels from the two nearest so far, those truest to the proportions first."""
    options = []
    for start in sorted(found, key=search.miss)[:2]:
        stages = start.stage_widths or search.stages(start.width)
        base = search.params(start)
        # What one channel more costs in each stage predicts the rest well enough to skip what is far from the budget.
        more = [tuple(width + (i == j) for j, width in enumerate(stages)) for i in range(len(stages))]
        slopes = [search.params(replace(start, stage_widths=widths)) - base for widths in more]
        for moves in itertools.product(STEPS, repeat=len(stages)):
            widths = tuple(width + move for width, move in zip(stages, moves, strict=True))
            guess = base + sum(slope * move for slope, move in zip(slopes, moves, strict=True))
            distance = abs(guess / search.target - 1)
            if min(widths) >= 1 and _rises(widths) == _rises(stages) and distance < NEAR:
                strain = sum(abs(move) / width for move, width in zip(moves, stages, strict=True))
                options.append((strain, distance, replace(start, stage_widths=widths)))
    yield from (spec for *_, spec in sorted(options, key=lambda option: option[:2])[:TRIES])


def _rises(widths: Sequence[int]) -> bool:
    """Whether no stage is narrower than the one before it: a parameter-free shortcut cannot drop channels."""
    return list(widths) == sorted(widths)
