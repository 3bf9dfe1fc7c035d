"""Networks of different depth at one budget: the width, or the depth, that meets it, found by exact counting."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from jaxcnn.data import load
from jaxcnn.errors import InputError, require
from jaxcnn.spec import BUDGETS, ModelSpec, StudyConfig
from jaxcnn.study.arm import Arm
from jaxcnn.study.budget.costs import Builder, Costs, Measure, channels, family_name
from jaxcnn.study.budget.search import START, nearest_depth, nearest_width, whole_depths, whole_widths
from jaxcnn.study.measure import measure_of

REPEATS, SEARCHES = 5, 4


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
    """Find the network of a given depth whose width meets a budget.

    The plainest answer within the tolerance wins: first whole widths in the family's own proportions, then widths
    between two of these, then stages that differ from the proportions by one or two channels. A user-defined family has
    whole widths only, and so has a budget in seconds.

    A budget in seconds is measured on this machine, up to its noise: if the tolerance is smaller, the error says how
    far repeated measurements of the nearest width spread.

    Args:
        base: Everything but depth and width; or the family's name; or a user-defined family, a function (depth, width)
            -> Flax module whose logits have length num_classes.
        depth: Weighted layers, as the family counts them.
        input_shape: (H, W, C) of one image.
        num_classes: Length of the logits.
        params: Budget in trainable parameters. Give exactly one of the four budgets.
        macs: Budget in multiply-accumulates of convolutions and dense layers for one image.
        activations: Budget in elements that convolutions put out for one image.
        seconds: Budget in seconds of one training step.
        tolerance: Largest |cost - budget| / budget accepted.
        batch_size: Examples of the step that is timed.
        measure: Function from a spec (user-defined family: a module) to seconds per step. Default: training steps on
            random images on this machine's device.

    Returns:
        The arm, with exact counts and its signed mismatch.

    Raises:
        InputError: No width meets the budget (the message names the nearest one), or the family has no such depth.

    Reference: Dollár et al., "Fast and accurate model scaling", 2021 (activations).

    >>> match_width("resnet", 20, params=270_000, input_shape=(32, 32, 3), num_classes=10).width
    16
    """
    budgets = {"params": params, "macs": macs, "activations": activations, "seconds": seconds}
    costs = Costs(base, input_shape, num_classes, budgets, tolerance, batch_size, measure)
    if costs.builder or seconds is not None:
        costs.check(costs.network(depth, START))
    if seconds is not None:
        return _match_seconds(costs, lambda: whole_widths(costs, depth), "depth")
    return _arm(costs, nearest_width(costs, depth), "depth")


def match_widths(
    config: StudyConfig, *, family: Builder | Sequence[Builder] = (), known: Sequence[Arm] = ()
) -> list[Arm]:
    """Return the arms of a study: every depth at every budget, for the images of its run.

    Args:
        config: Its depths, budgets and tolerance count; its run's model gives everything but depth and width, its data
            the image shape and the classes.
        family: A user-defined family in place of `config.base.model`; or two, the first with the first depth of the
            config, the second with the second (or the only one).
        known: Arms of a stored plan. Those with a budget in seconds are not measured again: another measurement might
            give other widths, which would be another study.

    Returns:
        One arm per budget and depth, budget by budget.

    Raises:
        InputError: A depth cannot meet a budget, a depth or budget comes twice, or the model's task is none that a
            study compares.
    """
    if wrong := [depth for depth in config.depths if not isinstance(depth, int) or depth < 1]:
        raise InputError(f"depths={wrong[0]!r}: give integers of at least 1")
    require(bool(config.depths), "depths", config.depths, "give two or more")
    measure_of(config.base.task.kind)
    images = load(replace(config.base.data, groups=None), progress=True)
    options: dict[str, Any] = {"input_shape": images.image_shape, "num_classes": len(images.class_names)}
    options |= {"tolerance": config.tolerance, "batch_size": config.base.batch_size}
    families = [family] if callable(family) else list(family) or [config.base.model]
    networks = [(families[0], depth) for depth in config.depths]
    if len(families) > 1:
        if len(families) > 2 or len(config.depths) not in (1, 2):
            raise InputError(
                f"depths={config.depths} for {len(families)} families: give two families, and a depth for each of them"
            )
        first, *rest = config.depths
        networks = list(zip(families, (first, *rest, first), strict=False))
    else:
        require(len(set(config.depths)) == len(config.depths), "depths", config.depths, "give each depth once")
    for kind in BUDGETS:
        amounts = getattr(config, kind)
        require(len(set(amounts)) == len(amounts), kind, amounts, "give each budget once")
    measured = {(arm.budget, arm.family, arm.depth): arm for arm in known if arm.kind == "seconds"}
    budgets: list[tuple[str, Any]] = [*config.budget_values]
    return [
        (measured.get((amount, _family(base), depth)) if kind == "seconds" else None)
        or match_width(base, depth, **options, **{kind: amount})
        for kind, amount in budgets
        for base, depth in networks
    ]


def _family(base: ModelSpec | Builder) -> str:
    return base.family if isinstance(base, ModelSpec) else family_name(base)


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
    """Find the network of a given width whose depth meets a budget.

    The nearest depth of the family wins; if it is not within the tolerance, the nearest depths with stages moved by one
    or two channels, the first stage last. A user-defined family has whole depths only (those at which its function
    gives a module that can be traced), and so has a budget in seconds.

    Args:
        base, input_shape, num_classes, params, macs, activations, seconds, tolerance, batch_size, measure: As for
            `match_width`.
        width: Width, as the family counts it.

    Returns:
        The arm, with exact counts and its signed mismatch; its width is that of its first stage.

    Raises:
        InputError: No depth meets the budget; the message names the nearest one.

    >>> match_depth("resnet", 16, params=270_000, input_shape=(32, 32, 3), num_classes=10).depth
    20
    """
    budgets = {"params": params, "macs": macs, "activations": activations, "seconds": seconds}
    costs = Costs(base, input_shape, num_classes, budgets, tolerance, batch_size, measure)
    if costs.base.stage_sizes is not None:
        raise InputError(f"stage_sizes={costs.base.stage_sizes}: the depth is what is solved for; leave it out")
    if not isinstance(width, int) or width < 1:
        raise InputError(f"width={width!r}: give an integer of at least 1")
    if seconds is not None:
        return _match_seconds(costs, lambda: whole_depths(costs, width), "width")
    return _arm(costs, nearest_depth(costs, width), "width")


def _match_seconds(costs: Costs, search: Callable[[], list[ModelSpec]], given: str) -> Arm:
    """Measure the nearest networks anew, in turns, and return the nearest: drift of the machine affects all alike.

    If the new measurements show that an outlier misled the search, it is repeated with them.

    Raises:
        InputError: The nearest network misses the tolerance; the message says how far its measurements spread.
    """
    times: dict[ModelSpec, list[float]] = {}
    networks = search()
    for _ in range(SEARCHES):
        for spec in networks:
            costs.check(spec)
        turns = [[costs.seconds(spec) for spec in networks] for _ in range(REPEATS)]
        for index, spec in enumerate(networks):
            times[spec] = [turn[index] for turn in turns]
            costs.cache[spec] = median(times[spec])
        if (again := search()) == networks:
            break
        networks = again
    best = costs.nearest(times)
    spread = 100 * (max(times[best]) - min(times[best])) / costs.cost(best)
    return _arm(costs, best, given, f"takes {costs.cost(best):.4g}, its {REPEATS} measurements {spread:,.1f} % apart")


def _arm(costs: Costs, spec: ModelSpec, given: str, words: str = "") -> Arm:
    """Return the network nearest to the budget as an arm.

    Raises:
        InputError: It is not within the tolerance; `given` (depth or width) was given, `words` say what it costs.
    """
    costs.check(spec)
    counts, cost = costs.counts(spec), costs.cost(spec)
    if not costs.meets(spec):
        where = f"width {spec.width}" if given == "depth" else f"depth {spec.depth}"
        if spec.stage_widths is not None:
            where = f"stage widths {', '.join(map(str, spec.stage_widths))}"
        words, off = words or f"has {cost:,}", 100 * (cost / costs.amount - 1)
        raise InputError(
            f"{costs.kind}={costs.amount:,}: no {spec.family} of {given} {getattr(spec, given)} comes within "
            f"{100 * costs.tolerance:g} %; the nearest {words} ({where}), {off:+.3g} %; "
            f"change the budget, the {given} or the tolerance"
        )
    if spec.stage_widths is not None:
        # The spec is shown under the width of its first stage, in families where width means just that.
        first = spec.stage_widths[0]
        renamed, plain = replace(spec, width=first), channels(costs.network(spec.depth, first))[0]
        if plain[0] == first and costs.module(renamed) == costs.module(spec):
            spec = renamed
    return Arm(
        None if costs.builder else spec, spec.family, spec.depth, spec.width, costs.kind, costs.amount, counts.params,
        counts.macs, counts.activations, (cost - costs.amount) / costs.amount,
        cost if costs.kind == "seconds" else None,
    )  # fmt: skip
