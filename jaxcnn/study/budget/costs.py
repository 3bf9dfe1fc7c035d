"""Costs of the networks of one family against a budget: counted exactly, or measured in seconds per training step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from flax import linen

from jaxcnn.analysis.complexity import Complexity, count, count_params
from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.models.family import complete, family_named, read_options
from jaxcnn.records import shortened
from jaxcnn.spec import BUDGETS, ModelSpec
from jaxcnn.study.arm import LARGEST_BUDGET

Builder = Callable[[int, int], linen.Module]
Measure = Callable[[Any], float]


class Costs:
    """Costs of one family's networks, each computed once.

    A network is a spec; one of a user-defined family has that family's name, a depth and a width.

    Args:
        base, shape, classes, tolerance, batch_size, measure: Those of `match_width`.
        budgets: Amount by kind of budget; all but one are None.

    Raises:
        InputError: An argument is out of range, or the base already has what is solved for.
    """

    def __init__(
        self, base: ModelSpec | str | Builder, shape: Sequence[int], classes: int, budgets: Mapping[str, float | None],
        tolerance: float, batch_size: int = 128, measure: Measure | None = None,
    ) -> None:  # fmt: skip
        given = {kind: amount for kind, amount in budgets.items() if amount is not None}
        if len(given) != 1:
            raise InputError(f"budget={given}: give exactly one of {', '.join(BUDGETS)}")
        ((kind, amount),) = given.items()
        # Integers may be longer than any float.
        if not isinstance(amount, int | float) or not 0 < amount < LARGEST_BUDGET or not tolerance > 0:
            raise InputError(
                f"{kind}={shortened(amount)} and tolerance={tolerance} must both be positive, and the budget below "
                f"{LARGEST_BUDGET:g}"
            )
        if isinstance(base, linen.Module):
            raise InputError(
                f"base={type(base).__name__}(...): a module has one size; give a function (depth, width) -> module"
            )
        base = ModelSpec(family=base) if isinstance(base, str) else base
        if isinstance(base, ModelSpec):
            family_named(base.family)
            if base.stage_widths is not None:
                raise InputError(f"stage_widths={base.stage_widths}: the width is what is solved for; leave it out")
        elif not callable(base):
            raise InputError(f"base={base!r}: give a family's name, a ModelSpec or a function (depth, width) -> module")
        if kind == "seconds" and measure is None:
            from jaxcnn.run.cost import make_stopwatch

            measure = make_stopwatch(shape, classes, batch_size)
        self.builder = None if isinstance(base, ModelSpec) else base
        self.base = base if isinstance(base, ModelSpec) else ModelSpec(family_name(base))
        self.shape, self.classes, self.measure = tuple(shape), classes, measure
        self.kind, self.amount, self.tolerance = kind, amount, tolerance
        self.cache: dict[ModelSpec, float] = {}
        self.trouble = ""
        self._counts: dict[ModelSpec, Complexity] = {}

    def network(self, depth: int, width: int) -> ModelSpec:
        """Return the network of a depth and a width."""
        return replace(self.base, depth=depth, width=width)

    def module(self, spec: ModelSpec) -> linen.Module:
        """Build a network; the user's function may raise anything."""
        if self.builder is None:
            return build(spec, self.classes)
        module = self.builder(spec.depth, spec.width)
        if not isinstance(module, linen.Module):
            raise InputError(
                f"base={spec.family}: it returned {type(module).__name__} for depth={spec.depth}, width={spec.width}; "
                "return a Flax linen module"
            )
        return module

    def counts(self, spec: ModelSpec) -> Complexity:
        """Count parameters, MACs and activations.

        Raises:
            InputError: The user's function cannot build it.
        """
        if spec not in self._counts:
            try:
                self._counts[spec] = count(self.module(spec), self.shape)
            except Exception as error:
                if self.builder is None or isinstance(error, InputError):
                    raise
                raise InputError(
                    f"base={spec.family}: depth={spec.depth}, width={spec.width} cannot be built: {error}"
                ) from error
        return self._counts[spec]

    def check(self, spec: ModelSpec) -> None:
        """Refuse a network that cannot be built, or a user-defined one whose logits have another length.

        Raises:
            InputError: It is such a network.
        """
        length = (self.counts(spec).output_shape or (0,))[-1]
        if self.builder is not None and length != self.classes:
            raise InputError(
                f"base={spec.family}: its logits have length {length} where num_classes={self.classes}; let the "
                "function close over the number of classes"
            )

    def valid(self, depth: int, width: int) -> bool:
        """Return whether the family has a depth: by its rule, or because the user's function builds it."""
        if self.builder is None:
            family = family_named(self.base.family)
            return bool(family.stages(replace(self.base, depth=depth), read_options(self.base, family)))
        try:
            self.counts(self.network(depth, width))
        except InputError as error:
            self.trouble = str(error)
            return False
        return True

    def cost(self, spec: ModelSpec) -> float:
        """Return the cost in the resource of the budget."""
        if spec not in self.cache:
            if self.kind == "seconds":
                self.cache[spec] = self.seconds(spec)
            elif self.kind == "params" and self.builder is None:  # in half the time of `counts`
                self.cache[spec] = count_params(self.module(spec), self.shape)
            else:
                self.cache[spec] = getattr(self.counts(spec), self.kind)
        return self.cache[spec]

    def seconds(self, spec: ModelSpec) -> float:
        """Measure the seconds of a training step anew."""
        assert self.measure
        return self.measure(spec if self.builder is None else self.module(spec))

    def fits(self, spec: ModelSpec) -> bool:
        """Return whether a network costs no more than the budget."""
        return self.cost(spec) <= self.amount

    def miss(self, spec: ModelSpec) -> float:
        """Return |cost - budget| / budget."""
        return abs(self.cost(spec) - self.amount) / self.amount

    def nearest(self, specs: Iterable[ModelSpec]) -> ModelSpec:
        """Return the network nearest to the budget, the first of several."""
        return min(specs, key=self.miss)

    def meets(self, spec: ModelSpec) -> bool:
        """Return whether a network is within the tolerance."""
        return self.miss(spec) <= self.tolerance


def channels(spec: ModelSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return channels per stage, and units of the hidden dense layers of the head."""
    spec, family, options = complete(spec)
    return spec.stage_widths or (), family.units(spec, options)


def with_channels(spec: ModelSpec, stages: tuple[int, ...], units: tuple[int, ...]) -> ModelSpec:
    """Return a network with other channels per stage and other units, where the family has any."""
    return replace(spec, stage_widths=stages, options={**spec.options, "units": units} if units else spec.options)


def family_name(family: Builder) -> str:
    """Return "module:qualname" of a user-defined family: of the function, its class, or what a partial calls."""
    function = family.func if isinstance(family, partial) else family
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"
