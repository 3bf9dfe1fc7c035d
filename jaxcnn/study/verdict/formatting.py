"""Format numbers and settings of a verdict and its report as text."""

import math
from collections.abc import Mapping
from typing import Any

from jaxcnn.study.arm import WORDS, Arm
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.tuning import Setting

UNKNOWN, NONE = "–", "none"
RESOURCES = {**WORDS, "memory": "memory", "seconds": "time per step", "time": "time per step"}
"""Names of the resources that budgets and fronts refer to."""


def percent(share: float) -> str:
    """Format a share in percent or percentage points: 1.85."""
    return f"{100 * share:.2f}".replace("-0.00", "0.00") if math.isfinite(share) else UNKNOWN


def signed(share: float) -> str:
    """Format a difference of shares in percentage points with its sign; what rounds to zero has none."""
    if not math.isfinite(share):
        return UNKNOWN
    shown = f"{100 * share:+.2f}"
    return shown[1:] if shown in ("+0.00", "-0.00") else shown


def span(interval: Interval) -> str:
    """Format the limits of an error: 1.20 to 1.50, or none."""
    return f"{percent(interval.low)} to {percent(interval.high)}" if interval.bounded else NONE


def signed_span(interval: Interval | None) -> str:
    """Format the limits of a difference: +0.30 to +1.04."""
    return f"{signed(interval.low)} to {signed(interval.high)}" if interval and interval.bounded else NONE


def effect(interval: Interval) -> str:
    """Format a difference with its limits: +0.67 (+0.30 to +1.04)."""
    return f"{signed(interval.estimate)} ({signed_span(interval) if interval.bounded else 'no interval'})"


def detected(difference: float) -> str:
    """Format the smallest difference that seeds detect, in points; there is none beyond 100."""
    return f"{percent(difference)} points" if difference <= 1 else "no possible difference"


def decimals(value: float | None, places: int = 2) -> str:
    """Format a number with fixed decimals; None and numbers that are not finite are unknown."""
    return f"{value:,.{places}f}" if value is not None and math.isfinite(value) else UNKNOWN


def probability(p: float) -> str:
    """Format a p-value: 0.031, < 0.001."""
    return "< 0.001" if p < 0.001 else decimals(p, 3)


def plural(count: int, word: str) -> str:
    """Format a count with its noun: 3 runs, 1 run."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def arm_name(arm: Arm) -> str:
    """Name an arm within its budget."""
    return f"{arm.name}, " * bool(arm.name) + f"depth {arm.depth}, width {arm.widths}"


def short_name(arm: Arm) -> str:
    """Name an arm by its depth, or by its family where two are compared."""
    return arm.name or f"depth {arm.depth}"


def minus(sides: tuple[str, str]) -> str:
    """Name a difference at the start of a sentence: Deeper minus wider; names of families stay as they are."""
    return " minus ".join(sides).replace("deeper minus wider", "Deeper minus wider")


def setting_name(setting: Setting) -> str:
    """Name a setting by its learning rate and weight decay."""
    return f"lr {setting.learning_rate:g}, wd {setting.weight_decay:g}"


def text(value: Any) -> str:
    """Format settings as words: mappings as "name value", sequences with commas, booleans as on and off."""
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None or value == "":
        return "none"
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)
