"""Masks, boxes and instances: scores by class, and predictions drawn beside the truth."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxcnn.analysis.scores.instance_masks import SURE, found_masks, instance_map
from jaxcnn.pictures.document import Heading, Table
from jaxcnn.pictures.gallery import Row, gallery, spread
from jaxcnn.pictures.predictions import class_colours, draw_boxes, draw_instances, draw_mask
from jaxcnn.pictures.style import Part, Picture
from jaxcnn.pictures.tiles import photo
from jaxcnn.run.report.seen import Seen
from jaxcnn.run.report.summary import number, words

SHOWN = 6
"""Images that are drawn."""
READABLE = 240
"""Pixels of the longer side of an image with boxes, about."""


def object_section(seen: Seen) -> Iterator[Part]:
    """Yield a table of scores by class, and some test images with truth and prediction."""
    if seen.task not in ("segmentation", "detection", "instances", "localization") or not seen.result.predictions:
        return
    by_class = {name: values for name, values in seen.result.details.items()
                if name.startswith("class_") and len(values) == len(seen.names)}  # fmt: skip
    yield Heading("Classes" if by_class else "Predictions")
    if by_class:
        columns = [[f"{value:.0f}" if name == "class_objects" else number(value) for value in values]
                   for name, values in by_class.items()]  # fmt: skip
        rows = [[name, *values] for name, *values in zip(seen.names, *columns, strict=True)]
        heads = [words(name.removeprefix("class_")) for name in by_class]
        yield Table(("class", *heads), rows, "Test scores by class")
    if seen.split is None:
        return
    draw = {"segmentation": _masks, "instances": _instances}.get(seen.task, _boxes)
    rows, caption = draw(seen)
    yield Picture("predictions", gallery(rows, columns=2 if draw is _boxes else 3), caption)


def _masks(seen: Seen) -> tuple[list[Row], str]:
    saved, split, colours, rows = seen.result.predictions, seen.split, class_colours(len(seen.names)), []
    assert split is not None
    hits, unions = (saved[name].astype(float) for name in ("intersections", "unions"))
    present = np.maximum((unions > 0).sum(axis=1), 1)
    iou = np.divide(hits, unions, out=np.zeros_like(hits), where=unions > 0).sum(axis=1) / present
    order = np.argsort(iou, kind="stable")
    for n in order[spread(len(order), SHOWN)]:
        image = photo(split["images"][n])
        drawn = [draw_mask(image, np.asarray(saved[name][n]), colours) for name in ("labels", "predictions")]
        rows.append(Row([image, *drawn], f"mean IoU {iou[n]:.3f}"))
    legend = ", ".join(f"{name} {_hue(colour)}" for name, colour in zip(seen.names[:8], colours, strict=False))
    return rows, f"From the worst to the best test image: image, true mask, predicted mask. Colours: {legend}."


def _instances(seen: Seen) -> tuple[list[Row], str]:
    saved, split, rows = seen.result.predictions, seen.split, []
    assert split is not None
    for n in spread(len(saved["instances"]), SHOWN):
        image, truth = photo(split["images"][n]), saved["instances"][n]
        found = instance_map(found_masks(saved, n, (truth.shape[0], truth.shape[1])), saved["found_scores"][n])
        rows.append(Row([image, draw_instances(image, truth), draw_instances(image, found)]))
    return rows, f"Test images, true instances, and those found with a score of at least {SURE}."


def _boxes(seen: Seen) -> tuple[list[Row], str]:
    saved, split, rows = seen.result.predictions, seen.split, []
    assert split is not None
    count = len(saved["found_boxes"])
    for n in spread(count, SHOWN):
        image = photo(split["images"][n])
        scale = max(1, READABLE // max(image.shape))  # so that scores can be read
        image = image.repeat(scale, axis=0).repeat(scale, axis=1)
        sides, pair = np.tile(image.shape[:2], 2), []
        for boxes, labels, scores in (("boxes", "labels", None), ("found_boxes", "found_labels", "found_scores")):
            if labels not in saved:  # one object per image
                labels, scores = "predictions", "scores"
            where, named = (np.asarray(saved[name][n]) for name in (boxes, labels))
            where, named = where.reshape(-1, 4), named.reshape(-1)
            real = named >= 0
            values = None if scores is None else np.asarray(saved[scores][n]).reshape(-1)[real]
            drawn = draw_boxes(image, where[real] * sides, named[real], seen.names, values, legend=False)
            pair.append(np.asarray(drawn))
        rows.append(Row(pair))
    legend = ", ".join(f"{n} {_hue(c)}" for n, c in zip(seen.names[:8], class_colours(len(seen.names)), strict=False))
    return (
        rows,
        f"Test images with their true boxes (left) and the predicted ones of a score above 0.5. Colours: {legend}.",
    )


def _hue(colour: np.ndarray) -> str:
    """Return the plain name that is nearest to a colour."""
    import colorsys

    hue = 360 * colorsys.rgb_to_hsv(*(colour / 255).tolist())[0]
    names = ((15, "red"), (45, "orange"), (70, "yellow"), (160, "green"), (200, "cyan"), (260, "blue"), (300, "violet"))
    return next((name for end, name in names if hue < end), "pink" if hue < 345 else "red")
