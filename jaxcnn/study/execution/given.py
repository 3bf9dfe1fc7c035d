"""What `run_study` gets beside its config: user-defined families, and parts of all runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

from jaxcnn.data.augment import Augment
from jaxcnn.errors import InputError, require
from jaxcnn.run.own_parts import Own, function_name
from jaxcnn.study.arm import Arm
from jaxcnn.study.budget.costs import Builder, family_name
from jaxcnn.study.plan import Plan
from jaxcnn.tasks import Task

MakeChain = Callable[[Any, Any], optax.GradientTransformation]
OnStudyStep = Callable[[str, dict[str, Any], Callable[[], Any]], None]


class Given(NamedTuple):
    """User-defined functions of a study; those of `run_study`, the families always a tuple."""

    families: tuple[Builder, ...] = ()
    task: Task | None = None
    tx: MakeChain | None = None
    augment: Augment | None = None
    variables: Callable[[Arm], Mapping[str, Any]] | None = None
    on_step: OnStudyStep | None = None

    def of(self, arm: Arm) -> Own:
        """Return the user-defined parts of an arm's runs."""
        makers = {family_name(each): each for each in self.families}
        module = makers[arm.family](arm.depth, arm.width) if arm.spec is None and arm.family in makers else None
        variables = None if self.variables is None else self.variables(arm)
        return Own(module, self.task, self.tx, self.augment, variables)

    @property
    def names(self) -> tuple[str, ...]:
        """What plan.json says of the parts beside the families."""
        parts = {"tx": self.tx, "augment": self.augment, "variables": self.variables}
        names = {} if self.task is None else {"task": self.task.name}
        names |= {name: function_name(part) for name, part in parts.items() if part is not None}
        return tuple(f"{name}={value}" for name, value in names.items())

    @property
    def functions(self) -> list[tuple[str, Callable[..., Any]]]:
        """All functions, with the name of the argument that gave them."""
        parts: list[tuple[str, Any]] = [("family", each) for each in self.families]
        parts += [("task", each) for each in self.task or () if callable(each)]
        parts += [(name, getattr(self, name)) for name in ("tx", "augment", "variables", "on_step")]
        return [(name, part) for name, part in parts if part is not None]

    def check(self, plan: Plan) -> None:
        """Refuse families that are not those of the arms, and parts that no study can have.

        Raises:
            InputError: The message names the argument.
        """
        given = tuple(map(family_name, self.families))
        needed = tuple(dict.fromkeys(arm.family for arm in plan.arms if arm.spec is None))
        if missing := [name for name in needed if name not in given]:
            remedy = f"the arms were solved for {missing[0]}" if given else f"the arms are of {missing[0]}"
            shown = given[0] if len(given) == 1 else given or None
            raise InputError(f"family={shown}: {remedy}; give that function{'' if given else ' as family='}")
        if other := [name for name in given if name not in needed]:
            raise InputError(
                f"family={other[0]}: the arms are of {plan.arms[0].family}, a family of jaxcnn; leave it out"
            )
        if len(given) > 1 and not plan.families:
            raise InputError(f"family={given}: give one arm of each of the two families at every budget, and no other")
        remedy = "give a function (learning_rate, weight_decay) -> optax chain: a study tunes both for every arm alike"
        fixed = isinstance(self.tx, optax.GradientTransformation)
        require(not fixed, "tx", type(self.tx).__name__, remedy)
        remedy = "give a function (arm) -> variables: every arm has a network of its own"
        require(self.variables is None or callable(self.variables), "variables", type(self.variables).__name__, remedy)


NOTHING = Given()


def importable(function: Any) -> bool:
    """Return whether a worker process can import a function: one at the top of a module or of a script's file."""
    if function is None:
        return True
    name, module = getattr(function, "__qualname__", ""), sys.modules.get(getattr(function, "__module__", ""))
    value: object = module
    for part in name.split("."):
        value = getattr(value, part, None)
    return value is function and (function.__module__ != "__main__" or hasattr(module, "__file__"))
