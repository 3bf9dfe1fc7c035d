"""`jaxcnn read`: photographed lines of text as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxcnn.cli.output import print_json
from jaxcnn.errors import InputError


def read(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint="(required)")],
    checkpoint: Literal["last", "best"] = "last",
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Read image files that show one line of text each, photographed or scanned.

    Args:
        run: Folder of a run with the head reader.
        images: Image files.
        checkpoint: last, or best (lowest validation loss).
        out: Folder for the lines as the network saw them. Default: none are written.
        json: Print JSON.
    """
    if not images:
        raise InputError("IMAGE: none given; name one or more files after the run")
    from PIL import Image

    from jaxcnn.run.read import read_lines

    found = read_lines(run, images, checkpoint=checkpoint)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for number, each in enumerate(found, 1):
            Image.fromarray(each["seen"].squeeze()).save(out / f"{number:03}_{each['path'].stem}.png")
    if json:
        print_json([{name: each[name] for name in ("path", "line", "probabilities")} for each in found])
    for each in () if json else found:
        print(f"{each['path']}: {each['text']}")
