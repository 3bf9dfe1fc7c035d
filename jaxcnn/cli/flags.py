"""Flags of commands and scripts: a dataclass is parsed by tyro, with the options of its model families as flags."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields, is_dataclass, make_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import tyro

from jaxcnn.errors import InputError
from jaxcnn.spec import ModelSpec, RunConfig

if TYPE_CHECKING:
    from jaxcnn.models import Family

Flags = TypeVar("Flags")
SPEC_FIELDS = frozenset(each.name for each in fields(ModelSpec))
UNPREFIXED = tyro.conf.arg(name="")
"""Annotation of a field whose fields are flags without its name in front."""


def parse(default: Flags, arguments: Sequence[str], prog: str | None = None) -> Flags:
    """Parse flags into a dataclass.

    Every `ModelSpec` in it also takes the options of its family: `--model.options.skip False`, or `--model.skip False`
    for short. The options of the result are those that differ from the family's defaults.

    Args:
        default: What the flags change, field by field.
        arguments: The flags.
        prog: Name of the program in help and messages. Default: that of the process.

    Raises:
        InputError: An unknown family, or options in `default` that its family does not have.
        SystemExit: Help was requested, or a flag or its value is wrong.
    """
    specs: dict[str, Family] = {}

    def typed(spec: ModelSpec, prefix: str) -> ModelSpec:
        from jaxcnn.models import family_named

        name = _last_value(arguments, prefix + "family") or spec.family
        specs[prefix] = family_named(name)
        return _with_typed_options(spec, name, specs[prefix])

    start = _map_specs(default, typed)
    words = [_long_form(word, specs) for word in arguments]
    return _map_specs(tyro.cli(type(default), args=words, prog=prog, default=start), lambda spec, _: _plain(spec))


def starting_point(arguments: Sequence[str]) -> tuple[RunConfig, list[str]]:
    """Return the run that `--model NAME` and `--data NAME` start from, and the other flags."""
    config, rest = RunConfig(), []
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in ("--model", "--data"):
            rest.append(word)
            continue
        name = value if equals else next(words, None)
        if name is None or name.startswith("--"):
            kind = "models" if flag == "--model" else "data"
            raise InputError(f"{flag}: needs a name after it; `jaxcnn {kind}` lists them")
        if flag == "--data":
            config = replace(config, data=replace(config.data, name=name))
        else:
            from jaxcnn.models import named

            config = replace(config, model=named(name))
    return config, rest


def _map_specs(value: Any, change: Callable[[ModelSpec, str], ModelSpec], prefix: str = "--") -> Any:
    """Return a dataclass with `change(spec, prefix of its flags)` in place of every `ModelSpec` in it."""
    if isinstance(value, ModelSpec):
        return change(value, prefix)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    hints, changed = get_type_hints(type(value), include_extras=True), {}
    for name in (each.name for each in fields(value)):
        own = "" if UNPREFIXED in getattr(hints[name], "__metadata__", ()) else f"{name}."
        item = _map_specs(getattr(value, name), change, prefix + own)
        if item is not getattr(value, name):
            changed[name] = item
    return replace(value, **changed) if changed else value


def _last_value(arguments: Sequence[str], name: str) -> str | None:
    """Return the value that the arguments give to a flag; the last one counts."""
    value = None
    for word, following in zip(arguments, [*arguments[1:], None], strict=False):
        flag, equals, rest = word.partition("=")
        if flag.replace("-", "_") == name.replace("-", "_"):
            value = rest if equals else following
    return value


def _long_form(word: str, specs: Mapping[str, Family]) -> str:
    """Return `--model.options.skip` for `--model.skip`; other words as they are."""
    flag = word.partition("=")[0].replace("-", "_")
    for prefix, family in specs.items():
        start = prefix.replace("-", "_")
        name = flag.removeprefix(start)
        if flag.startswith(start) and name in family.option_names and name not in SPEC_FIELDS:
            return f"{prefix}options.{word[len(prefix) :]}"
    return word


def _with_typed_options(spec: ModelSpec, name: str, family: Family) -> ModelSpec:
    """Return the spec as one of a class whose options are the family's dataclass, which tyro shows and parses.

    Another family than the spec's starts from its own defaults.
    """
    from jaxcnn.models.family import read_options

    options = read_options(spec, family) if name == spec.family else family.options()
    text = tyro.conf.arg(help=f"Options of the family {name}; `--model.family` chooses another.")
    hint = Annotated[tyro.conf.FlagConversionOff[family.options], text]
    namespace = {"__doc__": ModelSpec.__doc__, "__post_init__": lambda self: None}
    own = ("options", hint, field(default_factory=family.options))
    kind = make_dataclass("ModelSpec", [own], bases=(ModelSpec,), frozen=True, namespace=namespace)
    return kind(**{**vars(spec), "family": name, "options": options})


def _plain(spec: ModelSpec) -> ModelSpec:
    """Return a parsed spec as a `ModelSpec`; options equal to the family's defaults are left out."""
    default = vars(type(spec.options)())
    options = {name: value for name, value in vars(spec.options).items() if value != default[name]}
    return ModelSpec(**{**vars(spec), "options": options})
