"""Predictions drawn on the picture that they were made for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.analysis.scores.instance_masks import instance_map
from jaxcnn.pictures.predictions import draw_boxes, draw_classes, draw_instances

if TYPE_CHECKING:
    from PIL.Image import Image


def draw_prediction(
    image: Path | bytes | np.ndarray, prediction: Mapping[str, Any], *, legend: bool = True
) -> Image | None:
    """Return the picture of an image file with its prediction, under it a legend; None if there is nothing to draw.

    Args:
        image: The image file: its path or its bytes; or its pixels, uint8 (H, W, 3).
        prediction: What `jaxcnn.run.predict` returned for it; drawn are `mask`, or `boxes` and `masks` with a score of
            a half and more; `classes` are the names.
        legend: False: no legend, so that the picture has the size of the image; boxes have their names beside them.

    >>> draw_prediction("photo.png", predict("runs/first", ["photo.png"])[0]).save("drawn.png")  # doctest: +SKIP
    """
    from jaxcnn.data import decode_image

    if not {"boxes", "mask"} & {*prediction}:
        return None
    picture = image if isinstance(image, np.ndarray) else decode_image(image, 3)
    if "boxes" in prediction:
        boxes, labels, names, scores = (prediction[name] for name in ("boxes", "labels", "classes", "scores"))
        if "masks" in prediction:
            picture = draw_instances(picture, instance_map(prediction["masks"], scores))
        return draw_boxes(picture, boxes, labels, names, scores, legend=legend, named=not legend)
    return draw_classes(picture, prediction["mask"], prediction["classes"], legend=legend)
