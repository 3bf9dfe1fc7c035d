"""Metrics with intervals, curves, costs, configuration, and how to repeat a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.stats import binomtest

from jaxcnn.analysis.scores.instance_masks import image_scores
from jaxcnn.pictures.curves import curve_figure, curve_names
from jaxcnn.pictures.document import Code, Contents, Facts, Heading, Paragraph, table
from jaxcnn.pictures.style import Part, Picture
from jaxcnn.records import as_record, flat
from jaxcnn.run.report.seen import Seen

DRAWS = 1000
SHARES = ("accuracy", "localised")
"""Metrics that are shares of images, not of pixels, for all but segmentation."""


def metric_section(seen: Seen) -> Iterator[Part]:
    """Yield the metrics of all splits, those of the test split with 95 % intervals over its images."""
    result = seen.result
    names = [name.partition("_")[2] for name in result.metrics]
    details = {name: value for name, value in result.details.items() if isinstance(value, float)}
    rows = [*dict.fromkeys(names), *(name for name, value in details.items() if value >= 0)]  # COCO: -1 is unknown
    best = min(result.history, key=lambda record: record.get("validation_loss", math.inf))["epoch"]
    diverged = "" if result.diverged is None else f" It diverged at step {result.diverged['step']}."
    epochs = f"{len(result.history)} epochs; lowest validation loss in epoch {best}."
    yield Paragraph(f"{_headline(seen)} {epochs}{diverged}", lead=True)
    yield Contents()
    columns: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("metric", words),  # test first: a phone shows three columns
        ("test", lambda name: number(result.metrics.get(f"test_{name}", result.details.get(name)))),
        ("95 % interval (test)", lambda name: span(test_interval(seen, name))),
        ("validation", lambda name: number(result.metrics.get(f"validation_{name}"))),
        ("training", lambda name: number(result.metrics.get(f"train_{name}"))),
    )
    yield Heading("Metrics")
    yield table(columns, rows)
    yield Paragraph(
        "Metrics of the last epoch. Training metrics are means over the epoch, with augmentation and dropout. "
        "Intervals are over the test images, for this one trained network: Wilson's for shares of images, a bootstrap "
        "for others; another seed gives another network."
    )


def _headline(seen: Seen) -> str:
    result = seen.result
    for name in (
        "test_accuracy", "test_mean_iou", "test_AP", "test_accuracy_5way_1shot", "test_character_error",
        "validation_accuracy",
    ):  # fmt: skip
        if name in result.metrics and not (name == "test_accuracy" and seen.task == "segmentation"):
            split, _, metric = name.partition("_")
            limits = test_interval(seen, metric) if split == "test" else None
            text = f"{split.capitalize()} {words(metric)} {percent(result.metrics[name])}"
            return text + (f" (95 % interval {percent(limits[0])} to {percent(limits[1])})." if limits else ".")
    return "Trained."


def test_interval(seen: Seen, metric: str) -> tuple[float, float] | None:
    """Return a 95 % interval of a metric of the test split over its images; None where predictions do not give it."""
    saved, task = seen.result.predictions, seen.task
    count = seen.result.data["sizes"].get("test", 0)
    value = seen.result.metrics.get(f"test_{metric}", seen.result.details.get(metric))
    if not saved or value is None or not math.isfinite(value):
        return None
    if task == "classification" and (metric == "accuracy" or metric.startswith("top")):
        return _wilson(value, count)
    if task == "localization":
        present = saved["labels"] >= 0
        if metric in SHARES:
            return _wilson(value, int(present.sum()))
        return bootstrap(saved["iou"][present][:, None], lambda sums: sums[..., 0] / max(int(present.sum()), 1)) if (
            metric == "mean_iou") else None  # fmt: skip
    if task == "segmentation" and metric == "mean_iou":
        parts = np.concatenate([saved["intersections"], saved["unions"]], axis=1)
        return bootstrap(parts, _mean_iou)
    if task == "instances" and metric == "instance_ap":
        counts = np.array([each[:3] for each in image_scores(saved)])
        return bootstrap(counts, lambda sums: sums[..., 0] / np.maximum(sums.sum(axis=-1), 1))
    return None


def _mean_iou(sums: np.ndarray) -> np.ndarray:
    hits, unions = np.split(sums.astype(float), 2, axis=-1)
    return np.nanmean(np.where(unions > 0, hits / np.maximum(unions, 1), np.nan), axis=-1)


def _wilson(share: float, count: int) -> tuple[float, float]:
    limits = binomtest(round(share * count), max(count, 1)).proportion_ci(method="wilson")
    return float(limits.low), float(limits.high)


def bootstrap(values: np.ndarray, statistic: Callable[[np.ndarray], Any]) -> tuple[float, float]:
    """Return a 95 % percentile interval of a function of sums over images, by drawing images with replacement.

    Args:
        values: (images, terms).
        statistic: Sums (draws, terms) -> (draws,).

    >>> low, high = bootstrap(np.arange(100.0)[:, None], lambda sums: sums[..., 0] / 100)
    >>> 40 < low < 49.5 < high < 60
    True
    """
    rng = np.random.default_rng(0)
    drawn = np.stack([rng.multinomial(len(values), np.full(len(values), 1 / len(values))) for _ in range(DRAWS)])
    low, high = np.quantile(statistic(drawn @ values), (0.025, 0.975))
    return float(low), float(high)


def curve_section(seen: Seen) -> Iterator[Part]:
    """Yield the curves of training and validation."""
    if not curve_names([seen.result.history]):
        return
    yield Heading("Curves")
    caption = "Each metric by epoch. Training metrics are means over the epoch, while the network still changes."
    yield Picture("curves", curve_figure({"": seen.result.history}), caption)


def cost_section(seen: Seen) -> Iterator[Part]:
    """Yield what the run cost, and on which machine."""
    result, where = seen.result, seen.result.environment
    step = result.seconds.get("step", math.nan)
    speed = f"{result.config.batch_size / step:,.0f}" if step > 0 else "–"
    yield Heading("Cost")
    yield Facts([
        ("parameters", f"{result.params:,}"),
        ("multiply-accumulates of an image", f"{result.macs:,}"),
        ("time per step", f"{1000 * step:.3g} ms, {speed} images a second (median over the epochs)"),
        ("training", f"{result.seconds['train']:,.1f} s in {len(result.history)} epochs"),
        ("compiling", f"{result.seconds['compile']:,.1f} s"),
        ("whole run", f"{result.seconds['total']:,.1f} s"),
        ("driven by", _words(result.programs)),
        ("processor", str(where.get("processor", "–"))),
        ("versions", _words(where.get("versions", {}))),
        ("finished", result.finished or "–"),
    ])  # fmt: skip


def config_section(seen: Seen) -> Iterator[Part]:
    """Yield all fields of the configuration, and how to repeat the run."""
    result, data = seen.result, seen.result.data
    yield Heading("Configuration")
    yield Facts([(name, _words(value)) for name, value in flat(as_record(result.config)).items()])
    yield Heading("Data", 3)
    about = {name: data.get(name) for name in ("name", "sizes", "image_shape", "validation_hash", "test_hash")}
    yield Facts([(name.replace("_", " "), _words(value)) for name, value in about.items() if value is not None])
    yield Heading("How to repeat this run")
    yield Code(
        "from jaxcnn.run import load_result, run\n\n"
        f"run(load_result({str(seen.folder)!r}).config, out={f'{seen.folder}_again'!r})"
    )
    yield Paragraph("Recompute the numbers from the predictions, and measure the checkpoint again:")
    yield Code(f"jaxcnn verify {seen.folder}\njaxcnn evaluate {seen.folder}")


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    return {None: "none", True: "on", False: "off"}[value] if value is None or isinstance(value, bool) else str(value)


def words(name: str) -> str:
    """Return the name of a metric as it is written.

    >>> words("mean_iou")
    'mean IoU'
    """
    return name.replace("_", " ").replace("iou", "IoU")


def number(value: float | None) -> str:
    """Format a metric with four decimals; what is unknown or not finite is a dash."""
    return f"{value:.4f}" if value is not None and math.isfinite(value) else "–"


def percent(share: float) -> str:
    """Format a share in percent."""
    return f"{100 * share:.2f} %"


def span(limits: tuple[float, float] | None) -> str:
    """Format the ends of an interval."""
    return f"{limits[0]:.4f} to {limits[1]:.4f}" if limits else "–"
