"""What a family of architectures is, the table of all families, and how a `ModelSpec` is completed and checked."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from flax import linen as nn

from jaxcnn.errors import InputError
from jaxcnn.models.head import NoOptions, joined_options
from jaxcnn.records import check_choices, from_record
from jaxcnn.spec import ModelSpec

LARGEST = 2**20
"""Largest depth, width or number of classes: no memory holds more."""


class Family(NamedTuple):
    """One family: how a spec becomes a backbone and a head, and which specs it understands.

    The functions get a spec and its options, an instance of `options`; the first two get a completed spec, whose
    stage_sizes, stage_widths and num_classes are set.

    Args:
        backbone: (spec, options) to module (images, train, mask) -> maps, one per stride (see `jaxcnn.nn.Network`).
        head: (spec, options) to module (maps, train, mask) -> logits: the head of specs that name none.
        stages: (spec, options) to blocks per stage, or None where the family has no such depth.
        depth_of: (spec, options, blocks per stage) to depth.
        widths: (spec, options, number of stages) to channels per stage.
        rule: Which depths are valid, as words that follow "needs".
        image: Natural image shape and number of classes: ((H, W, C), classes).
        options: Frozen dataclass of the family's own options, all with defaults.
        units: (spec, options) to units of the hidden dense layers of the head, where those grow with the width.
    """

    backbone: Callable[[ModelSpec, Any], nn.Module]
    head: Callable[[ModelSpec, Any], nn.Module]
    stages: Callable[[ModelSpec, Any], tuple[int, ...] | None]
    depth_of: Callable[[ModelSpec, Any, tuple[int, ...]], int]
    widths: Callable[[ModelSpec, Any, int], tuple[int, ...]]
    rule: str
    image: tuple[tuple[int, int, int], int]
    options: type[Any] = NoOptions
    units: Callable[[ModelSpec, Any], tuple[int, ...]] = lambda spec, options: ()

    @property
    def option_names(self) -> tuple[str, ...]:
        """Names of the family's own options."""
        return tuple(each.name for each in dataclasses.fields(self.options))

    def depths(self, limit: int, options: Any = None) -> tuple[int, ...]:
        """Return the valid depths up to a limit; they may depend on the options."""
        options = self.options() if options is None else options
        return tuple(d for d in range(1, limit + 1) if self.stages(ModelSpec(depth=d), options))


FAMILIES: dict[str, Family] = {}
"""All registered families by name."""


def register_family(name: str, family: Family) -> Family:
    """Add a family to the table, so that specs, studies and the command line know it by name.

    Args:
        name: One word. The command line calls a user-defined family MODULE:NAME, which imports the module first.
        family: The family.

    Raises:
        InputError: Another family has that name, or an option has the name of a field of `ModelSpec`.

    >>> register_family("resnet", FAMILIES["resnet"]).rule
    '6n+2 weighted layers'
    """
    taken = {each.name for each in dataclasses.fields(ModelSpec)} & set(family.option_names)
    if taken:
        raise InputError(f"family={name!r}: its option {min(taken)} is a field of ModelSpec; rename the option")
    known = FAMILIES.get(name)
    # A script that workers import again defines its family again.
    if known is not None and known is not family and known.backbone.__qualname__ != family.backbone.__qualname__:
        raise InputError(f"family={name!r}: another family has that name; choose another name")
    FAMILIES[name] = family
    return family


def family_named(name: str) -> Family:
    """Return a family by its name, or by MODULE:NAME, which imports the module that registers it.

    Raises:
        InputError: There is no such family or module; the nearest names are listed.

    >>> family_named("resnet").image
    ((32, 32, 3), 10)
    """
    module, _, short = name.rpartition(":")
    if module and short not in FAMILIES:
        if "" not in sys.path:  # the console command does not look into the working folder by itself
            sys.path.insert(0, "")
        try:
            importlib.import_module(module)
        except (ImportError, TypeError) as error:  # TypeError: a relative name
            raise InputError(f"family={name!r}: cannot import {module} ({error}); check its name and path") from error
    if short not in FAMILIES:
        raise InputError(f"family={name!r}: unknown; {nearest(short, FAMILIES)}")
    return FAMILIES[short]


