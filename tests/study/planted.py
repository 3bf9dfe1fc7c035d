"""Finished studies with planted errors, as `run_study` would have written them, without training."""

from __future__ import annotations

from pathlib import Path

from jaxcnn.files import write_json
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import make_plan, store_plan
from jaxcnn.study.results import RunRecord, StudyResult, load_study, to_json

ARMS = tuple(
    Arm(ModelSpec("resnet", depth, width, stage_widths=stages), depth, width, params, macs, params / 30_000 - 1)
    for depth, width, stages, params, macs in (
        (8, 10, (10, 20, 39), 30_100, 500_000),
        (14, 7, (7, 14, 27), 29_900, 520_000),
        (20, 5, None, 30_250, 530_000),
    )
)
ENVIRONMENT = {"versions": {"python": "3.12.0", "jax": "0.12.0"}, "processor": "one <b>bold</b> chip", "cores": 2}


def planted_study(
    directory: Path, errors: dict[int, tuple[float, ...]], *, name: str = "digits", test: int = 360, epochs: int = 4
) -> StudyResult:
    """Store and load a study whose arm of depth d has the test errors `errors[d]`, one a seed."""
    arms = [arm for arm in ARMS if arm.depth in errors]
    seeds = range(len(next(iter(errors.values()))))
    plan = make_plan(RunConfig(data=DataConfig(name), epochs=epochs), arms, seeds, command="python study.py --epochs 4")
    store_plan(plan, directory)
    records = [_record(arm, seed, errors[arm.depth][seed], epochs) for arm in plan.arms for seed in plan.seeds]
    data = {
        "name": name,
        "sizes": {"train": 1137, "validation": 300, "test": test},
        "class_names": [str(digit) for digit in range(10)],
        "image_shape": [8, 8, 1],
        "validation_hash": "ab" * 32,
    }
    write_json(directory / "results.json", to_json(plan, records, [data] * len(records), [ENVIRONMENT] * len(records)))
    return load_study(directory)


def _record(arm: Arm, seed: int, error: float, epochs: int) -> RunRecord:
    history = tuple(
        {
            "epoch": epoch + 1,
            "step": 10 * (epoch + 1),
            "train_loss": 2.0 * 0.4**epoch * (1 + 0.1 * seed),
            "validation_loss": 2.0 * 0.5**epoch * (1 + 0.1 * seed) + 0.05,
            "seconds": 1.0,
        }
        for epoch in range(epochs)
    )
    metrics = {
        "train_loss": 0.01,
        "train_accuracy": 0.995,
        "validation_loss": 0.1,
        "validation_accuracy": 1 - error,
        "test_loss": 0.1,
        "test_accuracy": 1 - error,
    }
    return RunRecord(arm.label, seed, metrics, history, {"compile": 5.0, "train": 4.0, "step": 0.004, "total": 9.5})
