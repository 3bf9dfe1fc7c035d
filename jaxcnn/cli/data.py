"""`jaxcnn data`: list, describe and prepare data sets; `jaxcnn data check` has a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

import tyro

from jaxcnn.cli.flags import UNPREFIXED
from jaxcnn.cli.output import print_json, print_table
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig


def data(arguments: Sequence[str]) -> None:
    """List, describe, check or prepare data sets."""
    command = arguments[0] if arguments and arguments[0] in ("check", "prepare") else ""
    words, prog = list(arguments[1:] if command else arguments), f"jaxcnn data {command}".strip()
    if command == "prepare":
        tyro.cli(prepare, args=words, prog=prog)
        return
    name = words.pop(0) if words and not words[0].startswith("-") else None
    config = DataConfig(name or DataConfig.name)
    if command == "check":
        from jaxcnn.cli.data_check import check

        if name is None and not any(word.split("=")[0] in ("--name", "-h", "--help") for word in words):
            raise InputError("name: `jaxcnn data check` needs a data set; give an image folder, an .npz file or a name")
        tyro.cli(partial(check, config=config), args=words, prog=f"{prog} {name or 'NAME'}")
    elif name is None:
        tyro.cli(list_data, args=words, prog=prog)
    else:
        tyro.cli(partial(describe, config=config), args=words, prog=f"{prog} {name}")


def list_data(data_dir: str | None = None, json: bool = False) -> None:
    """List the data sets; `jaxcnn data NAME` describes one.

    Args:
        data_dir: Folder of TFDS sets. Default: $TFDS_DATA_DIR, then ~/tensorflow_datasets.
        json: Print JSON.
    """
    from jaxcnn.data import names

    known = names(data_dir)
    if json:
        print_json(known)
        return
    print_table(known, known[0]._fields, "data sets")
    print(
        "also: the path of an image folder (root/class/*.png) or of an .npz file; `jaxcnn data check NAME`, "
        "`jaxcnn data prepare NAME`"
    )


def describe(config: Annotated[DataConfig, UNPREFIXED], json: bool = False) -> None:
    """Describe a data set.

    Args:
        config: The data set.
        json: Print JSON.
    """
    from jaxcnn.data import info

    facts = info(config, progress=not json)
    if json:
        print_json(facts)
    else:
        print_table(facts.items(), title=config.name)


def prepare(name: tyro.conf.Positional[str], data_dir: str | None = None, mirror: str | None = None) -> None:
    """Download a TFDS set and prepare it in array_record form, with or without TensorFlow installed.

    Args:
        name: A TFDS name, such as mnist or emnist/letters.
        data_dir: Folder to put it in. Default: $TFDS_DATA_DIR, then ~/tensorflow_datasets.
        mirror: URL prefix from which files are fetched by name. Default: their original hosts.
    """
    from jaxcnn.data import prepare as prepare_data

    print(f"{name} prepared in {prepare_data(name, data_dir=data_dir, mirror=mirror)}")
