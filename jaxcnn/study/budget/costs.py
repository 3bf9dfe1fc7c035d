"""Costs of the networks of one family against a budget: counted exactly, or measured in seconds per training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from flax import linen

from jaxcnn.analysis.complexity import Complexity, count, count_params
from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.models.family import complete
from jaxcnn.spec import ModelSpec

Builder = Callable[[int, int], linen.Module]
Measure = Callable[[Any], float]


class Budget(NamedTuple):
    """What a network may cost: an amount of params, macs, activations or seconds, up to a relative tolerance."""

    kind: str
    amount: float
    tolerance: float


class Costs:
    """Costs of one family's networks, each computed once.

    A network is a spec; one of a user-defined family has that family's name, a depth and a width.

    Args:
        base: A spec whose depth and width do not matter, or a function (depth, width) -> Flax module.
        shape: (H, W, C) of one image.
        classes: Length of the logits.
        budget: What they are compared with.
        measure: Function from a spec (user-defined family: a module) to seconds per step; needed for seconds.
    """

    def __init__(
        self,
        base: ModelSpec | Builder,
        shape: tuple[int, ...],
        classes: int,
        budget: Budget,
        measure: Measure | None = None,
    ) -> None:
        self.builder = None if isinstance(base, ModelSpec) else base
        self.base = base if isinstance(base, ModelSpec) else ModelSpec(family_name(base))
        self.shape, self.classes, self.budget, self._measure = shape, classes, budget, measure
        self.trouble = ""
        self._counts: dict[ModelSpec, Complexity] = {}
        self._costs: dict[ModelSpec, float] = {}

    def network(self, depth: int, width: int) -> ModelSpec:
        """Return the network of a depth and a width."""
        return replace(self.base, depth=depth, width=width)

    def module(self, spec: ModelSpec) -> linen.Module:
        """Build a network.

        Raises:
            InputError: The family cannot build it.
        """
        if self.builder is None:
            return build(spec, self.classes)
        size = f"depth={spec.depth}, width={spec.width}"
        try:
            module = self.builder(spec.depth, spec.width)
        except Exception as error:
            raise InputError(f"base={spec.family}: {size} cannot be built: {error}") from error
        if not isinstance(module, linen.Module):
            raise InputError(
                f"base={spec.family}: it returned {type(module).__name__} for {size}; return a Flax linen module"
            )
        return module

    def counts(self, spec: ModelSpec) -> Complexity:
        """Count parameters, MACs and activations.

        Raises:
            InputError: The network cannot be built or traced, or its logits have another length.
        """
        if spec not in self._counts:
            module = self.module(spec)
            try:
                counted = count(module, self.shape)
            except Exception as error:
                if self.builder is None:
                    raise
                size = f"depth={spec.depth}, width={spec.width}"
                raise InputError(f"base={spec.family}: {size} cannot be built: {error}") from error
            if (length := (counted.output_shape or (0,))[-1]) != self.classes:
                raise InputError(
                    f"base={spec.family}: its logits have length {length} where num_classes={self.classes}; let the "
                    "function close over the number of classes"
                )
            self._counts[spec] = counted
        return self._counts[spec]

    def cost(self, spec: ModelSpec) -> float:
        """Return the cost in the resource of the budget."""
        if spec not in self._costs:
            kind = self.budget.kind
            if kind == "seconds":
                self._costs[spec] = self.measured(spec)
            elif kind == "params" and self.builder is None:  # in half the time of `counts`
                self._costs[spec] = count_params(self.module(spec), self.shape)
            else:
                self._costs[spec] = getattr(self.counts(spec), kind)
        return self._costs[spec]

    def measured(self, spec: ModelSpec) -> float:
        """Measure the seconds of a training step anew."""
        assert self._measure
        return self._measure(spec if self.builder is None else self.module(spec))

    def correct(self, spec: ModelSpec, cost: float) -> None:
        """Replace a cost by a better measurement."""
        self._costs[spec] = cost

    def fits(self, spec: ModelSpec) -> bool:
        """Return whether a network costs no more than the budget."""
        return self.cost(spec) <= self.budget.amount

    def miss(self, spec: ModelSpec) -> float:
        """Return |cost - budget| / budget."""
        return abs(self.cost(spec) / self.budget.amount - 1)

    def nearest(self, specs: Iterable[ModelSpec]) -> ModelSpec:
        """Return the network nearest to the budget, the first of several."""
        return min(specs, key=self.miss)

    def meets(self, spec: ModelSpec) -> bool:
        """Return whether a network is within the tolerance."""
        return self.miss(spec) <= self.budget.tolerance

    def valid(self, depth: int, width: int) -> bool:
        """Return whether the family has a depth: by its rule, or because the user's function builds it."""
        if self.builder is None:
            _, family, options = complete(self.base)
            return bool(family.stages(replace(self.base, depth=depth), options))
        try:
            self.counts(self.network(depth, width))
        except InputError as error:
            self.trouble = str(error)
            return False
        return True

    def channels(self, spec: ModelSpec) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return channels per stage, and units of the hidden dense layers of the head."""
        complete_spec, family, options = complete(spec)
        return complete_spec.stage_widths or (), family.units(complete_spec, options)


def with_channels(spec: ModelSpec, stages: tuple[int, ...], units: tuple[int, ...] = ()) -> ModelSpec:
    """Return a network with other channels per stage and, if any are given, other hidden units."""
    options = {**spec.options, "units": units} if units else spec.options
    return replace(spec, stage_widths=stages, options=options)


def family_name(family: Builder) -> str:
    """Return "module:qualname" of a user-defined family: of the function, its class, or what a partial calls."""
    function = family.func if isinstance(family, partial) else family
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"
