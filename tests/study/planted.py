"""Finished studies with planted errors, written by the study's own functions as if runs had been trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from jaxcnn.spec import DataConfig, ModelSpec, RunConfig, Seeds, StepCost, StudyConfig, Tuning
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import make_plan, store_plan
from jaxcnn.study.result import CostsFile, StudyResult, load_study, store_runs, store_stages, write_file
from jaxcnn.study.schedule import StudyRun, next_runs

Errors = Callable[[Arm, int], float]

ARMS = tuple(
    Arm(
        spec=ModelSpec("resnet", depth, width, stage_widths=stages),
        family="resnet", depth=depth, width=width, kind="params", budget=30_000,
        params=params, macs=macs, activations=1_000 * depth + 37, mismatch=params / 30_000 - 1,
    )
    for depth, width, stages, params, macs in (
        (8, 10, (10, 20, 39), 30_100, 500_000),
        (14, 7, (7, 14, 27), 29_900, 520_000),
        (20, 5, None, 30_250, 530_000),
    )
)  # fmt: skip
ENVIRONMENT = {
    "versions": {"python": "3.12.0", "jaxcnn": "0.1.0", "jax": "0.12.0"},
    "devices": ["cpu"],
    "processor": "one <b>bold</b> chip",
    "cores": 2,
}
ONE_SETTING = Tuning(learning_rates=(0.1,), weight_decays=(5e-4,), extensions=0, method="grid")
TEN_SETTINGS = Tuning(
    learning_rates=(0.02, 0.05, 0.125, 0.3125, 0.78125), weight_decays=(1e-4, 1e-3), extensions=0, method="grid"
)


def family_arms(
    budgets: Sequence[int] = (15_000, 60_000, 240_000), depths: Sequence[int] = (8, 14, 20, 32), *, skip: bool = True
) -> tuple[Arm, ...]:
    """Arms that cost about what a residual family costs: equal parameters, activations rising with depth."""
    arms = []
    for number, budget in enumerate(budgets):
        for place, depth in enumerate(depths):
            width = max(3, round(math.sqrt(budget / (16.8 * (depth - 2)))))
            miss = ((7 * place + 3 * number) % 19 - 9) / 1000
            params = round(budget * (1 + miss))
            stages = (width, 2 * width, 4 * width - 1) if place % 2 else None
            spec = ModelSpec("resnet", depth, width, stage_widths=stages, options={"skip": skip})
            macs, activations = round(params * 148 * (1 + 0.01 * place)), round(1_344 * width * (depth - 1) / 2)
            arms.append(
                Arm(spec, "resnet", depth, width, "params", budget, params, macs, activations, params / budget - 1)
            )
    return tuple(arms)


def valley(best: float = 14, *, spread: float = 0.0015, base: float = 0.11) -> Errors:
    """Errors with a minimum at one depth, falling with the budget; seeds spread about that."""

    def error(arm: Arm, seed: int) -> float:
        level = base * (arm.budget / 15_000) ** -0.22
        bend = 1 + 0.35 * math.log(arm.depth / best) ** 2
        noise = np.random.default_rng([arm.depth, int(arm.budget), seed]).normal(0, spread)
        return max(level * bend + noise, 0.001)

    return error


def planted_study(
    directory: Path,
    errors: Mapping[int, Sequence[float]] | Errors,
    *,
    arms: Sequence[Arm] = ARMS,
    seeds: int = 3,
    tuning: Tuning = ONE_SETTING,
    best_rate: Callable[[Arm], float] = lambda arm: 0.8 / arm.depth,
    costs: bool = True,
    diverged: Collection[tuple[int, int]] = (),
    name: str = "digits",
    images: int = 360,
    classes: Sequence[str] = tuple("0123456789"),
    epochs: int = 4,
    margin: float = 0.005,
    train_size: int | None = None,
) -> StudyResult:
    """Store and load a study.

    Args:
        directory: Where.
        errors: Test error by depth, one a seed, or a function of arm and seed.
        arms: Of the plan; with errors by depth, those that it names.
        seeds: Runs per arm, where errors is a function.
        tuning: The grid.
        best_rate: Learning rate that an arm likes best; the further from it, the more errors.
        costs: Whether memory and time were measured.
        diverged: (depth, seed) of runs whose loss was not finite at the end; rates above 0.7 diverge in tuning too.
        name: Of the data set.
        images: In the test split.
        classes: Their names.
        epochs: Of every run.
        margin: The plan's.
        train_size: As in `DataConfig`.
    """
    if not callable(errors):
        rows = errors
        arms = [arm for arm in arms if arm.depth in rows]
        seeds = len(next(iter(rows.values())))
        errors = lambda arm, seed: rows[arm.depth][seed]  # noqa: E731
    base = RunConfig(data=DataConfig(name, train_size=train_size), epochs=epochs)
    config = StudyConfig(base, margin=margin, tuning=tuning, seeds=Seeds(seeds, seeds))
    plan = make_plan(config, arms, command="python study.py --epochs 4")

    def metrics(item: StudyRun) -> dict[str, float]:
        return _metrics(item, errors, best_rate(item.arm), (item.arm.depth, item.seed) in diverged, tuning)

    store_plan(plan, directory)
    now = next_runs(plan, metrics)
    assert now.stage == "done"
    store_stages(directory, now)
    if costs:
        write_file(directory, "costs.json", CostsFile({arm.label: _cost(arm) for arm in plan.arms}))
    answers = _Answers(images, len(classes))
    data = {
        "name": name,
        "sizes": {"train": train_size or 1137, "validation": 300, "test": images},
        "class_names": list(classes),
        "image_shape": [8, 8, 1],
        "validation_hash": "ab" * 32,
    }
    reported = [item for item in now.runs if item.stage == "runs"]
    results = {directory / item.path: _result(item, metrics(item), answers, epochs, data) for item in reported}
    store_runs(directory, reported, results.__getitem__)
    return load_study(directory)


def rich_study(directory: Path, **changes: Any) -> StudyResult:
    """Three budgets, four depths, five seeds, ten settings, 2,000 test images: what a real study looks like."""
    options: dict[str, Any] = {
        "arms": family_arms(), "seeds": 5, "tuning": TEN_SETTINGS, "name": "fashion_mnist", "images": 2000,
        "epochs": 30,
    }  # fmt: skip
    return planted_study(directory, **{"errors": valley(), **options, **changes})


class _Answers:
    """Labels, and predictions that are wrong on the images hardest for a run: much the same for every run."""

    def __init__(self, images: int, classes: int) -> None:
        self.classes = classes
        self.labels = np.arange(images) % classes
        self.hardness = np.random.default_rng(0).normal(size=images)

    def of(self, item: StudyRun, error: float) -> np.ndarray:
        rng = np.random.default_rng([item.arm.depth, int(item.arm.budget), item.seed])
        # Deeper arms find class 3 harder and class 7 easier, so that a difference by class is there to be found.
        lean = 0.02 * (item.arm.depth - 14) * ((self.labels == 3) - 1.0 * (self.labels == 7))
        order = np.argsort(-(self.hardness + lean + 0.45 * rng.normal(size=self.labels.size)))
        wrong = order[: round(error * self.labels.size)]
        predictions = self.labels.copy()
        predictions[wrong] = (predictions[wrong] + 1) % self.classes
        return predictions


def _metrics(item: StudyRun, errors: Errors, best: float, diverged: bool, tuning: Tuning) -> dict[str, float]:
    trial = item.stage == "tuning"
    distance = math.log10(item.setting.learning_rate / best)
    penalty = (1 + 0.5 * distance**2) * (1.08 if item.setting.weight_decay < 5e-4 else 1.0)
    # What is planted is the error at the best rate of a grid; another one costs something.
    penalty = 1.0 if len(tuning.learning_rates) == 1 else penalty
    error = min(errors(item.arm, 0 if trial else item.seed) * penalty, 0.9)
    lost = diverged or (trial and item.setting.learning_rate > 0.7 and item.arm.depth > 15)
    train = error * 0.25 * (1 + item.arm.depth / 40)
    loss = math.nan if lost else 3 * train + 0.01
    metrics = {"train_loss": loss, "train_accuracy": 1 - train}
    metrics |= {"validation_loss": math.nan if lost else 3.3 * error, "validation_accuracy": 1 - 1.04 * error}
    metrics |= {"validation_images": 300} if trial and tuning.method == "smooth" else {}
    return metrics | ({} if trial else {"test_loss": 3.4 * error, "test_accuracy": 1 - error})


def _cost(arm: Arm) -> StepCost:
    step = 0.004 * (arm.activations / 40_000) ** 0.8 + 0.0002 * arm.depth
    return StepCost(memory=4 * 128 * arm.activations * 3 + 16 * arm.params, step=step, spread=0.04 * step, compile=6.5)


def _result(item: StudyRun, metrics: dict[str, float], answers: _Answers, epochs: int, data: dict[str, Any]) -> Any:
    predictions = answers.of(item, 1 - metrics["test_accuracy"])
    metrics = {**metrics, "test_accuracy": float((predictions == answers.labels).mean())}
    return SimpleNamespace(
        metrics=metrics,
        history=tuple(_epoch(item, metrics, epoch, epochs) for epoch in range(epochs)),
        predictions={"labels": answers.labels, "predictions": predictions},
        seconds={"compile": 5.0, "train": 4.0, "step": 0.004 * (1 + item.arm.depth / 20), "total": 9.5},
        finished="2026-11-29T01:12:30Z",
        environment=ENVIRONMENT,
        data=data,
    )


def _epoch(item: StudyRun, metrics: dict[str, float], epoch: int, epochs: int) -> dict[str, float]:
    """Losses that fall from about 2 to where the metrics are; NaN from half way where the run diverged."""
    left = math.exp(-4 * epoch / max(epochs - 1, 1)) * (1 + 0.1 * math.sin(3 * epoch + item.seed))
    lost = math.isnan(metrics["train_loss"]) and epoch >= epochs // 2
    ends = {split: metrics[f"{split}_loss"] for split in ("train", "validation")}
    losses = {
        f"{split}_loss": math.nan if lost else 2 * left + (0.1 if math.isnan(end) else end) * (1 - left / 2)
        for split, end in ends.items()
    }
    return {"epoch": epoch + 1, "step": 10 * (epoch + 1), **losses, "test_loss": 9.0, "seconds": 1.0}


def without_skips(arms: Sequence[Arm]) -> tuple[Arm, ...]:
    """The same arms as plain nets."""
    return tuple(arm._replace(spec=replace(arm.spec, options={"skip": False})) for arm in arms if arm.spec)