def complete(spec: ModelSpec) -> tuple[ModelSpec, Family, Any]:
    """Fill the open fields of a spec from its family, and check it.

    Returns:
        The spec with stage_sizes and stage_widths set and num_classes as it was; its family; its options.

    Raises:
        InputError: An unknown family or option, a value out of range, or a depth that the family does not have.
    """
    family = family_named(spec.family)
    options = read_options(spec, family)
    for name in ("depth", "width", "num_classes"):
        check_count(name, getattr(spec, name))
    sizes = spec.stage_sizes or _depth_to_stages(spec, family, options)
    if any(size < 1 for size in sizes):
        raise InputError(f"stage_sizes={sizes}: every stage needs at least one block; leave empty stages out")
    if (depth := family.depth_of(spec, options, tuple(sizes))) != spec.depth:
        raise InputError(
            f"depth={spec.depth}: stage_sizes={sizes} make {depth} weighted layers in {spec.family}; "
            f"set depth={depth} or leave stage_sizes out"
        )
    widths = spec.stage_widths or family.widths(spec, options, len(sizes))
    if len(widths) != len(sizes) or any(width < 1 for width in widths):
        raise InputError(f"stage_widths={widths}: give {len(sizes)} widths of at least 1, one per stage of {sizes}")
    return dataclasses.replace(spec, stage_sizes=tuple(sizes), stage_widths=tuple(widths)), family, options


def read_options(spec: ModelSpec, family: Family) -> Any:
    """Return the options of a spec as the dataclass of its family and, if it names one, its head.

    Raises:
        InputError: There is no such head or option, or the value is not one of its type.
    """
    kind = joined_options(family.options, spec.head)
    known = [each.name for each in dataclasses.fields(kind)]
    for name, value in spec.options.items():
        if name not in known:
            which = f"family {spec.family} has" if spec.head is None else f"{spec.family} with head {spec.head} has"
            raise InputError(
                f"{name}={value!r}: the {which} no such option; leave it out (it has {', '.join(known) or 'none'})"
            )
    options = from_record(kind, spec.options, f"options of {spec.family}", "give a value of its type")
    check_choices(options)
    for name, value in vars(options).items():
        if name in ("dropout", "stochastic_depth", "head_dropout") and not 0.0 <= value < 1.0:
            raise InputError(f"{name}={value}: must be at least 0 and below 1")
        if name in ("dense", "kernel", "head_width"):
            check_count(name, value)
    return options


def check_count(name: str, value: int | None) -> None:
    """Refuse what is no positive integer of reasonable size; None passes."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST):
        raise InputError(f"{name}={value!r}: give an integer from 1 to {LARGEST:,}")


def spread(count: int, stages: int, order: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """Spread blocks over stages evenly; the rest goes one each to `order`, by default the last stages."""
    order = tuple(range(stages))[::-1] if order is None else order
    rest = order[: count % stages]
    return tuple(count // stages + (stage in rest) for stage in range(stages))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the five names closest to an unknown one, as the end of an error message."""
    return f"the nearest are {', '.join(difflib.get_close_matches(name, list(known), n=5, cutoff=0.0))}"


def _depth_to_stages(spec: ModelSpec, family: Family, options: Any) -> tuple[int, ...]:
    if sizes := family.stages(spec, options):
        return sizes
    valid = family.depths(2 * spec.depth + 60, options)
    around = [d for d in valid if d < spec.depth][-1:] + [d for d in valid if d > spec.depth][:1]
    raise InputError(
        f"depth={spec.depth}: {spec.family} needs {family.rule}; nearest {'are' if len(around) > 1 else 'is'} "
        f"{' and '.join(map(str, around))}"
    )
