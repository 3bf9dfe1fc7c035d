"""`jaxcnn data check`: report the problems of a data set."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from jaxcnn.cli.flags import UNPREFIXED
from jaxcnn.cli.output import print_json
from jaxcnn.errors import InputError, printable
from jaxcnn.spec import DataConfig

if TYPE_CHECKING:
    from jaxcnn.data.check.findings import Inspection

EXIT_CODES = {"usable": 0, "flawed": 1, "unusable": 2}
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


def check(config: Annotated[DataConfig, UNPREFIXED], json: bool = False) -> None:
    """Read every image of a data set and report what is wrong with it.

    Exit code 0: it can be used as it is. 1: only with --on-bad skip, or its splits share images. 2: it cannot be used.

    Args:
        config: The data set.
        json: Print JSON.
    """
    from jaxcnn.data.check.inspection import inspect

    report = inspect(config, progress=not json)
    if json:
        print_json(report)
    else:
        print("\n".join(lines(report)))
    if report.verdict == "unusable":
        raise InputError(report.problems[0])
    sys.exit(EXIT_CODES[report.verdict])


def lines(report: Inspection) -> Iterator[str]:
    """Yield a report as lines of text: the content, the problems by weight, the verdict."""
    from jaxcnn.data.check.findings import KINDS

    yield f"{printable(report.name)}: {report.images:,} images in {len(report.class_names)} classes"
    if report.decoded < report.images:
        yield f"  {report.images - report.decoded:,} of them cannot be decoded"
    if sizes := [f"{size} ({count:,})" for size, count in report.image_sizes.items()]:
        others = report.distinct_sizes - len(sizes)
        yield f"  height x width: {', '.join(sizes)}{f' and {others:,} other sizes' if others else ''}"
    for split, counts in report.splits.items() if report.class_names else ():
        spread = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
        yield f"  {split:<10} {sum(counts):>9,} images, {spread} a class"
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
