"""What the networks of one family cost: counted exactly, foretold by polynomials where many have to be compared."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from flax import linen

from jaxcnn.analysis.complexity import count, count_params
from jaxcnn.errors import InputError
from jaxcnn.models import FAMILIES, build
from jaxcnn.models.family import complete
from jaxcnn.spec import ModelSpec

Builder = Callable[[int, int], linen.Module]
Measure = Callable[[Any], float]
# Counts that fitting a polynomial may take, and further ones that it must foretell exactly before it is believed.
TERMS, CHECKS = 64, 2


class Candidate(NamedTuple):
    """One network of the family: depth, width and, where it is not whole, channels per stage and hidden units."""

    depth: int
    width: int
    stages: tuple[int, ...] | None = None
    units: tuple[int, ...] | None = None


class Totals(NamedTuple):
    """Exact counts of one network, and the length of its logits."""

    params: int
    macs: int
    activations: int
    classes: int


class Prices:
    """The cost of every candidate of one family in one resource, each worked out once.

    Args:
        base: A spec whose depth and width do not matter, or a function (depth, width) -> Flax module.
        shape: (H, W, C) of one image.
        classes: Length of the logits.
        kind: params, macs, activations or seconds.
        measure: Spec or module -> seconds a step; needed for seconds.
        foretell: Compare candidates by polynomials where the family allows it.
    """

    def __init__(
        self,
        base: ModelSpec | Builder,
        shape: tuple[int, ...],
        classes: int,
        kind: str,
        measure: Measure | None = None,
        foretell: bool = True,
    ) -> None:
        self.base, self.shape, self.classes, self.kind = base, shape, classes, kind
        self.own = not isinstance(base, ModelSpec)
        self.foretell = foretell and not self.own
        self.trouble = ""
        self._measure = measure
        self._exact: dict[Candidate, Totals] = {}
        self._known: dict[Candidate, float] = {}
        self._polynomials: dict[tuple[int, int], Polynomial | None] = {}

    @property
    def family(self) -> str:
        """Name of the family, or "module:qualname" of the function."""
        if isinstance(self.base, ModelSpec):
            return self.base.family
        function = self.base.func if isinstance(self.base, partial) else self.base
        named = function if hasattr(function, "__qualname__") else type(function)
        return f"{named.__module__}:{named.__qualname__}"

    def spec(self, candidate: Candidate) -> ModelSpec:
        """The spec of a candidate; an own family has none."""
        assert isinstance(self.base, ModelSpec)
        spec = replace(self.base, depth=candidate.depth, width=candidate.width, stage_widths=candidate.stages)
        return spec if candidate.units is None else replace(spec, units=candidate.units)

    def module(self, candidate: Candidate) -> linen.Module:
        """The module of a candidate; raises whatever the family has against it."""
        if isinstance(self.base, ModelSpec):
            return build(self.spec(candidate), self.classes)
        made = self.base(candidate.depth, candidate.width)
        if not isinstance(made, linen.Module):
            raise InputError(
                f"base={self.family}: it returned {type(made).__name__} for depth={candidate.depth}, "
                f"width={candidate.width}; return a Flax linen module"
            )
        return made

    def stages(self, candidate: Candidate) -> tuple[int, ...]:
        """Channels per stage."""
        if candidate.stages is not None:
            return candidate.stages
        spec = replace(self.spec(candidate), num_classes=self.classes)
        widths = complete(spec, FAMILIES[spec.family]).stage_widths
        assert widths
        return widths

    def units(self, candidate: Candidate) -> tuple[int, ...]:
        """Units of the hidden dense layers, in families that have them behind convolutions."""
        if candidate.units is not None:
            return candidate.units
        return getattr(self.module(candidate._replace(stages=None)), "units", ())

    def allows(self, depth: int, width: int) -> bool:
        """Whether the family has such a depth: by its rule, or because the function's module can be traced."""
        if isinstance(self.base, ModelSpec):
            return bool(FAMILIES[self.base.family].stages(replace(self.base, depth=depth)))
        try:
            self.exact(Candidate(depth, width))
        except Exception as error:  # Whatever a user's function raises, this depth is not one of its own.
            self.trouble = str(error)
            return False
        return True

    def exact(self, candidate: Candidate) -> Totals:
        """Parameters, MACs and activations, counted."""
        if candidate not in self._exact:
            found = count(self.module(candidate), self.shape)
            self._exact[candidate] = Totals(*found[:3], classes=(found.output_shape or (0,))[-1])
        return self._exact[candidate]

    def cost(self, candidate: Candidate) -> float:
        """Cost in the resource of the budget: measured, foretold where that is exact, else counted."""
        if candidate not in self._known:
            self._known[candidate] = self._cost(candidate)
        return self._known[candidate]

    def cheap(self, candidate: Candidate) -> bool:
        """Whether the costs of this depth and width are foretold, so that any number can be compared."""
        return self.foretell and self.kind != "seconds" and self._polynomial(candidate) is not None

    def correct(self, candidate: Candidate, cost: float) -> None:
        """Remember a better measurement."""
        self._known[candidate] = cost

    def measured(self, candidate: Candidate) -> float:
        """Seconds of a training step, measured anew."""
        assert self._measure
        return self._measure(self.module(candidate) if self.own else self.spec(candidate))

    def _cost(self, candidate: Candidate) -> float:
        if self.kind == "seconds":
            return self.measured(candidate)
        told = self._polynomial(candidate) if self.foretell else None
        if told is None:
            return self.exact(candidate)[Totals._fields.index(self.kind)]
        return told.at(self.stages(candidate), candidate.units)

    def _polynomial(self, candidate: Candidate) -> Polynomial | None:
        """The cost of all nets of one depth and width as a function of the channels per stage."""
        key = (candidate.depth, candidate.width)
        if key not in self._polynomials:
            self._polynomials[key] = polynomial(self.module(Candidate(*key)), self.shape, self.kind)
        return self._polynomials[key]


