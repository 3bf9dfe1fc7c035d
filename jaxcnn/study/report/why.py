"""Why the deepest or the widest arm errs less: what was measured inside their networks, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcnn.pictures.curves import curve_figure
from jaxcnn.pictures.document import Heading, Paragraph, table
from jaxcnn.pictures.similarity import Similarity, similarity_figure
from jaxcnn.pictures.style import GREY, Part, Picture, label_log, look, panels
from jaxcnn.study.explanation import SIDES, BudgetExplanation, conclusion, read_explanation
from jaxcnn.study.result import StudyResult
from jaxcnn.study.verdict.findings import ContrastFinding, Findings
from jaxcnn.study.verdict.formatting import arm_name, decimals, percent, plural, signed

LAYERS = {
    "gradient_norm": ("gradient norm by layer", 1),
    "dead_share": ("dead units (%)", 100),
    "probe_accuracy": ("linear probe accuracy (%)", 100),
    "effective_field": ("effective field (pixels)", 1),
}
"""Titles of what was measured by layer, and factors to the unit shown."""


def why_section(result: StudyResult, findings: Findings) -> Iterator[Part]:
    """Yield the comparison of the deepest and the widest arm inside; nothing where none was computed (--explain)."""
    explanation = read_explanation(result)
    if explanation is None:
        return
    train, test = explanation.images
    yield Heading("Why")
    yield Paragraph(
        "The final weights of the two arms of each budget, of "
        f"{plural(len(explanation.budgets[0].seeds), 'seed')} each. Training errors are of all "
        f"{explanation.train_images:,} training images, without augmentation and dropout; the other measures of "
        f"{train} training and {test} test images, the same for all. A description, not a test: training error alone "
        "tells an arm that cannot be optimised as well from one that does not generalise as well, and an arm with too "
        "few weights to fit looks like the former."
    )
    for number, (each, contrast) in enumerate(zip(explanation.budgets, findings.contrasts, strict=True), start=1):
        yield Heading(each.budget, 3)
        yield Paragraph(conclusion(contrast, each, explanation.train_images))
        yield _summary(each, contrast, findings)
        yield Picture(f"why_curves_{number}", _curves(result, contrast), "Loss by epoch of one seed of each arm.")
        text = "By layer, from the first (left) to the last: mean over seeds (thick) and each seed (thin). "
        text += "Gradient of the training loss; units that no test image activates; test accuracy of a linear "
        text += "classifier on the layer; side of the square of pixels that count, with the field that the "
        text += "architecture allows (thin, dashed) and the image (grey line)."
        yield Picture(f"why_layers_{number}", layer_figure(each, contrast, result.data["image_shape"]), text)
        text = "Similarity (CKA) of every layer with every layer, on test images. First two seeds of each "
        text += "arm, the baseline; then the two arms. Empty: a layer that never varies."
        yield Picture(f"why_cka_{number}", _similarity(each, contrast), text)


def _summary(each: BudgetExplanation, contrast: ContrastFinding, findings: Findings) -> Any:
    arms, measures = dict(zip(SIDES, (contrast.deeper, contrast.wider), strict=True)), each.measures
    test = {side: findings.of(arm).test_error.estimate for side, arm in arms.items()}

    def mean(side: str, value: Callable[[Mapping[str, Any]], Any]) -> float:
        return float(np.mean([value(record) for record in measures["arms"][side]], dtype=float))

    def share(record: Mapping[str, Any], name: str) -> float:
        return float(np.mean(list(record[name].values()))) if record[name] else math.nan

    def row(name: str, write: Callable[[float], str], values: Mapping[str, float], between: float = math.nan) -> Any:
        return name, *(write(values[side]) for side in SIDES), write(between)

    kappas, likeness = (
        {sides: float(np.mean(values, dtype=float)) if values else math.nan for sides, values in found.items()}
        for found in (_pairs(each, "error_consistency"), {s: [_likeness(m) for m in v] for s, v in _cka(each).items()})
    )
    within = {side: (side, side) for side in SIDES}
    rows = [
        row("training error (%)", percent, {side: each.mean(side) for side in SIDES}),
        row("test error (%)", percent, test),
        row("test minus training (points)", signed, {side: test[side] - each.mean(side) for side in SIDES}),
        row("dead units (%)", percent, {side: mean(side, lambda r: share(r, "dead_share")) for side in SIDES}),
        row("sharpness (largest curvature)", decimals, {side: mean(side, lambda r: r["sharpness"]) for side in SIDES}),
        row("2 / learning rate", decimals,
            dict(zip(SIDES, (2 / setting.learning_rate for setting in contrast.settings), strict=True))),
        row("agreement of mistakes (kappa)", decimals, {s: kappas[within[s]] for s in SIDES}, kappas[SIDES]),
        row("similarity of layers (CKA)", decimals, {s: likeness[within[s]] for s in SIDES}, likeness[SIDES]),
    ]  # fmt: skip
    heads = ("measure", *(f"{name} arm" for name in contrast.sides), "one with the other")
    columns = [(head, lambda cells, n=n: cells[n]) for n, head in enumerate(heads)]
    return table(columns, rows, "Agreement and similarity: two seeds of an arm, then an arm with the other")


def _pairs(each: BudgetExplanation, name: str) -> dict[tuple[str, str], list[Any]]:
    """Return a measure of all pairs of networks by their sides: two seeds of one, or one of each."""
    alike = [("deeper", "deeper"), ("wider", "wider")]
    found: dict[tuple[str, str], list[Any]] = {sides: [] for sides in (*alike, SIDES)}
    for pair in each.measures["pairs"]:
        found[pair["first"][0], pair["second"][0]].append(pair[name])
    return found


def _cka(each: BudgetExplanation) -> dict[tuple[str, str], list[np.ndarray]]:
    return {sides: [np.array(m, float) for m in found] for sides, found in _pairs(each, "cka").items()}


def _likeness(matrix: np.ndarray) -> float:
    """Return how similar each layer of the first network is to its nearest in the second, mean over layers."""
    best = np.where(np.isnan(matrix), -np.inf, matrix).max(axis=1, initial=-np.inf)
    return float(best[np.isfinite(best)].mean()) if np.isfinite(best).any() else math.nan


def _curves(result: StudyResult, contrast: ContrastFinding) -> Figure:
    arms = zip(contrast.sides, (contrast.deeper, contrast.wider), strict=True)
    kept = ("epoch", "train_loss", "validation_loss")
    return curve_figure({
        name: [{key: epoch[key] for key in kept if key in epoch} for epoch in result.of(arm)[0].history]
        for name, arm in arms
    })  # fmt: skip


def layer_figure(each: BudgetExplanation, contrast: ContrastFinding, image_shape: Sequence[int]) -> Figure:
    """Draw what was measured by layer of the deeper and the wider arm, a panel per measure."""
    records = {side: each.measures["arms"][side] for side in SIDES}
    names = [name for name in LAYERS if any(record[name] for record in records["deeper"] + records["wider"])]
    with panels([LAYERS[name][0] for name in names], "position of the layer, first to last", "") as (figure, axes):
        for axis, name in zip(axes, names, strict=True):
            for number, (side, label) in enumerate(zip(SIDES, contrast.sides, strict=True)):
                curves = np.array([list(record[name].values()) for record in records[side]], float)
                _draw_layers(axis, LAYERS[name][1] * curves, number, f"{label}: {_of(contrast, side)}")
            axis.set_xticks([])
            if name == "gradient_norm":
                axis.set_yscale("log")
                label_log(axis.yaxis)
            if name == "dead_share":
                axis.set_ylim(bottom=0, top=max(5.0, axis.get_ylim()[1]))
            if name == "effective_field":
                _draw_fields(axis, [records[side][0] for side in SIDES], max(image_shape[:2]))
    return figure


def _of(contrast: ContrastFinding, side: str) -> str:
    return arm_name(contrast.deeper if side == "deeper" else contrast.wider)


def _places(count: int) -> np.ndarray:
    return np.linspace(0, 1, count) if count > 1 else np.array([0.5])


def _draw_layers(axes: Axes, curves: np.ndarray, number: int, label: str) -> None:
    if curves.size == 0:
        return
    style, places = look(number), _places(curves.shape[1])
    if len(curves) > 1:
        axes.plot(places, curves.T, color=style["color"], linestyle=style["linestyle"], linewidth=0.5, alpha=0.45)
    axes.plot(places, curves.mean(axis=0), label=label, markersize=4, **style)


def _draw_fields(axes: Axes, records: Sequence[Mapping[str, Any]], side: int) -> None:
    for number, record in enumerate(records):
        sizes = [max(size) for size in record["field"].values()]
        axes.plot(_places(len(sizes)), sizes, color=look(number)["color"], linestyle="--", linewidth=0.8)
    axes.axhline(side, color=GREY, linewidth=1.2)
    axes.set_ylim(0, 1.3 * side)


def _similarity(each: BudgetExplanation, contrast: ContrastFinding) -> Figure:
    sides: dict[str, str] = dict(zip(SIDES, contrast.sides, strict=True))
    matrices = {}
    for (one, two), found in ((pair, np.stack(found)) for pair, found in _cka(each).items() if found):
        known = ~np.isnan(found)
        mean = np.where(known, found, 0).sum(0) / np.where(known.any(0), known.sum(0), np.nan)
        title = f"{sides[one]} and {'another seed' if one == two else sides[two]}"
        matrices[title] = Similarity(mean, sides[one], sides[two])
    return similarity_figure(matrices)
