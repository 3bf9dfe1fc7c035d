"""What a page shows of one picture: text, a table, and pictures with the prediction drawn on them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.analysis.network.attribution import grad_cam
from jaxcnn.data import decode_image
from jaxcnn.data.decode import resize_array
from jaxcnn.data.photo import straighten_line
from jaxcnn.errors import InputError
from jaxcnn.pictures.tiles import overlay
from jaxcnn.run.draw import draw_prediction
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.predict import load_predictor
from jaxcnn.run.show import look_inside

TOP = 10  # rows of the table


def load_answer(directory: Path | str, *, checkpoint: str = "last") -> Callable[[bytes], dict[str, Any]]:
    """Load a run once; return the function from an image file's bytes to what a page shows of it.

    The function returns text, rows (pairs of a name and a share from 0 to 1) and pictures (pairs of a caption and a PNG
    as a data URL): Grad-CAM of a class, boxes, a mask, or the line as the network saw it. It raises BadImage for what
    is no image, and InputError for a picture without text on it.

    Args:
        directory: The run's folder.
        checkpoint: last, or best (lowest validation loss).

    Raises:
        InputError: No such run, no checkpoint, or vectors, which mean nothing without a gallery.

    >>> load_answer("runs/first")(Path("photo.png").read_bytes())["text"]  # doctest: +SKIP
    """
    task = RunFolder(Path(directory)).read_config()[0].task.kind
    if task == "embedding":
        raise InputError(f"run={str(directory)!r}: its task is embedding; use jaxcnn gallery")
    predict, inside = load_predictor(directory, checkpoint=checkpoint), look_inside(directory, checkpoint=checkpoint)
    height, width, channels = inside.shape
    cam = jax.jit(lambda images, target: grad_cam(inside.module, inside.variables, images, target))

    def answer(file: bytes) -> dict[str, Any]:
        if task == "reading":
            seen = straighten_line(decode_image(file, 3), (height, width)).repeat(channels, axis=2)
            (found,) = predict([seen], TOP)
            rows = list(zip(found["line"], found["probabilities"], strict=True))
            return _shown(found, rows, ("what the network saw", seen))
        image = decode_image(file, channels)
        (found,) = predict([image], TOP)
        if (drawn := draw_prediction(file, found)) is not None:
            objects = zip(found.get("labels", ()), found.get("scores", ()), strict=True)
            rows = found.get("areas") or [(found["classes"][label], float(score)) for label, score in objects][:TOP]
            return _shown(found, rows, ("prediction", np.asarray(drawn)))
        seen = resize_array(image, (height, width), inside.fit)
        pictures = [("what the network saw", seen)]
        try:
            target = jnp.asarray([inside.names.index(found["name"])])
            heat = np.asarray(cam(inside.inputs([seen]), target))[0]
            pictures.append((f"Grad-CAM: why {found['name']}", overlay(seen, heat)))
        except InputError:  # the network has no map
            pass
        return _shown(found, found["top"], *pictures)

    return answer


def _shown(found: dict[str, Any], rows: list[tuple[str, float]], *pictures: tuple[str, np.ndarray]) -> dict[str, Any]:
    text = found.get("name", found["text"])
    return {"text": text, "rows": rows, "pictures": [(caption, _png(pixels)) for caption, pixels in pictures]}


def _png(pixels: np.ndarray) -> str:
    """Return an image uint8 (H, W, 1 or 3) as a data URL."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
