"""The search for the network that meets a budget: whole widths, proportions between two of them, single channels."""

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

from jaxcnn.errors import InputError
from jaxcnn.spec import ModelSpec
from jaxcnn.study.budget.costs import Costs, channels, with_channels

START = 8
STEPS = (-2, -1, 0, 1, 2)
# Stages moved at once: all of them up to that many, pairs beyond.
FREE_STAGES, PAIR = 4, 2
# Networks with moved stages are counted if their predicted costs are this near, and no more than so many of them.
NEAR, TRIES = 0.03, 40
WIDEST, WIDEST_TIMED, DEEPEST = 2**20, 2**11, 2**11
FIRST_DEPTHS = 64


def nearest_width(costs: Costs, depth: int) -> ModelSpec:
    """Return the plainest network of a depth within the tolerance, else the nearest."""
    networks = whole_widths(costs, depth)
    best = costs.nearest(networks)
    if costs.meets(best) or costs.builder:  # a user-defined family has whole widths only
        return best
    networks += _proportions_between(costs, networks)
    best = costs.nearest(networks)
    return best if costs.meets(best) else _move_stages(costs, networks)


def nearest_depth(costs: Costs, width: int) -> ModelSpec:
    """Return the network of a width whose depth meets the budget, with moved stages if depth alone does not."""
    networks = whole_depths(costs, width)
    best = costs.nearest(networks)
    return best if costs.meets(best) or costs.builder else _move_stages(costs, networks, keep=True)


def whole_widths(costs: Costs, depth: int) -> list[ModelSpec]:
    """Return the widths on either side of the budget: the widest inside it, and the next."""
    timed = costs.kind == "seconds"
    widest = WIDEST_TIMED if timed else WIDEST

    def fits(width: int) -> bool:
        if width > widest:
            raise InputError(
                f"{costs.kind}={costs.amount:,}: no {costs.base.family} of depth {depth} up to width {widest:,} costs "
                "that much; choose a smaller budget, or a family whose cost grows with its width"
            )
        return costs.fits(costs.network(depth, width))

    # From a guess double the stride until the budget is passed.
    guess = START if timed else _first_width(costs, depth)
    low, high, stride = (guess, guess + 1, 1) if fits(guess) else (guess - 1, guess, 1)
    stride = guess if timed else 1  # each of these takes a compilation
    while low > 0 and not fits(low):
        low, high, stride = max(0, low - stride), low, 2 * stride
    while fits(high):
        low, high, stride = high, high + stride, 2 * stride
    below = bisect_left(range(high), True, low + 1, key=lambda width: not fits(width)) - 1
    return [costs.network(depth, width) for width in (below, below + 1) if width > 0]


def whole_depths(costs: Costs, width: int) -> list[ModelSpec]:
    """Return the valid depths on either side of the budget."""

    def valid(depths: Iterable[int]) -> int | None:
        return next((depth for depth in depths if costs.valid(depth, width)), None)

    def fits(depth: int) -> bool:
        return costs.fits(costs.network(depth, width))

    low = valid(range(1, FIRST_DEPTHS + 1))
    if low is None:
        raise InputError(
            f"base={costs.base.family}: no depth up to {FIRST_DEPTHS} can be built at width={width}; {costs.trouble}"
        )
    high = valid(range(low + 1, 2 * low + FIRST_DEPTHS)) if fits(low) else None
    while high is not None and high <= DEEPEST and fits(high):
        low, high = high, valid(range(2 * high, 2 * high + FIRST_DEPTHS))
    while high is not None:
        middle = (low + high) // 2
        between = valid(itertools.chain(range(middle, high), range(middle - 1, low, -1)))
        if between is None:
            break
        low, high = (between, high) if fits(between) else (low, between)
    return [costs.network(depth, width) for depth in (low, high) if depth is not None]


def _first_width(costs: Costs, depth: int) -> int:
    """Guess a width: parameters and MACs grow about with the square of the width, activations with the width."""
    cost = costs.cost(costs.network(depth, START))
    if cost == 0:
        raise InputError(
            f"{costs.kind}={costs.amount:,}: {costs.base.family} of depth {depth} has no {costs.kind} (activations are "
            "what convolutions put out); choose another resource"
        )
    ratio = costs.amount / cost
    return min(WIDEST, max(1, round(START * (ratio if costs.kind == "activations" else math.sqrt(ratio)))))


