"""`jaxcnn models`, `data` and `doctor`: what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import cache_dir
from jaxcnn.spec import DataConfig

# Files of these names in the working folder hide the package of that name from `python` started there.
SHADOWED = (
    "jax", "jaxlib", "flax", "optax", "orbax", "chex", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "rich", "tyro",
    "tensorflow", "tensorflow_datasets", "torch", "keras", "grain", "jaxcnn", "random", "statistics", "types", "typing",
    "json", "math", "time", "string", "queue", "copy", "enum", "dataclasses", "functools", "inspect", "signal",
)  # fmt: skip


@dataclass(frozen=True)
class ModelsFlags:
    """List the models, or one model's layers with output shape, parameters and MACs (1 MAC = 2 FLOPs).

    Args:
        name: A model, such as resnet20, wrn_16_8 or vgg16.
        input: Image shape HxWxC, such as 32x32x3; by default the one the model was published for.
        classes: Number of classes; by default likewise.
        json: Print JSON.
    """

    name: tyro.conf.Positional[str] = ""
    input: str | None = None
    classes: int | None = None
    json: bool = False


@dataclass(frozen=True)
class DataFlags:
    """List the data sets, or describe one.

    Args:
        config: What to describe.
        json: Print JSON.
    """

    config: Annotated[DataConfig, tyro.conf.arg(name="")]
    json: bool = False


@dataclass(frozen=True)
class PrepareFlags:
    """Download a TFDS set and prepare it in array_record form, with or without TensorFlow installed.

    Args:
        name: A TFDS name, such as mnist or emnist/letters.
        data_dir: Where to put it; by default $TFDS_DATA_DIR, then ~/tensorflow_datasets.
        mirror: URL prefix from which the files are fetched by name instead of from their original hosts.
    """

    name: tyro.conf.Positional[str]
    data_dir: str | None = None
    mirror: str | None = None


@dataclass(frozen=True)
class DoctorFlags:
    """Versions, devices, what is cached, and files here that shadow a package.

    Args:
        json: Print JSON.
    """

    json: bool = False


def models(arguments: Sequence[str]) -> None:
    """List models, or count one."""
    flags = tyro.cli(ModelsFlags, args=arguments, prog="jaxcnn models")
    from jaxcnn.models import NAMES, build, default_input, named

    if not flags.name:
        described = {name: named(name) for name in NAMES}
        rows = [(name, spec.family, spec.depth, spec.width) for name, spec in described.items()]
        if flags.json:
            print(json.dumps([dict(zip(("name", "family", "depth", "width"), row, strict=True)) for row in rows]))
            return
        _print_table("models", ("name", "family", "depth", "width"), rows)
        print("any other depth and width: --model.depth and --model.width of `jaxcnn train`; wrn_D_K for any D = 6n+4")
        return
    from dataclasses import replace

    from jaxcnn.analysis.complexity import count

    spec = named(flags.name)
    shape, classes = default_input(flags.name)
    shape = parse_shape(flags.input) if flags.input else shape
    classes = flags.classes or classes
    cost = count(build(replace(spec, num_classes=classes)), shape)
    layers = [layer._asdict() for layer in cost.layers]
    if flags.json:
        whole = {"name": flags.name, "input": list(shape), "classes": classes, "params": cost.params, "macs": cost.macs}
        print(json.dumps({**whole, "activations": cost.activations, "layers": layers}))
        return
    title = f"{flags.name} at {'x'.join(map(str, shape))}, {classes} classes"
    rows = [
        (x["path"], x["kind"], "x".join(map(str, x["output_shape"])), f"{x['params']:,}", f"{x['macs']:,}")
        for x in layers
    ]
    total = ("total", "", "", f"{cost.params:,}", f"{cost.macs:,}")
    _print_table(title, ("layer", "kind", "output", "parameters", "MACs"), [*rows, total])


def parse_shape(text: str) -> tuple[int, int, int]:
    """'32x32x3' -> (32, 32, 3)."""
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
    if not found or 0 in map(int, found.groups()):
        raise InputError(f"input={text!r}: write height x width x channels, such as 32x32x3")
    height, width, channels = map(int, found.groups())
    return height, width, channels


def data(arguments: Sequence[str]) -> None:
    """List, describe, check or prepare data sets."""
    words = list(arguments)
    if words[:1] == ["check"]:
        from jaxcnn.cli.checking import check

        check(words[1:])
        return
    if words[:1] == ["prepare"]:
        _prepare(words[1:])
        return
    name = words.pop(0) if words and not words[0].startswith("-") else None
    start = DataFlags(DataConfig(name=name or DataConfig.name))
    flags = tyro.cli(DataFlags, args=words, prog=f"jaxcnn data {name or '[NAME]'}", default=start)
    from jaxcnn.data import info, names

    if name is None:
        known = names(flags.config.data_dir)
        if flags.json:
            print(json.dumps([dict(entry._asdict()) for entry in known]))
        else:
            _print_table("data sets", tuple(known[0]._fields), [tuple(map(str, entry)) for entry in known])
            print(
                "also: the path of a folder of images (root/class/*.png) or of an .npz file; "
                "`jaxcnn data check NAME`, `jaxcnn data prepare NAME`"
            )
        return
    described = info(flags.config, progress=not flags.json)
    if flags.json:
        print(json.dumps(described))
    else:
        _print_table(flags.config.name, ("what", ""), [(key, _short(value)) for key, value in described.items()])


def _prepare(arguments: Sequence[str]) -> None:
    flags = tyro.cli(PrepareFlags, args=arguments, prog="jaxcnn data prepare")
    from jaxcnn.data import prepare

    print(f"{flags.name} prepared in {prepare(flags.name, data_dir=flags.data_dir, mirror=flags.mirror)}")


def doctor(arguments: Sequence[str]) -> None:
    """Print what this installation is made of; exit code 2 where a file shadows a package."""
    flags = tyro.cli(DoctorFlags, args=arguments, prog="jaxcnn doctor")
    shadows = shadowing(Path.cwd())
    from jaxcnn.runtime.environment import cores, processor, versions

    found: dict[str, Any] = {"versions": versions(), "processor": processor(), "cores": cores()}
    if not shadows:
        import jax

        found["devices"] = [f"{device.platform}: {device.device_kind}" for device in jax.devices()]
    folder = cache_dir()
    files = [file for file in folder.rglob("*") if file.is_file()] if folder.exists() else []
    found["cache"] = {
        "folder": str(folder),
        "files": len(files),
        "megabytes": sum(f.stat().st_size for f in files) // 10**6,
    }
    found["shadows"] = shadows
    if flags.json:
        print(json.dumps(found))
    else:
        rows = [
            (f"{key} {inner}", str(v))
            for key, value in found.items()
            if isinstance(value, dict)
            for inner, v in value.items()
        ]
        rows += [
            (key, _short(value)) for key, value in found.items() if not isinstance(value, dict) and key != "shadows"
        ]
        _print_table("doctor", ("what", ""), rows)
    if shadows:
        raise InputError(
            f"working folder: {', '.join(shadows)} hides the package of that name from Python started here; rename it"
        )


def shadowing(folder: Path) -> list[str]:
    """Files and packages in a folder that hide an installed package or a standard module."""
    found = []
    for name in SHADOWED:
        if (folder / f"{name}.py").is_file():
            found.append(f"{name}.py")
        # A checkout of jaxcnn itself holds a package of its own name, and means to.
        elif (folder / name / "__init__.py").is_file() and name != "jaxcnn":
            found.append(f"{name}/")
    return found


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 300 else text[:297] + "..."


def _print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right" if column in ("depth", "width", "parameters", "MACs") else "left")
    for row in rows:
        table.add_row(*map(str, row))
    Console().print(table)
