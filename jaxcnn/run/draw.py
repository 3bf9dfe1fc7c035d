"""Predictions drawn on the picture that they were made for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcnn.analysis.instance_masks import instance_map
from jaxcnn.pictures.predictions import draw_boxes, draw_classes, draw_instances

if TYPE_CHECKING:
    from PIL.Image import Image


def draw_prediction(image: Path | bytes, prediction: Mapping[str, Any]) -> Image | None:
    """Return the picture of an image file with its prediction, under it a legend; None if there is nothing to draw.

    Args:
        image: The image file: its path or its bytes.
        prediction: What `jaxcnn.run.predict` returned for it; drawn are `mask`, or `boxes` and `masks` with a score of
            a half and more; `classes` are the names.

    >>> draw_prediction("photo.png", predict("runs/first", ["photo.png"])[0]).save("drawn.png")  # doctest: +SKIP
    """
    from jaxcnn.data import decode_image

    if "boxes" in prediction:
        boxes, labels, names, scores = (prediction[name] for name in ("boxes", "labels", "classes", "scores"))
        picture = decode_image(image, 3)
        if "masks" in prediction:
            picture = draw_instances(picture, instance_map(prediction["masks"], scores))
        return draw_boxes(picture, boxes, labels, names, scores)
    if "mask" in prediction:
        return draw_classes(decode_image(image, 3), prediction["mask"], prediction["classes"])
    return None
