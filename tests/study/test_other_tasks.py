"""Studies of segmentation and detection: trained, reported, verified, and one run trained again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.models import build
from jaxcnn.run import load_result
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig, Seeds, Segmentation, StudyConfig, Tuning
from jaxcnn.study import load_study, write_report
from jaxcnn.study.execution.run_study import run_study
from jaxcnn.study.rerun import rerun
from jaxcnn.study.verify import verify
from tests.study.small import quick_costs

pytestmark = pytest.mark.slow  # whole studies of small networks
OPTIMIZER = OptimizerConfig("adam", learning_rate=0.01)
TUNING = Tuning((0.003, 0.01), (1e-4,), extensions=0, rounds=1, shared=False)


def config(model, data, depths, params):
    base = RunConfig(model, DataConfig(data, images=60, classes=2, size=48), OPTIMIZER, epochs=2, batch_size=16)
    return StudyConfig(base, depths, params=(params,), tolerance=0.05, tuning=TUNING, seeds=Seeds(2, 2), workers=1)


def trained(tmp_path_factory, name, study):
    quick_costs()
    out = tmp_path_factory.mktemp(name) / "study"
    result = run_study(study, out=out, progress=False)
    write_report(result, out)
    return result


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    model = ModelSpec("unet", options={"levels": 2})
    return trained(tmp_path_factory, "masks", config(model, "glyph_masks", (5, 8), 1500))


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    model = ModelSpec("plain", head="ssd", options={"head_width": 4})
    return trained(tmp_path_factory, "boxes", config(model, "glyph_scenes", (4, 7), 6000))


def doubling(depth, width):
    return build(ModelSpec("unet", depth, width, options={"levels": 2}), 3)


def constant(depth, width):
    return build(ModelSpec("unet", depth, width, options={"levels": 2, "growth": "constant"}), 3)


def check(result, text):
    measure, folder = result.plan.measure, result.directory
    assert f"test error ({text}) of the last epoch" in json.loads((folder / "plan.json").read_text())["measure"]
    for arm in result.plan.arms:
        errors = result.errors(arm).mean(axis=1)
        recorded = [1 - run.metrics[f"test_{measure.metric}"] for run in result.of(arm)]
        np.testing.assert_allclose(errors, recorded, atol=1e-6)
    assert [each for each in verify(folder) if each.equal < each.numbers] == []
    run = result.runs[-1]
    assert rerun(folder, run.arm, run.seed, progress=False) == (result.images, result.images)
    page = (folder / "report.md").read_text()
    assert f"Test error is {text} over all test images." in page
    assert "nan" not in page.lower()
    again = load_study(folder)
    assert all(np.array_equal(again.arrays[name], result.arrays[name]) for name in result.arrays)


def test_a_study_of_segmentation(masks):
    check(masks, "1 - mean IoU")
    trial = next(iter((masks.directory / "tuning").glob("*/*/seed*")))
    stored = load_result(trial)
    errors = {each.validation_error for arm in masks.tuning.arms.values() for each in arm.trials}
    assert min(abs(1 - stored.metrics["validation_mean_iou"] - each) for each in errors) < 1e-9
    assert all(each.images == 0 for arm in masks.tuning.arms.values() for each in arm.trials)


def test_an_edited_intersection_is_noticed(masks, tmp_path):
    with np.load(masks.directory / "predictions.npz") as arrays:
        stored = {name: arrays[name].copy() for name in arrays.files}
    stored["intersections"][:, 0] //= 2
    for file in masks.directory.glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text())
    np.savez_compressed(tmp_path / "predictions.npz", **stored)
    different = {each.name for each in verify(tmp_path, data=False) if each.equal < each.numbers}
    assert {"seals and hashes of the files", "mean iou in the run records and in the predictions"} <= different


def test_a_study_of_detection(boxes):
    check(boxes, "1 - AP50")
    run = next((boxes.directory / "runs").glob("*/*/seed*"))
    checks = {each.name: each.equal == each.numbers for each in verify(run)}
    assert set(checks.values()) == {True}
    assert {"test AP50", "AP50 by class"} <= set(checks)


def test_a_study_of_instances(tmp_path_factory):
    """Masks count: 1 - AP50 is that of masks."""
    options = {"head_width": 4, "head_proposals": 8, "head_mask_size": 4, "head_units": 8}
    model = ModelSpec("plain", head="mask_rcnn", options=options)
    study = trained(tmp_path_factory, "instances", config(model, "glyph_scenes", (4, 7), 8000))
    check(study, "1 - AP50 of masks")
    run = next((study.directory / "runs").glob("*/*/seed*"))
    checks = {each.name: each.equal == each.numbers for each in verify(run)}
    assert set(checks.values()) == {True}
    assert {"test AP50", "AP50 by class", "instance AP and PQ"} <= set(checks)


def test_two_growths_of_the_width_are_compared_at_equal_macs(tmp_path):
    quick_costs()
    study = config(ModelSpec("unet"), "glyph_masks", (5,), 1500)
    base = replace(study.base, model=ModelSpec(), task=Segmentation(), epochs=1)
    study = replace(study, base=base, params=(), macs=(2_000_000,), tolerance=0.2, tuning=Tuning((0.01,), (1e-4,)))
    result = run_study(study, out=tmp_path / "study", family=(doubling, constant), progress=False)
    assert result.plan.sides == ("doubling", "constant")
    assert {abs(arm.macs - 2e6) <= 4e5 for arm in result.plan.arms} == {True}
    assert result.errors(result.plan.arms[0]).shape == (2, result.images)
    write_report(result, result.directory)
    assert [each for each in verify(result.directory) if each.equal < each.numbers] == []