class Polynomial(NamedTuple):
    """The cost of a family's nets in one resource without tracing them.

    In all families the cost is quadratic in the channels, with products only of one stage and the next, and linear in
    the number of blocks of a stage. So small nets of the same kind tell exactly what a deep one costs.
    """

    coefficients: tuple[int, ...]
    extra: int  # added where the first stage is as wide as a fixed stem
    sizes: tuple[int, ...]
    units: tuple[int, ...]
    stem: int | None

    def at(self, stages: tuple[int, ...], units: tuple[int, ...] | None = None) -> int:
        """Cost at some channels per stage and, unless they stay, units of the hidden dense layers."""
        channels = (*stages, *(self.units if units is None else units))
        cost = _product(self.coefficients, _terms(self.sizes, _several(self.sizes), channels))
        return cost + (self.extra if stages[0] == self.stem else 0)


def polynomial(module: Any, shape: tuple[int, ...], kind: str) -> Polynomial | None:
    """The polynomial of a family's module in a resource; None where there is none of reasonable length."""
    sizes, units = module.stage_sizes, getattr(module, "units", ())
    blank: dict[str, Any] = {"stage_sizes": (1,) * len(sizes), "stage_widths": (1,) * len(sizes)}
    if units:
        blank["units"] = ()
    fitted = _fitted(module.clone(**blank), _several(sizes), len(units), shape, kind)
    return None if fitted is None else Polynomial(*fitted, sizes, units, getattr(module, "stem_width", None))


def _several(sizes: Sequence[int]) -> tuple[bool, ...]:
    # All stages alike, so that depths share one fit.
    return (max(sizes) > 1,) * len(sizes)


def _terms(sizes: Sequence[int], several: Sequence[bool], channels: Sequence[int]) -> list[int]:
    """The monomials of the polynomial at one net."""
    own = [term for width in channels for term in (width, width * width)]
    pairs = [left * right for left, right in itertools.pairwise(channels)]
    blocks = [(size * width, size * width * width) for size, width in zip(sizes, channels, strict=False)]
    return [1, *own, *pairs, *(term for flag, two in zip(several, blocks, strict=True) if flag for term in two)]


@lru_cache(maxsize=64)
def _fitted(
    template: Any, several: tuple[bool, ...], units: int, shape: tuple[int, ...], kind: str
) -> tuple[tuple[int, ...], int] | None:
    """Coefficients and `extra` of a polynomial; None where small nets do not follow it exactly."""
    ones = (1,) * len(several)
    length = len(_terms(ones, several, (1,) * (len(several) + units)))
    if length > TERMS:
        return None
    single = len(_terms(ones, (False,) * len(several), (1,) * (len(several) + units)))
    draw = random.Random(0)
    rows: list[list[int]] = []
    costs = []
    while len(rows) < length + CHECKS:
        # One block a stage as long as that tells something new, for these nets are the quickest to count.
        sizes = tuple(1 + (flag and len(rows) >= single) for flag in several)
        # Channels must not fall from stage to stage: a shortcut without parameters cannot drop any.
        widths = sorted(draw.sample(range(1, 12 + 2 * len(sizes)), len(sizes)))
        hidden = tuple(draw.randint(1, 12) for _ in range(units))
        row = _terms(sizes, several, (*widths, *hidden))
        if widths[0] == getattr(template, "stem_width", None):
            continue
        if len(rows) < length and np.linalg.matrix_rank(np.asarray([*rows, row], float)) <= len(rows):
            continue  # It would tell nothing new.
        changes = {"stage_sizes": sizes, "stage_widths": tuple(widths)} | ({"units": hidden} if units else {})
        rows.append(row)
        costs.append(_counted(template.clone(**changes), shape, kind))
    solved: Any = np.linalg.lstsq(np.asarray(rows, float), np.asarray(costs, float), rcond=None)[0]
    column = tuple(round(value) for value in solved)
    if any(_product(column, row) != cost for row, cost in zip(rows, costs, strict=True)):
        return None
    stem = getattr(template, "stem_width", None)
    if stem is None:
        return column, 0
    # A first stage as wide as the stem needs no projection.
    row = _terms(ones, several, (stem,) * len(several))
    narrow = template.clone(stage_sizes=ones, stage_widths=(stem,) * len(several))
    return column, _counted(narrow, shape, kind) - _product(column, row)


def _counted(module: linen.Module, shape: tuple[int, ...], kind: str) -> int:
    # Parameters alone are counted in half the time.
    return count_params(module, shape) if kind == "params" else getattr(count(module, shape), kind)


def _product(left: Sequence[int], right: Sequence[int]) -> int:
    return sum(a * b for a, b in zip(left, right, strict=True))
