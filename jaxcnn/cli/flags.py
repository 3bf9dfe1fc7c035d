"""Flags of commands and scripts: a dataclass is parsed by tyro, with the options of its model families as flags."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from functools import partial, wraps
from typing import Annotated, Any, ClassVar, TypeVar, get_type_hints

import tyro

from jaxcnn.cli.messages import flags_for_fields, flags_of, parse_words
from jaxcnn.errors import InputError
from jaxcnn.spec import DEFAULT_RATES, ModelSpec, OptimizerConfig, RunConfig

Flags = TypeVar("Flags")
UNPREFIXED = tyro.conf.arg(name="")
"""Annotation of a field whose fields are flags without its name in front."""


@dataclass(frozen=True, kw_only=True)
class StartFlags:
    """Flags that `starting_point` reads before the others are parsed; they are here for the page of help.

    Args:
        model: Start from a named model; `jaxcnn models` lists them.
        data: A data set's name, an image folder or an .npz file; `jaxcnn data` lists the names.
    """

    common: ClassVar[tuple[str, ...]] = (
        "model", "data", "out", "quiet", "epochs", "batch-size", "seed", "model.family", "model.depth", "model.width",
        "model.head", "data.size", "data.train-size", "data.augment", "data.on-bad", "optimizer.name",
        "optimizer.learning-rate", "optimizer.weight-decay", "optimizer.schedule", "task.label-smoothing",
        "task.class-weights", "task.loss", "weights", "finetune.unfreeze-from",
    )  # fmt: skip
    """Flags that `--help` shows."""

    model: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: resnet, depth 8)")] = None
    data: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="(default: digits)")] = None


def call(function: Callable[..., object], arguments: Sequence[str], prog: str) -> None:
    """Call a function whose parameters are the flags; its errors name flags instead of parameters."""
    flags = flags_of(function)
    bound = wraps(function)(lambda *values, **named: partial(function, *values, **named))
    made = parse_words(bound, arguments, prog, flags)
    with flags_for_fields(flags):
        made()


def call_with_flags(
    function: Callable[[Flags], object], default: Flags, arguments: Sequence[str], prog: str | None = None
) -> None:
    """Call a function of the dataclass that `parse` makes; its errors name flags instead of fields."""
    flags = flags_of(default)
    with flags_for_fields(flags):
        flags |= flags_of(_typed(default, arguments)[0])
        function(parse(default, arguments, prog))


def parse(default: Flags, arguments: Sequence[str], prog: str | None = None) -> Flags:
    """Parse flags into a dataclass.

    Each `ModelSpec` in it takes the options of its family as flags: `--model.skip False`, in full
    `--model.options.skip False`. Options with the family's defaults are left out of the result, as in Python. An
    optimizer that is named gets its own default learning rate.

    Raises:
        InputError: A wrong flag or value, an unknown family, or options in `default` that its family does not have.
        SystemExit: Help was requested.
    """
    start, words = _typed(default, arguments)
    parsed = parse_words(type(default), words, prog, flags_of(start), default=start)
    return _map(parsed, ModelSpec, lambda spec, _: _plain(spec))


def starting_point(arguments: Sequence[str]) -> tuple[RunConfig, list[str]]:
    """Return the run that `--model NAME` and `--data NAME` start from, and the other flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--model")
    parser.add_argument("--data")
    try:
        given, rest = parser.parse_known_args(arguments)
    except argparse.ArgumentError as error:
        kind = "models" if error.argument_name == "--model" else "data"
        raise InputError(f"{error.argument_name}: needs a name after it; `jaxcnn {kind}` lists them") from None
    config = RunConfig()
    if given.data is not None:
        config = replace(config, data=replace(config.data, name=given.data))
    if given.model is not None:
        from jaxcnn.models import named

        try:
            config = replace(config, model=named(given.model))
        except InputError as error:
            raise InputError(str(error).replace(f"name={given.model!r}", f"--model {given.model}", 1)) from None
    return config, rest