def _proportions_between(costs: Costs, networks: Sequence[ModelSpec]) -> list[ModelSpec]:
    """Return the same proportions at widths between two whole ones, each stage rounded to whole channels."""
    first = networks[0]
    ends: list[tuple[int, ...]] = [(*stages, *units) for stages, units in map(channels, networks)]
    length = len(channels(first)[0])
    if len(ends) < 2:
        # Below width 1 there are proportions left only where that means several channels, as in wrn.
        if ends[0][0] == 1 or costs.fits(first):
            return []
        ends.insert(0, (0,) * len(ends[0]))
    below, above = ends
    steps = max(high - low for low, high in zip(below, above, strict=True))

    def at(step: int) -> ModelSpec:
        values = [low + step / steps * (high - low) for low, high in zip(below, above, strict=True)]
        widths = tuple(max(1, math.floor(value + 0.5)) for value in values)  # half a channel rounds up
        return with_channels(first, widths[:length], widths[length:])

    step = bisect_left(range(steps), True, 1, key=lambda step: not costs.fits(at(step))) - 1
    return [at(number) for number in (step, step + 1) if 0 < number < steps]


def _move_stages(costs: Costs, networks: Sequence[ModelSpec], *, keep: bool = False) -> ModelSpec:
    """Return the plainest network within the tolerance whose stages differ by one or two channels, else the nearest.

    Counting takes time, so costs are predicted from counts with single stages moved: networks predicted to be
    about within the tolerance come first, the truest proportions before others, and distant ones are left out.

    Args:
        costs: Of the family.
        networks: Where to start: from the two nearest.
        keep: Put networks whose first stage, known as the width, stays before all others.
    """
    options = []
    for start in sorted(networks, key=costs.miss)[:2]:
        stages, units = channels(start)
        effects = [_count_effect(costs, start, index) for index in range(len(stages))]
        for moves in _moves(len(stages)):
            widths = tuple(width + move for width, move in zip(stages, moves, strict=True))
            change = sum(a * move + b * move**2 for (a, b), move in zip(effects, moves, strict=True))
            miss = abs((costs.cost(start) + change) / costs.amount - 1)
            if miss < NEAR and _is_possible(stages, widths):
                strain = sum(abs(move) / width for move, width in zip(moves, stages, strict=True))
                rank = (keep and moves[0] != 0, miss > 1.2 * costs.tolerance, strain, miss)
                options.append((rank, with_channels(start, widths, units)))
    tried = list(networks)
    for _, spec in sorted(options, key=lambda option: option[0])[:TRIES]:
        if costs.meets(spec):
            return spec
        tried.append(spec)
    return costs.nearest(tried)


def _count_effect(costs: Costs, start: ModelSpec, index: int) -> tuple[float, float]:
    """Return (a, b) so that m channels more in a stage change the cost by a m + b m^2, from two counts.

    Costs of convolutions and dense layers are quadratic in the channels of a stage.
    """
    stages, units = channels(start)
    moves = {
        move: tuple(width + move * (place == index) for place, width in enumerate(stages)) for move in (1, -1, 2, -2)
    }
    possible = [move for move, widths in moves.items() if _is_possible(stages, widths)][:2]
    rates = [(costs.cost(with_channels(start, moves[move], units)) - costs.cost(start)) / move for move in possible]
    if len(rates) < 2:
        return (rates or [0.0])[0], 0.0
    curve = (rates[1] - rates[0]) / (possible[1] - possible[0])
    return rates[0] - curve * possible[0], curve


def _moves(stages: int) -> Iterable[tuple[int, ...]]:
    """Return by how many channels each stage is moved together with the others."""
    together = stages if stages <= FREE_STAGES else PAIR
    moves = (
        tuple(steps[chosen.index(stage)] if stage in chosen else 0 for stage in range(stages))
        for chosen in itertools.combinations(range(stages), together)
        for steps in itertools.product(STEPS, repeat=together)
    )
    return dict.fromkeys(each for each in moves if any(each))


def _is_possible(stages: Sequence[int], widths: Sequence[int]) -> bool:
    """Return whether stages may be moved to these widths: a parameter-free shortcut cannot drop channels."""
    return min(widths) >= 1 and (list(widths) == sorted(widths)) == (list(stages) == sorted(stages))
