"""`jaxcnn gallery`: add images of a name, and ask whom or what an image shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from jaxcnn.cli.output import print_json
from jaxcnn.errors import InputError


def gallery(
    action: Annotated[Positional[Literal["add", "who"]], arg(metavar="add|who")],
    words: Annotated[Positional[tuple[str, ...]], arg(metavar="[NAME] IMAGE [IMAGE ...]", help_behavior_hint="")],
    run: Path | None = None,
    file: Path = Path("gallery.npz"),
    json: bool = False,
) -> None:
    """Name images by a few examples: `gallery add NAME IMAGE...`, then `gallery who IMAGE...`.

    Args:
        action: add images of a name, or tell who an image shows.
        words: add: the name, then its images; who: images.
        run: Folder of the run whose vectors are compared (head embedding); the first add needs it, later calls only if
            it has moved.
        file: The gallery.
        json: Print JSON.
    """
    from jaxcnn.run.gallery import add_to_gallery, who

    if action == "add":
        if len(words) < 2:
            raise InputError("NAME IMAGE: give a name and one image of it or more")
        known = add_to_gallery(file, words[0], words[1:], run)
        entries = dict(zip(known.names, known.counts.tolist(), strict=True))
        if json:
            print_json(entries)
        else:
            print(f"{file}: {', '.join(f'{name} ({count})' for name, count in entries.items())}")
        return
    if not words:
        raise InputError("IMAGE: none given; name one or more files")
    found = who(file, words, run)
    if json:
        print_json([{name: value for name, value in each.items() if name != "text"} for each in found])
    for each in () if json else found:
        print(f"{each['path']}: {each['text']}")