def ignored_flags(config: RunConfig) -> dict[str, str]:
    """Return the flags that change nothing in a run of these settings, and what each needs."""
    optimizer, data = config.optimizer, config.data
    rules = (
        (
            data.name.startswith(("glyph", "lines:")),
            "--data glyphs, glyph_scenes, glyph_masks or lines:NAME",
            ("data.images", "data.data-seed"),
        ),
        (
            data.name.removeprefix("lines:").startswith("glyph"),
            "--data glyphs, glyph_scenes or glyph_masks",
            ("data.classes",),
        ),
        (data.stream, "--data.stream", ("data.workers",)),
        (config.weights is not None, "--weights", ("finetune.unfreeze-from", "finetune.trunk-scale")),
        (optimizer.schedule == "step", "--optimizer.schedule step", ("optimizer.milestones", "optimizer.factor")),
        (optimizer.name != "adam", "--optimizer.name sgd or muon", ("optimizer.momentum", "optimizer.nesterov")),
        (optimizer.name == "muon", "--optimizer.name muon", ("optimizer.rest-scale",)),
    )
    return {flag: f"needs {what}" for holds, what, flags in rules if not holds for flag in flags}


def _map(value: Any, kind: type[Any], change: Callable[[Any, str], Any], prefix: str = "--") -> Any:
    """Return a dataclass with `change(item, prefix of its flags)` in place of every item of a kind in it."""
    if isinstance(value, kind):
        return change(value, prefix)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    hints, changed = get_type_hints(type(value), include_extras=True), {}
    for name in (each.name for each in fields(value)):
        own = "" if UNPREFIXED in getattr(hints[name], "__metadata__", ()) else name.replace("_", "-") + "."
        item = _map(getattr(value, name), kind, change, prefix + own)
        if item is not getattr(value, name):
            changed[name] = item
    return replace(value, **changed) if changed else value


def _typed(default: Flags, arguments: Sequence[str]) -> tuple[Flags, list[str]]:
    """Return a dataclass with typed options and the rates of named optimizers, and the flags with short names."""
    prefixes = []

    def typed(spec: ModelSpec, prefix: str) -> ModelSpec:
        prefixes.append(prefix)
        head = _last_value(arguments, prefix + "head")
        head = spec.head if head is None else None if head == "None" else head
        return _with_typed_options(spec, _last_value(arguments, prefix + "family") or spec.family, head)

    def rated(config: OptimizerConfig, prefix: str) -> OptimizerConfig:
        name = _last_value(arguments, prefix + "name")
        if name is None or name not in DEFAULT_RATES or name == config.name:
            return config
        return replace(config, name=name, learning_rate=DEFAULT_RATES[name])

    start, words = _map(_map(default, ModelSpec, typed), OptimizerConfig, rated), list(arguments)
    for prefix in prefixes:
        full = prefix + "options."
        words = [prefix + word[len(full) :] if word.replace("_", "-").startswith(full) else word for word in words]
    return start, words


def _last_value(arguments: Sequence[str], name: str) -> str | None:
    """Return the value that the arguments give to a flag; the last one counts."""
    value = None
    for word, following in zip(arguments, [*arguments[1:], None], strict=False):
        flag, equals, rest = word.partition("=")
        if flag.replace("_", "-") == name:
            value = rest if equals else following
    return value


def _with_typed_options(spec: ModelSpec, name: str, head: str | None) -> ModelSpec:
    """Return a spec of a subclass whose options are the dataclass of a family and head, for tyro to show and parse."""
    from jaxcnn.models.family import family_named, read_options
    from jaxcnn.models.head import joined_options

    family = family_named(name)
    kind = joined_options(family.options, head)
    # Another family than the spec's starts from its own defaults; another head keeps the family's options.
    kept = {n: value for n, value in spec.options.items() if head == spec.head or hasattr(family.options(), n)}
    options = read_options(replace(spec, head=head, options=kept), family) if name == spec.family else kind()
    hint = Annotated[tyro.conf.FlagConversionOff[kind], UNPREFIXED]
    field_of_options = ("options", hint, field(default_factory=kind))
    namespace = {"__doc__": ModelSpec.__doc__, "__post_init__": lambda self: None}
    typed = make_dataclass("ModelSpec", [field_of_options], bases=(ModelSpec,), frozen=True, namespace=namespace)
    return typed(**{**vars(spec), "family": name, "head": head, "options": options})


def _plain(spec: ModelSpec) -> ModelSpec:
    default = vars(type(spec.options)())
    options = {name: value for name, value in vars(spec.options).items() if value != default[name]}
    return ModelSpec(**{**vars(spec), "options": options})
