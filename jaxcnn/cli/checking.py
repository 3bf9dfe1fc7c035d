"""`jaxcnn data check`: one report on a data set, and an exit code that says whether it can be used."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig, as_record

if TYPE_CHECKING:
    from jaxcnn.data.check.findings import Inspection

EXIT_CODES = {"usable": 0, "flawed": 1, "unusable": 2}

HEADINGS = {
    "bad": "refused; --on-bad skip leaves them out",
    "fatal": "refused",
    "flaw": "usable, but results would mislead",
    "note": "noted",
}


@dataclass(frozen=True)
class CheckFlags:
    """Read every image of a data set and report what is wrong with it.

    Exit code 0: it can be used as it is. 1: only with --on-bad skip, or its splits share images. 2: it cannot be used.

    Args:
        config: What to check.
        json: Print JSON.
    """

    config: Annotated[DataConfig, tyro.conf.arg(name="")]
    json: bool = False


def check(arguments: Sequence[str]) -> None:
    """Check one data set: an image folder, an .npz file, a TFDS set or an embedded one."""
    words = list(arguments)
    name = words.pop(0) if words and not words[0].startswith("-") else None
    start = CheckFlags(DataConfig(name=name or DataConfig.name))
    flags = tyro.cli(CheckFlags, args=words, prog=f"jaxcnn data check {name or 'NAME'}", default=start)
    if name is None and not any(word.split("=")[0] == "--name" for word in words):
        raise InputError("name: `jaxcnn data check` needs a data set; give an image folder, an .npz file or a name")
    from jaxcnn.data.check.inspection import inspect

    try:
        found = inspect(flags.config, progress=not flags.json)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; nothing was written") from None
    text = json.dumps(as_record(found)) if flags.json else "\n".join(lines(found))
    # Class names may hold what this terminal's encoding cannot show.
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
    if found.verdict == "unusable":
        raise InputError(found.problems[0])
    if code := EXIT_CODES[found.verdict]:
        sys.exit(code)


def lines(found: Inspection) -> Iterator[str]:
    """The report as lines of plain text: what there is, what was found by weight, and the verdict last."""
    from jaxcnn.data.check.findings import KINDS
    from jaxcnn.data.problems import printable

    yield f"{printable(found.name)}: {found.images:,} images in {len(found.class_names)} classes"
    if found.decoded < found.images:
        yield f"  {found.images - found.decoded:,} of them cannot be decoded"
    yield from _sizes(found.image_sizes, found.distinct_sizes)
    for split, counts in found.splits.items() if found.class_names else ():
        spread = f"{min(counts):,}" if min(counts) == max(counts) else f"{min(counts):,} to {max(counts):,}"
        yield f"  {split:<10} {sum(counts):>9,} images, {spread} a class"
    if found.balance is not None:
        yield f"  largest class of the training images / smallest: {found.balance:g}"
    for weight, heading in HEADINGS.items():
        kinds = [kind for kind in found.findings if kind in KINDS[weight]]
        if kinds:
            yield f"{heading}:"
        for kind in kinds:
            count, names = found.findings[kind].count, found.findings[kind].names
            yield f"  {count:>6,} {KINDS[weight][kind]}"
            yield from (f"           {name}" for name in names)
            if count > len(names):
                yield f"           and {count - len(names):,} more"
    if found.problems:
        yield "cannot be used:"
        yield from (f"  {problem}" for problem in found.problems)
    else:
        yield _verdict(found)


def _sizes(sizes: Mapping[str, int], distinct: int) -> Iterator[str]:
    if sizes:
        more = f" and {distinct - len(sizes):,} other sizes" if distinct > len(sizes) else ""
        listed = ", ".join(f"{size} ({count:,})" for size, count in sizes.items())
        yield f"  height x width: {listed}{more}"


def _verdict(found: Inspection) -> str:
    if found.verdict == "usable":
        return "usable as it is"
    from jaxcnn.data.check.findings import KINDS

    weights = {weight for weight, kinds in KINDS.items() if kinds.keys() & found.findings.keys()}
    advice = []
    if "bad" in weights:
        advice.append("mend or remove the files that are refused, or use --on-bad skip")
    if "flaw" in weights:
        advice.append("mend what would mislead, such as by removing an image from all splits but one")
    return f"not usable as it is: {'; '.join(advice)}"
