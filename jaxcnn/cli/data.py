"""`jaxcnn data`: list, describe, check and prepare data sets."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxcnn.cli.flags import UNPREFIXED, call
from jaxcnn.cli.output import print_json, print_table
from jaxcnn.errors import InputError, printable
from jaxcnn.spec import DataConfig

if TYPE_CHECKING:
    from jaxcnn.data import Inspection

HEADINGS = {
    "bad": "refused; --on-bad skip leaves them out",
    "fatal": "refused",
    "flaw": "usable, but results would mislead",
    "note": "noted",
}
ADVICE = {
    "bad": "repair or remove the files that are refused, or use --on-bad skip",
    "flaw": "repair what would mislead, such as by removing an image from all splits but one",
}


@dataclass(frozen=True)
class NamedData(DataConfig):
    """A data set whose name is no flag."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")] = field()

    @property
    def config(self) -> DataConfig:
        """The data set as its config."""
        return DataConfig(**vars(self))


def data(arguments: Sequence[str]) -> None:
    """List, describe, check or prepare data sets."""
    first = arguments[0] if arguments else ""
    if first in ("check", "prepare"):
        call(check if first == "check" else prepare, arguments[1:], f"jaxcnn data {first}")
    else:
        call(list_data if first[:1] in ("", "-") else describe, arguments, "jaxcnn data")


def list_data(data_dir: str | None = None, json: bool = False) -> None:
    """List the data sets.

    `jaxcnn data NAME` describes one, `jaxcnn data check NAME` looks for problems in one, and `jaxcnn data prepare NAME`
    downloads one of TensorFlow Datasets. Each has a page of help of its own.

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
        "also: the path of an image folder (root/class/*.png), of an .npz file, or of a .csv file of labels; "
        "`jaxcnn data check NAME`, `jaxcnn data prepare NAME`"
    )


def describe(data: Annotated[NamedData, UNPREFIXED], json: bool = False) -> None:
    """Describe a data set.

    Args:
        data: The data set.
        json: Print JSON.
    """
    from jaxcnn.data import info

    facts = info(data.config, progress=not json)
    if json:
        print_json(facts)
    else:
        print_table(facts.items(), title=data.name)


def check(data: Annotated[NamedData, UNPREFIXED], json: bool = False) -> None:
    """Read every image of a data set and report what is wrong with it.

    Exit code 0: it can be used as it is. 1: only with --on-bad skip, or its splits share images. 2: it cannot be used.

    Args:
        data: The data set.
        json: Print JSON.
    """
    from jaxcnn.data import inspect

    report = inspect(data.config, progress=not json)
    if json:
        print_json(report)
    else:
        print("\n".join(lines(report)))
    if report.verdict == "unusable":
        raise InputError(report.problems[0])
    sys.exit(1 if report.verdict == "flawed" else 0)


def lines(report: Inspection) -> Iterator[str]:
    """Yield a report as lines of text: the content, the problems by weight, the verdict."""
    from jaxcnn.data.check import KINDS
    from jaxcnn.data.dataset import class_counts

    masks, boxes = report.target == "mask", report.target == "boxes"
    per_class = "with each class" if masks else "boxes a class" if boxes else "a class"
    kind = "images with masks of" if masks else "images with boxes of" if boxes else "images in"
    yield f"{printable(report.name)}: {report.images:,} {kind} {len(report.class_names)} classes"
    if report.decoded < report.images:
        yield f"  {report.images - report.decoded:,} of them cannot be {'used' if masks or boxes else 'decoded'}"
    if sizes := [f"{size} ({count:,})" for size, count in report.image_sizes.items()]:
        others = report.distinct_sizes - len(sizes)
        yield f"  height x width: {', '.join(sizes)}{f' and {others:,} other sizes' if others else ''}"
    for split, counts in report.splits.items() if report.class_names else ():
        spread = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
        yield f"  {split:<10} {report.sizes[split]:>9,} images, {spread} {per_class}"
    if report.class_names and report.splits:
        totals = [sum(counts) for counts in zip(*report.splits.values(), strict=True)]
        yield f"  classes: {class_counts(report.class_names, totals)}"
    if report.balance is not None:
        yield f"  largest class of the training images / smallest: {report.balance:g}"
    weights = []
    for weight, heading in HEADINGS.items():
        kinds = [kind for kind in KINDS[weight] if kind in report.findings]
        if kinds:
            weights.append(weight)
            yield f"{heading}:"
        for kind in kinds:
            count, names = report.findings[kind].count, report.findings[kind].names
            yield f"  {count:>6,} {KINDS[weight][kind]}"
            yield from (f"           {name}" for name in names)
            if count > len(names):
                yield f"           and {count - len(names):,} more"
    if report.problems:
        yield "cannot be used:"
        yield from (f"  {problem}" for problem in report.problems)
    elif report.verdict == "usable":
        yield "usable as it is"
    else:
        yield f"not usable as it is: {'; '.join(text for weight, text in ADVICE.items() if weight in weights)}"


def prepare(
    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="NAME")],
    data_dir: str | None = None,
    mirror: str | None = None,
) -> None:
    """Download a TFDS set and prepare it in array_record form, with or without TensorFlow installed.

    Args:
        name: A TFDS name, such as mnist or emnist/letters.
        data_dir: Folder to put it in. Default: $TFDS_DATA_DIR, then ~/tensorflow_datasets.
        mirror: URL prefix from which files are fetched by name. Default: their original hosts.
    """
    from jaxcnn.data import prepare as prepare_data

    print(f"{name} prepared in {prepare_data(name, data_dir=data_dir, mirror=mirror)}")
