"""An arm: one network of a study, with the budget it was solved for and its exact costs."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from jaxcnn.spec import ModelSpec

KINDS = ("params", "macs", "activations", "seconds")
MOST_BUDGET = 1e18  # in whatever unit
WORDS = {"params": "parameters", "macs": "MACs", "activations": "activations"}


class Arm(NamedTuple):
    """One network, solved for a budget.

    Args:
        spec: What to build; None where the family is a function of the user's own.
        family: Name of the family, or "module:qualname" of that function.
        depth: Weighted layers, as in `ModelSpec` (an own family: as it counts them).
        width: Width, as in `ModelSpec` (an own family: as it counts it).
        kind: What the budget is in: params, macs, activations (elements that convolutions put out for one image) or
            seconds (measured, a training step).
        budget: The budget itself, in that unit.
        params: Trainable parameters, counted.
        macs: Multiply-accumulates of convolutions and dense layers for one image, counted.
        activations: Elements that convolutions put out for one image, counted.
        mismatch: (cost - budget) / budget of the resource that the budget is in, signed.
        seconds: Measured time of a training step, only where the budget is in seconds.
    """

    spec: ModelSpec | None
    family: str
    depth: int
    width: int
    kind: str
    budget: float
    params: int
    macs: int
    activations: int
    mismatch: float
    seconds: float | None = None

    @property
    def label(self) -> str:
        """Name of its folder, such as params27000_depth20_width6 or seconds0p05_depth8_width11."""
        return f"{self.kind}{_compact(self.budget)}_depth{self.depth}_width{self.width}"

    @property
    def budget_label(self) -> str:
        """The budget in words: "27,000 parameters", "40,813,184 MACs", "50 ms a step"."""
        if self.kind == "seconds":
            return f"{1000 * self.budget:g} ms a step"
        shown = f"{self.budget:,.0f}" if float(self.budget).is_integer() else f"{self.budget:,}"
        return f"{shown} {WORDS[self.kind]}"


def _compact(value: float) -> str:
    """Every digit of a number, with p for the point and no exponent: 27000, 0p05."""
    number = int(value) if float(value).is_integer() else float(value)
    return f"{Decimal(repr(number)):f}".replace(".", "p")
