"""An instance segmenter from a COCO file to its predictions, by the same `run` as a classifier."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jaxcnn.analysis.scores.coco_ap import figures
from jaxcnn.analysis.scores.instance_masks import instance_matches, split_scores
from jaxcnn.analysis.scores.run_length import decode
from jaxcnn.errors import InputError
from jaxcnn.run import draw_prediction, evaluate_run, load_result, predict, run
from jaxcnn.run.report.page import write_run_page
from jaxcnn.spec import DataConfig, Instances, ModelSpec, OptimizerConfig, RunConfig
from tests.cli.calls import call
from tests.run import test_detector
from tests.run.test_report import checked

MASK_RCNN = ModelSpec(
    "plain", 4, 8, head="mask_rcnn",
    options={"head_pyramid": False, "head_scale": 2.0, "head_proposals": 12, "head_units": 32, "head_mask_size": 4},
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The squares and bars of the detector's test, with their outlines."""
    root = test_detector.draw(tmp_path_factory.mktemp("outlined"))
    record = json.loads((root / "train.json").read_text())
    for each in record["annotations"]:
        x, y, width, height = each["bbox"]
        each["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    (root / "train.json").write_text(json.dumps(record))
    return root


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    config = test_detector.config(folder, model=MASK_RCNN, epochs=20)
    return run(config, out=tmp_path_factory.mktemp("segmenter") / "run", progress=False)


def test_boxes_alone_are_refused(tmp_path):
    root = test_detector.draw(tmp_path, 8)
    with pytest.raises(InputError, match=r"it needs boxes with a mask for each object, and .* has boxes; choose"):
        run(RunConfig(MASK_RCNN, DataConfig(str(root)), OptimizerConfig("adam"), epochs=1), progress=False)


@pytest.mark.slow
def test_it_learns_and_its_metrics_follow_from_what_is_stored(finished):
    stored = load_result(finished.directory)
    assert stored.config.task == Instances()
    assert stored.metrics["test_AP50"] > 0.3
    arrays = stored.predictions
    again = figures(instance_matches(arrays, 2))
    for name in ("AP", "AP50", "AP75"):
        assert stored.metrics[f"test_{name}"] == pytest.approx(again[name], abs=1e-9)
    scores = split_scores(arrays)
    assert stored.metrics["test_instance_ap"] == pytest.approx(scores.ap)
    assert stored.metrics["test_PQ"] == pytest.approx(scores.pq)
    assert 0 <= stored.details["box_AP50"] <= 1
    assert evaluate_run(finished.directory)["AP50"] == pytest.approx(again["AP50"], abs=1e-6)


@pytest.mark.slow
def test_every_way_of_driving_gives_the_same(folder):
    """Sharded over four virtual devices, by pmap, scanned: as on one device."""
    base = test_detector.config(folder, model=MASK_RCNN, epochs=2)
    one = run(replace(base, parallel="jit", scan=False), progress=False)
    for options in ({"parallel": "sharded"}, {"parallel": "pmap"}, {"parallel": "jit", "scan": True}):
        other = run(replace(base, **options), progress=False)
        first, second = (each.history[0]["train_loss"] for each in (one, other))
        assert second == pytest.approx(first, rel=1e-3)
        for name in ("train_loss", "validation_loss", "validation_mask_loss"):
            assert other.metrics[name] == pytest.approx(one.metrics[name], rel=2e-2, abs=2e-3), (options, name)


@pytest.mark.slow
def test_masks_are_predicted_at_the_size_of_the_file_drawn_and_written(finished, folder, tmp_path, capsys):
    size, image = test_detector.SIZE, folder / "images" / "03.png"
    Image.open(image).resize((3 * size[1], 2 * size[0]), Image.Resampling.NEAREST).save(tmp_path / "big.png")
    (found,) = predict(finished.directory, [tmp_path / "big.png"])
    assert found["masks"].shape == (len(found["labels"]), 2 * size[0], 3 * size[1])
    best = found["masks"][0]
    (y, x, bottom, right), (rows, columns) = found["boxes"][0], np.nonzero(best)
    assert best.sum() > 0.3 * (bottom - y) * (right - x)
    assert (rows.min() >= y - 1, rows.max() <= bottom, columns.min() >= x - 1, columns.max() <= right) == (True,) * 4
    picture = draw_prediction(tmp_path / "big.png", found)
    assert picture is not None
    assert picture.width == 3 * size[1]
    code, out, _ = call(capsys, "predict", finished.directory, image, "--out", tmp_path / "drawn", "--json")
    assert code == 0
    (record,), (own,) = json.loads(out), predict(finished.directory, [image])
    assert np.array_equal(decode(record["objects"][0]["rle"]), own["masks"][0])
    stored = json.loads((tmp_path / "drawn" / "detections.json").read_text())["annotations"]
    assert np.array_equal(decode(stored[0]["segmentation"]), own["masks"][0])
    assert stored[0]["area"] == own["masks"][0].sum()
    text = checked(write_run_page(finished.directory, tmp_path))
    assert "true instances" in text
