"""The search for the network that spends a budget: whole widths, proportions between two, single channels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

from jaxcnn.errors import InputError
from jaxcnn.study.budget.costs import Candidate, Prices

START = 8
STEPS = (-2, -1, 0, 1, 2)
# Stages moved at once: all combinations up to that many stages, pairs beyond.
FREE_STAGES, PAIR = 4, 2
# A step of one channel predicts its neighbours to about this much; how many of them are counted, or foretold.
NEAR, TRIES = 0.02, 40
WIDEST, WIDEST_TIMED, DEEPEST = 2**20, 2**11, 2**11
FIRST_DEPTHS = 64


def nearest_width(prices: Prices, depth: int, budget: float, tolerance: float) -> Candidate:
    """The plainest network of a depth within the tolerance, else the nearest that there is."""
    found = whole_widths(prices, depth, budget)
    best = min(found, key=lambda candidate: miss(prices, candidate, budget))
    if _done(prices, best, budget, tolerance):
        return best
    found += _between(prices, found, budget)
    best = min(found, key=lambda candidate: miss(prices, candidate, budget))
    if _done(prices, best, budget, tolerance):
        return best
    return _moved(prices, found, budget, tolerance)


def nearest_depth(prices: Prices, width: int, budget: float, tolerance: float) -> Candidate:
    """The network of a width whose depth spends the budget, its stages moved where depth alone does not."""
    found = [Candidate(depth, width) for depth in whole_depths(prices, width, budget)]
    best = min(found, key=lambda candidate: miss(prices, candidate, budget))
    if _done(prices, best, budget, tolerance):
        return best
    return _moved(prices, found, budget, tolerance, keep=True)


def miss(prices: Prices, candidate: Candidate, budget: float) -> float:
    """|cost - budget| / budget."""
    return abs(prices.cost(candidate) - budget) / budget


def whole_widths(prices: Prices, depth: int, budget: float) -> list[Candidate]:
    """The widths on either side of the budget: the widest inside it, and the next."""
    widest = WIDEST_TIMED if prices.kind == "seconds" else WIDEST

    def fits(width: int) -> bool:
        if width > widest:
            raise InputError(
                f"{prices.kind}={budget:,}: no {prices.family} of depth {depth} up to width {widest:,} costs that "
                "much; choose a smaller budget, or a family whose cost grows with its width"
            )
        return prices.cost(Candidate(depth, width)) <= budget

    # From a guess double the stride until the budget is passed.
    guess = _first_width(prices, depth, budget)
    low, high, stride = (guess, guess + 1, 1) if fits(guess) else (guess - 1, guess, 1)
    stride = guess if prices.kind == "seconds" else 1  # each of these takes a compilation
    while low > 0 and not fits(low):
        low, high, stride = max(0, low - stride), low, 2 * stride
    while fits(high):
        low, high, stride = high, high + stride, 2 * stride
    below = _last_within(fits, low, high)
    return [Candidate(depth, width) for width in (below, below + 1) if width > 0]


def whole_depths(prices: Prices, width: int, budget: float) -> list[int]:
    """The valid depths on either side of the budget."""

    def valid(depths: Iterator[int] | range) -> int | None:
        return next((depth for depth in depths if prices.allows(depth, width)), None)

    def fits(depth: int) -> bool:
        return prices.cost(Candidate(depth, width)) <= budget

    low = valid(range(1, FIRST_DEPTHS + 1))
    if low is None:
        raise InputError(
            f"base={prices.family}: no depth up to {FIRST_DEPTHS} can be built at width={width}; {prices.trouble}"
        )
    if not fits(low):
        return [low]
    high = valid(range(low + 1, 2 * low + FIRST_DEPTHS))
    while high is not None and high <= DEEPEST and fits(high):
        low, high = high, valid(range(2 * high, 2 * high + FIRST_DEPTHS))
    while high is not None:
        middle = (low + high) // 2
        between = valid(itertools.chain(range(middle, high), range(middle - 1, low, -1)))
        if between is None:
            break
        low, high = (between, high) if fits(between) else (low, between)
    return [low] if high is None else [low, high]


def _done(prices: Prices, best: Candidate, budget: float, tolerance: float) -> bool:
    """Whether a candidate will do, or is the last: an own family knows whole widths only."""
    return prices.own or miss(prices, best, budget) <= tolerance


def _first_width(prices: Prices, depth: int, budget: float) -> int:
    """A guess: parameters and MACs grow about with the square of the width, activations with the width."""
    cost = prices.cost(Candidate(depth, START))
    if prices.kind == "seconds":
        return START
    if cost == 0:
        raise InputError(
            f"{prices.kind}={budget:,}: {prices.family} of depth {depth} has no {prices.kind} "
            "(activations are what convolutions put out); choose another resource"
        )
    ratio = budget / cost
    return min(WIDEST, max(1, round(START * (ratio if prices.kind == "activations" else math.sqrt(ratio)))))


def _last_within(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Largest number that fits, of low (which does) to high (which does not), by bisection."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _between(prices: Prices, found: Sequence[Candidate], budget: float) -> list[Candidate]:
    """The same proportions at a width between two whole ones, each stage rounded to whole channels."""
    ends = [(*prices.stages(candidate), *prices.units(candidate)) for candidate in found]
    length = len(prices.stages(found[0]))
    if len(ends) < 2:
        # Below width 1 there are proportions left only where that means several channels, as in wrn.
        if ends[0][0] == 1 or prices.cost(found[0]) <= budget:
            return []
        ends.insert(0, (0,) * len(ends[0]))
    below, above = ends
    steps = max(high - low for low, high in zip(below, above, strict=True))

    def at(step: int) -> Candidate:
        share = step / steps
        # Half a channel rounds up.
        channels = [math.floor(low + share * (high - low) + 0.5) for low, high in zip(below, above, strict=True)]
        channels = tuple(max(1, value) for value in channels)
        return found[0]._replace(stages=channels[:length], units=channels[length:] or None)

    step = _last_within(lambda step: prices.cost(at(step)) <= budget, 0, steps)
    return [at(number) for number in (step, step + 1) if 0 < number < steps]


def _moved(
    prices: Prices, found: Sequence[Candidate], budget: float, tolerance: float, *, keep: bool = False
) -> Candidate:
    """The first within the tolerance of the nearest nets with stages moved by one or two channels, else the best."""
    tried = list(found)
    for candidate in _neighbours(prices, found, budget, keep):
        if miss(prices, candidate, budget) <= tolerance:
            return candidate
        tried.append(candidate)
    return min(tried, key=lambda candidate: miss(prices, candidate, budget))


def _neighbours(prices: Prices, found: Sequence[Candidate], budget: float, keep: bool) -> Iterator[Candidate]:
    """Stages moved by one or two channels from the two nearest so far, those truest to the proportions first.

    keep: Before all others come those whose first stage, known as the width, stays.
    """
    options = []
    for start in sorted(found, key=lambda candidate: miss(prices, candidate, budget))[:2]:
        stages, cheap = prices.stages(start), prices.cheap(start)
        # Where counting takes time, one channel more in each stage tells what is too far from the budget to be counted.
        base = prices.cost(start)
        more = [tuple(width + (i == j) for j, width in enumerate(stages)) for i in range(0 if cheap else len(stages))]
        slopes = [prices.cost(start._replace(stages=widths)) - base for widths in more]
        for moves in _moves(len(stages)):
            widths = tuple(width + move for width, move in zip(stages, moves, strict=True))
            if min(widths) < 1 or _rises(widths) != _rises(stages):
                continue
            moved = start._replace(stages=widths)
            guess = prices.cost(moved) if cheap else base + sum(a * b for a, b in zip(slopes, moves, strict=True))
            strain = sum(abs(move) / width for move, width in zip(moves, stages, strict=True))
            options.append((keep and moves[0] != 0, strain, abs(guess / budget - 1), cheap, moved))
    near = [option for option in sorted(options, key=lambda option: option[:3]) if option[3] or option[2] < NEAR]
    yield from (moved for *_, cheap, moved in near if cheap)
    yield from [moved for *_, cheap, moved in near if not cheap][:TRIES]


def _moves(stages: int) -> Iterator[tuple[int, ...]]:
    """By how many channels each stage may be moved together with the others."""
    if stages <= FREE_STAGES:
        yield from itertools.product(STEPS, repeat=stages)
        return
    steps = [step for step in STEPS if step]
    for together in range(1, PAIR + 1):
        for chosen in itertools.combinations(range(stages), together):
            for moves in itertools.product(steps, repeat=together):
                by_stage = dict(zip(chosen, moves, strict=True))
                yield tuple(by_stage.get(stage, 0) for stage in range(stages))


def _rises(widths: Sequence[int]) -> bool:
    """Whether no stage is narrower than the one before it: a parameter-free shortcut cannot drop channels."""
    return list(widths) == sorted(widths)
