"""`jaxcnn predict`: the classes of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxcnn.cli.output import print_json
from jaxcnn.errors import InputError


def predict(
    run: Positional[Path],
    images: Positional[tuple[Path, ...]],
    top: int = 5,
    checkpoint: Literal["last", "best"] = "last",
    json: bool = False,
) -> None:
    """Classify image files of any size and mode.

    Args:
        run: Folder of the run.
        images: Image files.
        top: Number of classes to list.
        checkpoint: last, or best (lowest validation loss).
        json: Print JSON.
    """
    if not images:
        raise InputError("images: none given; name one or more files after the run")
    from jaxcnn.run import predict as predict_images

    predictions = predict_images(run, images, top=top, checkpoint=checkpoint)
    if json:
        print_json([{name: value for name, value in each.items() if name != "text"} for each in predictions])
        return
    for each in predictions:
        print(f"{each['path']}: {each['text']}")
