"""An arm: one network of a study, with its exact cost."""

from __future__ import annotations

from typing import NamedTuple

from jaxcnn.spec import ModelSpec


class Arm(NamedTuple):
    """One network, solved for a budget.

    Args:
        spec: What to build.
        depth: Weighted layers, as in `ModelSpec`.
        width: Width, as in `ModelSpec`.
        params: Trainable parameters, counted.
        macs: Multiply-accumulates of convolutions and dense layers for one image, counted.
        mismatch: (params - budget) / budget, signed.
    """

    spec: ModelSpec
    depth: int
    width: int
    params: int
    macs: int
    mismatch: float

    @property
    def label(self) -> str:
        """Name in files and tables, such as depth20_width6."""
        return f"depth{self.depth}_width{self.width}"

    @property
    def budget(self) -> int:
        """Trainable parameters it was solved for."""
        return round(self.params / (1 + self.mismatch))
