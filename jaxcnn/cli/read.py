"""`jaxcnn read`: photographed lines and pages of text as text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxcnn.cli.output import print_json
from jaxcnn.errors import InputError, require


def read(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    images: Annotated[Positional[tuple[Path, ...]], arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint="(required)")],
    checkpoint: Literal["last", "best"] = "last",
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Read image files, photographed or scanned: one line of text each, or pages of separate characters.

    Args:
        run: Folder of a run with the head reader, which reads lines, or of one that classifies characters, for pages.
        images: Image files.
        checkpoint: last, or best (lowest validation loss).
        out: Folder for the lines as the network saw them, or for the pages with a box around each character. Default:
            none are written.
        json: Print JSON.
    """
    if not images:
        raise InputError("IMAGE: none given; name one or more files after the run")
    from PIL import Image

    from jaxcnn.data import decode_image
    from jaxcnn.pictures.predictions import draw_boxes
    from jaxcnn.run.folder import RunFolder
    from jaxcnn.run.read import read_lines, read_pages

    files = [] if out is None else [out / f"{number:03}_{each.stem}.png" for number, each in enumerate(images, 1)]
    if out is not None:
        require(out.is_dir() or not out.exists(), "out", repr(str(out)), "it is a file; name a folder")
        there = [each.name for each in files if each.exists()]
        require(not there, "out", repr(str(out)), f"it has {'; '.join(there[:3])} already; choose another folder")
    pages = RunFolder(run).read_config()[0].task.kind == "classification"
    found = (read_pages if pages else read_lines)(run, images, checkpoint=checkpoint)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for file, each in zip(files, found, strict=True):
            if pages:
                drawn = draw_boxes(decode_image(each["path"], 3), each["boxes"], each["labels"], each["classes"])
            else:
                drawn = Image.fromarray(each["seen"].squeeze())
            drawn.save(file)
    if json:
        shown = ("path", "lines", "boxes") if pages else ("path", "line", "probabilities")
        print_json([{name: each[name] for name in shown} for each in found])
    for each in () if json else found:
        print(f"{each['path']}:{chr(10) if pages else ' '}{each['text'] or '(nothing was read)'}")
