"""Numbers of a report as text: percentage points with two decimals, thousands separated, what is unknown said so."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcnn.study.arm import Arm
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.tuning import Setting
from jaxcnn.study.verdict.findings import ArmFinding

UNKNOWN = "–"


def percent(share: float) -> str:
    """A share in percent or percentage points: 1.85."""
    return UNKNOWN if not math.isfinite(share) else f"{100 * share:.2f}".replace("-0.00", "0.00")


def signed(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return UNKNOWN if not math.isfinite(share) else f"{100 * share:+.2f}".replace("-0.00", "+0.00")


def span(interval: Interval, *, lowest: float = -math.inf) -> str:
    """The limits of an error, no lower than it can be: 1.20 to 1.50."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return UNKNOWN
    return f"{percent(max(interval.low, lowest))} to {percent(interval.high)}"


def effect(interval: Interval) -> str:
    """A difference with its limits: +0.67 (+0.30 to +1.04)."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return f"{signed(interval.estimate)} (no interval)"
    return f"{signed(interval.estimate)} ({signed(interval.low)} to {signed(interval.high)})"


def signed_span(interval: Interval) -> str:
    """The limits of a difference: +0.30 to +1.04."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return UNKNOWN
    return f"{signed(interval.low)} to {signed(interval.high)}"


def probability(p: float) -> str:
    """A p-value: 0.031, < 0.001."""
    if not math.isfinite(p):
        return UNKNOWN
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def decimals(value: float, places: int = 2) -> str:
    """A number, or that it is unknown."""
    return f"{value:,.{places}f}" if math.isfinite(value) else UNKNOWN


def width(arm: Arm) -> str:
    """The width of an arm, with the channels of each stage where they were solved one by one."""
    stages = arm.spec.stage_widths if arm.spec else None
    return f"{arm.width} ({'-'.join(map(str, stages))})" if stages else str(arm.width)


def short(arm: Arm) -> str:
    """An arm in a title."""
    return f"depth {arm.depth}, width {arm.width}"


def setting(value: Setting) -> str:
    """Learning rate and weight decay."""
    return f"lr {value.learning_rate:g}, wd {value.weight_decay:g}"


def megabytes(size: float | None) -> str:
    """Bytes in MB, 10^6 bytes."""
    return UNKNOWN if size is None else f"{size / 1e6:,.1f}"


def milliseconds(seconds: float | None) -> str:
    """Seconds in ms."""
    return UNKNOWN if seconds is None or not math.isfinite(seconds) else f"{1000 * seconds:,.2f}"


def plural(count: int, word: str) -> str:
    """3 runs, 1 run."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def text(value: Any) -> str:
    """Settings in words: mappings as name value, sequences with commas, switches as on and off."""
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(text(item) for item in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == "":
        return "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def at(arms: Sequence[ArmFinding], budget: str) -> list[ArmFinding]:
    """The arms of one budget, the shallowest first and of those the widest."""
    found = (finding for finding in arms if finding.arm.budget_label == budget)
    return sorted(found, key=lambda finding: (finding.arm.depth, -finding.arm.width))


def finding_of(arms: Sequence[ArmFinding], arm: Arm) -> ArmFinding:
    """What was found of one arm."""
    return next(finding for finding in arms if finding.arm.label == arm.label)
