"""What a family of architectures is, and how a `ModelSpec` becomes complete and consistent before a module is made."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import linen as nn

from jaxcnn.errors import InputError
from jaxcnn.spec import ModelSpec

LARGEST = 2**20  # of a depth, width or number of classes: no memory holds more
COMMON = ("family", "depth", "width", "num_classes")
CHOICES = {
    "shortcut": ("A", "B"),
    "block": ("basic", "bottleneck"),
    "stem": ("cifar", "imagenet"),
    "padding": ("same_first", "valid", "same"),
}


class Family(NamedTuple):
    """One family: how a spec becomes a module, and which specs it understands.

    Args:
        make: Complete spec (see `complete`) to module.
        defaults: Fields the family accepts beside family, depth, width and num_classes, with their defaults; a None
            among them is worked out from the rest of the spec.
        rule: Which depths are valid, as words that follow "needs".
        stages: Spec to blocks per stage, or None where the depth is not valid.
        depth_of: (spec, blocks per stage) to depth.
        widths: (spec, number of stages) to channels per stage.
        image: Natural image size and number of classes: ((H, W, C), classes).
    """

    make: Callable[[ModelSpec], nn.Module]
    defaults: Mapping[str, Any]
    rule: str
    stages: Callable[[ModelSpec], tuple[int, ...] | None]
    depth_of: Callable[[ModelSpec, tuple[int, ...]], int]
    widths: Callable[[ModelSpec, int], tuple[int, ...]]
    image: tuple[tuple[int, int, int], int]

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the `ModelSpec` fields that the family accepts."""
        return (*COMMON, *self.defaults)

    def depths(self, limit: int, spec: ModelSpec | None = None) -> tuple[int, ...]:
        """Valid depths up to a limit; they may depend on the spec's other fields (dense layers, block)."""
        spec = ModelSpec(**self.defaults) if spec is None else spec
        return tuple(d for d in range(1, limit + 1) if self.stages(dataclasses.replace(spec, depth=d)))


def complete(spec: ModelSpec, family: Family) -> ModelSpec:
    """Fill a spec's open fields from its family and check it.

    Returns:
        The spec with stage_sizes, stage_widths and every field of the family set; num_classes as it was.

    Raises:
        InputError: A field the family does not have, a value out of range, a depth the family cannot have.
    """
    spec = _filled(spec, family)
    _check_values(spec)
    sizes = spec.stage_sizes or _depth_to_stages(spec, family)
    if any(size < 1 for size in sizes):
        raise InputError(f"stage_sizes={sizes}: every stage needs at least one block; leave empty stages out")
    if family.depth_of(spec, sizes) != spec.depth:
        depth = family.depth_of(spec, sizes)
        raise InputError(
            f"depth={spec.depth}: stage_sizes={sizes} make {depth} weighted layers in {spec.family}; "
            f"set depth={depth} or leave stage_sizes out"
        )
    widths = spec.stage_widths or family.widths(spec, len(sizes))
    if len(widths) != len(sizes) or any(width < 1 for width in widths):
        raise InputError(f"stage_widths={widths}: give {len(sizes)} widths of at least 1, one per stage of {sizes}")
    return dataclasses.replace(spec, stage_sizes=tuple(sizes), stage_widths=tuple(widths))


def spread(count: int, stages: int, order: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Spread blocks over stages evenly; what is left over goes one each to `order`, by default the last stages."""
    order = tuple(range(stages))[::-1] if order is None else order
    rest = order[: count % stages]
    return tuple(count // stages + (stage in rest) for stage in range(stages))


def nearest(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Names close to one that is not known, as the end of a sentence."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    listed = ", ".join(sorted(known))
    return f"nearest are {', '.join(close)}; all are {listed}" if close else f"choose among {listed}"


def _filled(spec: ModelSpec, family: Family) -> ModelSpec:
    changes = {}
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if field.name in COMMON:
            continue
        if field.name not in family.defaults:
            if value != field.default:
                raise InputError(
                    f"{field.name}={value!r}: the family {spec.family} has no such field; leave it out "
                    f"(it has {', '.join(family.fields)})"
                )
        elif value is None:
            changes[field.name] = family.defaults[field.name]
        elif isinstance(value, list):
            changes[field.name] = tuple(value)  # from JSON; a list would make the module unhashable
    return dataclasses.replace(spec, **changes)


def _check_values(spec: ModelSpec) -> None:
    for name in ("depth", "width", "num_classes", "dense", "kernel"):
        value = getattr(spec, name)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise InputError(f"{name}={value!r}: give an integer of at least 1")
        if value is not None and value > LARGEST:
            raise InputError(f"{name}={value!r}: give an integer of at most {LARGEST:,}")
    if not 0.0 <= spec.dropout < 1.0:
        raise InputError(f"dropout={spec.dropout}: the share of units dropped must be at least 0 and below 1")
    drop = spec.stochastic_depth
    if drop is not None and not 0.0 <= drop < 1.0:
        raise InputError(f"stochastic_depth={drop}: the share of examples must be at least 0 and below 1")
    for name, choices in CHOICES.items():
        value = getattr(spec, name)
        if value is not None and value not in choices:
            raise InputError(f"{name}={value!r}: choose among {', '.join(choices)}")


def _depth_to_stages(spec: ModelSpec, family: Family) -> tuple[int, ...]:
    sizes = family.stages(spec)
    if sizes:
        return sizes
    valid = family.depths(2 * spec.depth + 60, spec)
    around = [d for d in valid if d < spec.depth][-1:] + [d for d in valid if d > spec.depth][:1]
    are = " and ".join(str(d) for d in around)
    raise InputError(
        f"depth={spec.depth}: {spec.family} needs {family.rule}; nearest {'are' if len(around) > 1 else 'is'} {are}"
    )
