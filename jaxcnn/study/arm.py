"""An arm: one network of a study, with the budget that it meets and its exact costs."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from jaxcnn.spec import ModelSpec

LARGEST_BUDGET = 1e18  # in any unit
WORDS = {"params": "parameters", "macs": "MACs", "activations": "activations"}


class Arm(NamedTuple):
    """One network of a study."""

    spec: ModelSpec | None  #: The architecture; None for a user-defined family.
    family: str  #: Name of the family, or "module:qualname" of the user's function.
    depth: int  #: Weighted layers, as in `ModelSpec` (user-defined family: as its function counts them).
    width: int  #: Width, as in `ModelSpec` (user-defined family: as its function counts it).
    #: Kind of budget: params, macs, activations (elements that convolutions put out for one image) or seconds
    #: (measured, per training step).
    kind: str
    budget: float  #: Budget in that unit.
    params: int  #: Trainable parameters.
    macs: int  #: Multiply-accumulates of convolutions and dense layers for one image.
    activations: int  #: Elements that convolutions put out for one image.
    mismatch: float  #: (cost - budget) / budget, signed.
    seconds: float | None = None  #: Measured time of a training step, only for a budget in seconds.
    name: str = ""  #: Short name of its family, only where a study compares two families.

    @property
    def label(self) -> str:
        """Name of its folder, such as params27000_depth20_width6 or seconds0p05_depth8_width11."""
        number = int(self.budget) if float(self.budget).is_integer() else float(self.budget)
        amount = f"{Decimal(repr(number)):f}".replace(".", "p")  # every digit, no exponent
        return f"{self.kind}{amount}{f'_{self.name}' * bool(self.name)}_depth{self.depth}_width{self.width}"

    @property
    def widths(self) -> str:
        """Width as a report shows it: the channels of each stage where they were solved one by one (10-19-38)."""
        return "-".join(map(str, (self.spec and self.spec.stage_widths) or (self.width,)))

    @property
    def budget_label(self) -> str:
        """The budget in words: "27,000 parameters", "40,813,184 MACs", "50 ms a step"."""
        if self.kind == "seconds":
            return f"{1000 * self.budget:g} ms a step"
        shown = f"{self.budget:,.0f}" if float(self.budget).is_integer() else f"{self.budget:,}"
        return f"{shown} {WORDS[self.kind]}"

    @staticmethod
    def upgraded(record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a record without the label, which follows from the other fields."""
        return {name: value for name, value in record.items() if name != "label"}
