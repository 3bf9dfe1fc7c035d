"""The error of a study by task, and what each test image contributes to it, from what is stored of each run.

A value of an image is such that their mean is the error of the run: 1 where a class is wrong, else 0; for 1 - mean IoU
and 1 - AP50, which are no means over images, by the infinitesimal jackknife (`iou_by_image`, `ap50_by_image`). So the
crossed variance over seeds and images holds for all of them.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.analysis.scores.coco_ap import Matches, ap50_by_image
from jaxcnn.analysis.scores.segmentation import iou_by_image
from jaxcnn.errors import InputError

Arrays = Mapping[str, np.ndarray]


class Measure(NamedTuple):
    """How the error of a run follows from its predictions.

    Arrays of a study's predictions.npz: those of `truth` are of the test images (N, ...), those of `runs` (runs, N,
    ...).
    """

    metric: str  #: Name of the run's metric of which the error is the complement: error = 1 - metric.
    text: str  #: The error in words; empty for the share of wrong images.
    truth: tuple[str, ...]
    runs: tuple[str, ...]
    #: (run result) -> its arrays of both kinds.
    gather: Callable[[Any], dict[str, np.ndarray]]
    #: (truth, arrays of one run) -> (N, K) contributions of each image to the error of each class; NaN: no such class.
    of_classes: Callable[[Arrays, Arrays], np.ndarray]
    #: (truth, arrays of one run) -> images, pixels or objects that the error counts.
    counted: Callable[[Arrays, Arrays], int]
    splits: tuple[str, ...] = ("train", "validation", "test")  #: Those of which runs have the metric.

    @property
    def counts_images(self) -> bool:
        """Whether the error is a share of images, each right or wrong."""
        return self.metric == "accuracy"

    def errors(self, arrays: Arrays, rows: list[int]) -> np.ndarray:
        """Return (rows, N) contributions of the images to the error of some runs: the mean of a row is its error."""
        if self.counts_images:
            return (arrays["predictions"][rows] != arrays["labels"]).astype(np.uint8)
        values = [np.nanmean(each, axis=1) for each in self._of_classes(arrays, rows)]
        return np.array(values).reshape(len(rows), -1)

    def class_errors(self, arrays: Arrays, rows: list[int], label: int) -> np.ndarray:
        """Return the contributions (rows, n) to the error of one class; none, n = 0, if a run has no error of it."""
        if self.counts_images:
            return self.errors(arrays, rows)[:, arrays["labels"] == label]
        values = np.array([each[:, label] for each in self._of_classes(arrays, rows)])
        return values if np.isfinite(values).all() else values[:, :0]

    def resolution(self, arrays: Arrays) -> float:
        """Return the step of the error, below which no spread is believed: one image, pixel or object of all."""
        return 1 / max(self.counted(arrays, {name: arrays[name][0] for name in self.runs}), 1)

    def _of_classes(self, arrays: Arrays, rows: list[int]) -> list[np.ndarray]:
        truth = {name: arrays[name] for name in self.truth}
        return [self.of_classes(truth, {name: arrays[name][row] for name in self.runs}) for row in rows]


def measure_of(kind: str) -> Measure:
    """Return the measure of a task by its kind.

    Raises:
        InputError: A study cannot compare networks of this task.

    >>> measure_of("segmentation").text
    '1 - mean IoU'
    """
    if kind not in MEASURES:
        if kind in ("localization", "embedding", "reading"):
            raise InputError(f"task={kind!r}: a study compares networks for {', '.join(MEASURES)}; choose such a model")
        return MEASURES["classification"]  # a user-defined task has its metrics
    return MEASURES[kind]


def _classes(result: Any) -> dict[str, np.ndarray]:
    kind = np.uint8 if len(result.data["class_names"]) <= 256 else np.uint16
    return {name: np.asarray(result.predictions[name]).astype(kind) for name in ("labels", "predictions")}


def _masks(result: Any) -> dict[str, np.ndarray]:
    return {name: result.predictions[name] for name in ("intersections", "unions")}


def _detections(result: Any) -> dict[str, np.ndarray]:
    from jaxcnn.analysis.scores.detections import detection_matches  # imports JAX, which a report does without

    saved, data = result.predictions, result.data
    shape = tuple(data["image_shape"])
    return _padded(detection_matches(saved, len(data["class_names"]), shape, result.config.data), saved)


def _instances(result: Any) -> dict[str, np.ndarray]:
    from jaxcnn.analysis.scores.instance_masks import instance_matches

    return _padded(instance_matches(result.predictions, len(result.data["class_names"])), result.predictions)


def _padded(matches: Matches, saved: Arrays) -> dict[str, np.ndarray]:
    """Return the matches at IoU 0.5, padded: labels (N, D), -1 for padding, scores, hits, and objects (N, K)."""
    images, most = saved["found_labels"].shape
    kept = ~matches.ignored[:, 0, 0]
    image = matches.image[kept]
    place = np.arange(len(image)) - np.searchsorted(image, image)  # rows are sorted by image
    arrays = {
        "found_labels": np.full((images, most), -1, np.int16),
        "found_scores": np.zeros((images, most), np.float32),
        "hits": np.zeros((images, most), bool),
    }
    columns = (matches.label, matches.score, matches.hit[:, 0, 0])
    for array, values in zip(arrays.values(), columns, strict=True):
        array[image, place] = values[kept]
    return {"objects": matches.objects[:, :, 0].astype(np.uint16), **arrays}


def _missed(truth: Arrays, run: Arrays) -> np.ndarray:
    image, place = np.nonzero(run["found_labels"] >= 0)
    rows = len(image)
    label, score, hit = (run[name][image, place] for name in ("found_labels", "found_scores", "hits"))
    matches = Matches(
        image, label.astype(np.int64), np.zeros(rows, np.int64), score.astype(np.float64), hit.reshape(rows, 1, 1),
        np.zeros((rows, 1, 1), bool), truth["objects"].astype(np.int64)[:, :, None],
    )  # fmt: skip
    return 1 - ap50_by_image(matches)


DETECTION = Measure(
    "AP50", "1 - AP50", ("objects",), ("found_labels", "found_scores", "hits"), _detections, _missed,
    lambda truth, run: int(truth["objects"].sum()), splits=("validation", "test"),
)  # fmt: skip
MEASURES = {
    "classification": Measure(
        "accuracy", "", ("labels",), ("predictions",), _classes,
        lambda truth, run: (run["predictions"] != truth["labels"])[:, None].astype(np.float64),
        lambda truth, run: len(truth["labels"]),
    ),
    "segmentation": Measure(
        "mean_iou", "1 - mean IoU", (), ("intersections", "unions"), _masks,
        lambda truth, run: 1 - iou_by_image(run["intersections"], run["unions"]),
        lambda truth, run: int(run["unions"].sum()),
    ),
    "detection": DETECTION,
    "instances": DETECTION._replace(text="1 - AP50 of masks", gather=_instances),
}  # fmt: skip
"""The measure of each task that a study can compare."""
