"""What a head is that stands in place of a family's own, the table of all heads, and the options of family and head."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from flax import linen as nn

from jaxcnn.errors import InputError, did_you_mean
from jaxcnn.spec import MODEL_TASKS, ModelSpec, TaskConfig


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """Options of a family or head that has none."""


class Head(NamedTuple):
    """A head that any family's backbone can have: `ModelSpec(head=NAME)`.

    Args:
        module: (spec, options) to module (maps, train, mask) -> outputs; maps are those of the backbone, one per
            stride, the finest first. If its call has an argument `size`, it gets the images' (height, width).
        task: Config class of the task that the outputs are made for: a run with this head has it by default.
        options: Frozen dataclass of the head's own options, all with defaults; names differ from those of the families.
        classes: Number of classes that `jaxcnn models` shows. Default: that of the family.
    """

    module: Callable[[ModelSpec, Any], nn.Module]
    task: type[TaskConfig]
    options: type[Any] = NoOptions
    classes: int | None = None


HEADS: dict[str, Head] = {}
"""All registered heads by name."""


def register_head(name: str, head: Head) -> Head:
    """Add a head to the table, so that specs, studies and the command line know it by name.

    Raises:
        InputError: Another head has that name, or an option has the name of a field of `ModelSpec`.

    >>> register_head("fcn", HEADS["fcn"]).classes
    21
    """
    taken = {each.name for each in dataclasses.fields(ModelSpec)} & {*vars(head.options())}
    if taken:
        raise InputError(f"head={name!r}: its option {min(taken)} is a field of ModelSpec; rename the option")
    known = HEADS.get(name)
    # A script that workers import again defines its head again.
    if known is not None and known is not head and known.module.__qualname__ != head.module.__qualname__:
        raise InputError(f"head={name!r}: another head has that name; choose another name")
    HEADS[name] = head
    MODEL_TASKS[name] = head.task
    return head


def head_named(name: str) -> Head:
    """Return a head by its name.

    Raises:
        InputError: There is no such head; all are listed.

    >>> head_named("fcn").task.kind
    'segmentation'
    """
    if name not in HEADS:
        near = did_you_mean(difflib.get_close_matches(name, HEADS, n=1))
        raise InputError(f"head={name!r}: unknown{near or '; choose ' + ' or '.join(sorted(HEADS))}")
    return HEADS[name]


def joined_options(family: type[Any], head: str | None) -> type[Any]:
    """Return the dataclass of the options of a family and of a head (None: the family's own).

    Raises:
        InputError: There is no such head, or both have an option of one name.
    """
    return family if head is None else _joined(family, head_named(head).options, head)


@lru_cache(maxsize=64)
def _joined(family: type[Any], options: type[Any], head: str) -> type[Any]:
    both = {each.name for each in dataclasses.fields(family)} & {each.name for each in dataclasses.fields(options)}
    if both:
        raise InputError(f"head={head!r}: the family has an option {min(both)}, too; choose another head or family")
    return dataclasses.make_dataclass(
        f"{family.__name__}And{options.__name__}", [], bases=(options, family), frozen=True
    )
