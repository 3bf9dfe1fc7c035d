"""Classes of a classifier: confusion matrix, scores, calibration, and examples with their images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxcnn.analysis.scores.calibration import expected_calibration_error, reliability
from jaxcnn.analysis.scores.class_scores import class_scores, top_confusions
from jaxcnn.pictures.confusion import confusion_figure
from jaxcnn.pictures.curves import reliability_figure
from jaxcnn.pictures.document import Heading, Paragraph, Table
from jaxcnn.pictures.gallery import gallery
from jaxcnn.pictures.style import Part, Picture
from jaxcnn.run.examples import example_row, sure_and_unsure, worst_mistakes
from jaxcnn.run.report.seen import Seen


def class_section(seen: Seen) -> Iterator[Part]:
    """Yield confusion matrix, scores by class, calibration, worst mistakes, sure and unsure examples."""
    saved = seen.result.predictions
    if seen.task != "classification" or not {"labels", "predictions", "probability", "correct"} <= saved.keys():
        return
    confusion, names = np.asarray(seen.result.details["confusion"]), seen.names
    yield Heading("Classes")
    caption = "Test images by true class (rows) and predicted class (columns); colours are shares of a row."
    yield Picture("confusion", confusion_figure(confusion, names), caption)
    if frequent := top_confusions(confusion):
        rows = [
            [names[each.label], names[each.prediction], f"{each.count:,}", f"{each.share:.1%}"] for each in frequent
        ]
        yield Table(("true", "predicted", "images", "of the class"), rows, "Most frequent confusions")
    scores = class_scores(confusion)
    columns = (scores.precision, scores.recall, scores.f1)
    rows = [
        [name, *(f"{values[k]:.4f}" for values in columns), f"{int(scores.support[k]):,}"]
        for k, name in enumerate(names)
    ]
    rows.append(["mean", *(f"{np.mean(values):.4f}" for values in columns), f"{int(np.sum(scores.support)):,}"])
    yield Table(("class", "precision", "recall", "F1", "images"), rows, "Scores by class")
    if not np.isfinite(saved["probability"]).all():  # it diverged
        return
    yield Heading("Calibration")
    curve = reliability(saved["probability"], saved["correct"])
    error = expected_calibration_error(saved["probability"], saved["correct"])
    caption = (
        f"Accuracy against the probability of the predicted class, in {len(curve.counts)} bins (left), and the images "
        f"in each bin (right). The expected calibration error is {100 * error:.2f} points."
    )
    yield Picture("reliability", reliability_figure(curve.confidence, curve.accuracy, curve.counts), caption)
    if seen.split is not None:
        yield from _examples(seen)


def _examples(seen: Seen) -> Iterator[Part]:
    saved, split = seen.result.predictions, seen.split
    assert split is not None

    def picture(name: str, indices: np.ndarray, caption: str) -> Picture:
        return Picture(name, gallery([example_row(saved, indices, split, seen.names)], columns=6), caption)

    worst, (sure, unsure) = worst_mistakes(saved), sure_and_unsure(saved)
    yield Heading("Examples")
    if worst.size:
        wrong = int((~saved["correct"].astype(bool)).sum())
        text = f"The {len(worst)} surest of {wrong} mistakes: true class, predicted class and its probability."
        yield picture("mistakes", worst, text)
    else:
        yield Paragraph("No test image is misclassified.")
    if sure.size:
        yield picture("sure", sure, "Correct and surest: class and probability.")
        yield picture("unsure", unsure, "Correct, but least sure: class and probability.")
