"""`jaxcnn models`: the named models, one model's layers, or one family's depths and options."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from typing import Annotated, Any

from tyro.conf import Positional, arg

from jaxcnn.cli.output import print_json, print_table
from jaxcnn.errors import InputError

LISTED_DEPTHS = 60
"""Largest depth that a family's page lists."""


def models(
    name: Annotated[Positional[str], arg(metavar="[NAME]", help_behavior_hint="(default: list all)")] = "",
    input: str | None = None,
    classes: int | None = None,
    json: bool = False,
) -> None:
    """List the models, or show one model's layers, one family's depths and options or one head's options.

    Layers come with output shape, parameters and MACs (1 MAC = 2 FLOPs).

    Args:
        name: A model (resnet20, wrn_16_8, vgg16), a family (resnet, lenet, or MODULE:NAME of a user-defined one) or a
            head (fcn).
        input: Image shape HxWxC, such as 32x32x3. Default: the one that the model was published for.
        classes: Number of classes. Default: the one that the model was published for.
        json: Print JSON.
    """
    from jaxcnn.models import FAMILIES, HEADS, NAMES

    heads = HEADS.keys() - NAMES.keys()  # a named model may have the name of its head
    for flag, value in (("--input", input), ("--classes", classes)):
        if value is not None and (not name or name in FAMILIES or name in heads or ":" in name):
            raise InputError(f"{flag}: needs the name of a model, such as resnet20, whose layers it changes")
    if not name:
        _list_models(json)
    elif name in FAMILIES or ":" in name:
        _show_family(name, json)
    elif name in heads:
        _show_head(name, json)
    else:
        _show_layers(name, input, classes, json)


def _list_models(as_json: bool) -> None:
    from jaxcnn.models import FAMILIES, HEADS, NAMES

    columns = ("name", "family", "depth", "width")
    rows = [(name, spec.family, spec.depth, spec.width) for name, spec in NAMES.items()]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table(rows, columns, "models")
    print("any other depth and width: --model.depth and --model.width of `jaxcnn train`; wrn_D_K for any D = 6n+4")
    print(f"families: {', '.join(FAMILIES)}; `jaxcnn models FAMILY` shows a family's depths and options")
    print(f"heads on any of them (--model.head): {', '.join(HEADS)}; `jaxcnn models HEAD` shows a head's options")


def _show_family(name: str, as_json: bool) -> None:
    from jaxcnn.models import family_named

    family = family_named(name)
    (height, width, channels), classes = family.image
    meanings = option_meanings(family.options)
    options = [
        {"name": option, "default": value, "meaning": meanings.get(option, "")}
        for option, value in vars(family.options()).items()
    ]
    depths = family.depths(LISTED_DEPTHS)
    if as_json:
        page = {"family": name, "rule": family.rule, "depths": depths, "input": (height, width, channels)}
        print_json({**page, "classes": classes, "options": options})
        return
    print(f"{name}: needs {family.rule}")
    print(f"depths: {', '.join(map(str, depths[:8]))}{', ...' if len(depths) > 8 else ''}")
    print(f"made for images of {height}x{width}x{channels} and {classes} classes")
    if options:
        rows = [(f"--model.{each['name'].replace('_', '-')}", each["default"], each["meaning"]) for each in options]
        print_table(rows, ("option", "default", "meaning"))
    else:
        print("no options of its own")


def _show_head(name: str, as_json: bool) -> None:
    from jaxcnn.models import head_named

    head = head_named(name)
    meanings = option_meanings(head.options)
    options = [
        {"name": option, "default": value, "meaning": meanings.get(option, "")}
        for option, value in vars(head.options()).items()
    ]
    if as_json:
        print_json({"head": name, "task": head.task.kind, "options": options})
        return
    print(f"{name}: a head for {head.task.kind}, on any family: --model.head {name}")
    rows = [(f"--model.{each['name'].replace('_', '-')}", each["default"], each["meaning"]) for each in options]
    print_table(rows, ("option", "default", "meaning"))


def option_meanings(options: type[Any]) -> dict[str, str]:
    """Return the meaning of each option: the `Args:` of the docstrings of a dataclass and its parents."""
    meanings = {}
    for kind in reversed(options.__mro__):
        entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", inspect.cleandoc(kind.__doc__ or ""), re.MULTILINE)
        meanings |= {name: " ".join(text.split()) for name, text in entries}
    return meanings


def _show_layers(name: str, image: str | None, classes: int | None, as_json: bool) -> None:
    from jaxcnn.analysis.complexity import COLUMNS, count
    from jaxcnn.models import build, default_input, named

    shape, natural_classes = default_input(name)
    shape, classes = parse_shape(image) if image else shape, classes or natural_classes
    cost = count(build(replace(named(name), num_classes=classes)), shape)
    if as_json:
        print_json({"name": name, "input": shape, "classes": classes, **cost._asdict()})
        return
    title = f"{name} at {'x'.join(map(str, shape))}, {classes} classes"
    print_table(cost.rows, COLUMNS, title)


def parse_shape(text: str) -> tuple[int, int, int]:
    """Return the image shape that a text such as 32x32x3 gives.

    >>> parse_shape("32x32x3")
    (32, 32, 3)
    """
    match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if not match or 0 in map(int, match.groups()):
        raise InputError(f"input={text!r}: write height x width x channels, such as 32x32x3")
    height, width, channels = map(int, match.groups())
    return height, width, channels
