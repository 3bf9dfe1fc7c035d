"""A detector from a COCO file to its predictions, by the same `run` as a classifier."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jaxcnn.analysis.scores.coco_ap import ap50, coco_ap
from jaxcnn.analysis.scores.detections import detection_matches
from jaxcnn.errors import InputError
from jaxcnn.run import draw_prediction, evaluate_run, load_result, measure_run, predict, run
from jaxcnn.run.report.page import write_run_page
from jaxcnn.spec import DataConfig, Detection, ModelSpec, OptimizerConfig, RunConfig, Segmentation
from tests.cli.calls import call, refused
from tests.run.test_report import checked
from tests.train.small import timeless

SIZE = (32, 48)
SSD = ModelSpec("plain", 4, 8, head="ssd", options={"head_pyramid": False, "head_scale": 2.0})


def draw(root, count=40):
    """Red squares (class 0) and blue bars (class 1) on a dark, noisy ground; every eighth image is empty."""
    rng, annotations = np.random.default_rng(0), []
    (root / "images").mkdir(parents=True)
    for i in range(count):
        image = rng.integers(0, 60, (*SIZE, 3))
        for label in range(2 if i % 8 else 0):
            height, width = ((10, 10), (6, 16))[label]
            top, left = rng.integers(0, SIZE[0] - height), rng.integers(0, SIZE[1] - width)
            image[top : top + height, left : left + width] = ((230, 40, 40), (40, 60, 230))[label]
            annotations.append({
                "id": len(annotations), "image_id": i, "category_id": label + 1, "iscrowd": 0, "area": height * width,
                "bbox": [int(left), int(top), width, height],
            })  # fmt: skip
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{i:02}.png")
    record = {
        "images": [{"id": i, "file_name": f"{i:02}.png", "height": SIZE[0], "width": SIZE[1]} for i in range(count)],
        "categories": [{"id": 1, "name": "square"}, {"id": 2, "name": "bar"}], "annotations": annotations,
    }  # fmt: skip
    (root / "train.json").write_text(json.dumps(record))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("objects"))


def config(folder, **options):
    return RunConfig(
        options.pop("model", SSD), DataConfig(str(folder), augment=("flip",), validation=0.2),
        OptimizerConfig("sgd", 0.02, warmup_epochs=1.0, clip_norm=5.0), epochs=options.pop("epochs", 24), batch_size=8,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    return run(config(folder), out=tmp_path_factory.mktemp("detector") / "run", progress=False)


@pytest.mark.slow
def test_it_learns_and_its_metrics_follow_from_what_is_stored(finished):
    stored = load_result(finished.directory)
    assert stored.config.task == Detection()
    assert stored.metrics["test_AP50"] > 0.5
    assert 0 <= stored.metrics["validation_AP50"] <= 1
    arrays = stored.predictions
    tests = finished.data["sizes"]["test"]
    assert arrays["found_boxes"].shape == (tests, 100, 4)
    scale = np.tile(SIZE, 2)
    found = {name: arrays[f"found_{name}"] for name in ("scores", "labels")} | {"boxes": arrays["found_boxes"] * scale}
    truth = {"boxes": arrays["boxes"] * scale, "labels": arrays["labels"]}
    again = coco_ap(found, truth, classes=2)
    for name in ("AP", "AP50", "AP75"):
        assert stored.metrics[f"test_{name}"] == pytest.approx(again[name], abs=1e-6)
    assert stored.details["AR100"] == pytest.approx(again["AR100"], abs=1e-6)
    matches = detection_matches(arrays, 2, (*SIZE, 3), finished.config.data)
    assert ap50(matches) == pytest.approx(stored.metrics["test_AP50"])
    metrics, details, names = measure_run(finished.directory)
    assert metrics == pytest.approx(evaluate_run(finished.directory))
    assert metrics["AP50"] == pytest.approx(stored.metrics["test_AP50"])
    assert (details["class_AP50"], names) == (pytest.approx(stored.details["class_AP50"]), ("square", "bar"))


@pytest.mark.slow
def test_it_predicts_files_of_any_size(finished, folder, tmp_path):
    image = Image.open(folder / "images" / "03.png")
    image.resize((3 * SIZE[1], 2 * SIZE[0]), Image.Resampling.NEAREST).save(tmp_path / "big.png")
    small, large = predict(finished.directory, [folder / "images" / "03.png", tmp_path / "big.png"])
    # The pixels differ a little, so the order may: some box of the one is the best of the other.
    assert np.abs(small["boxes"] * [2, 3, 2, 3] - large["boxes"][:1]).max(axis=1).min() < 6
    assert large["boxes"][:, 3].max() > SIZE[1]
    assert small["size"] == SIZE
    many = predict(finished.directory, [folder / "images" / f"{i:02}.png" for i in range(11)])  # more than a batch
    assert np.array_equal(many[3]["labels"], small["labels"])
    assert len(many) == 11
    picture = draw_prediction(tmp_path / "big.png", large)
    assert picture is not None
    assert picture.width == 3 * SIZE[1]


@pytest.mark.slow
def test_the_command_line_draws_writes_coco_and_tables(finished, folder, tmp_path, capsys):
    image = folder / "images" / "03.png"
    code, out, _ = call(capsys, "predict", finished.directory, image, "--out", tmp_path / "drawn", "--json")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["03.png", "detections.json"]
    (record,) = json.loads(out)
    (own,) = predict(finished.directory, [image])
    assert len(record["objects"]) == len(own["labels"])
    y, x, bottom, right = own["boxes"][0]
    assert record["objects"][0]["bbox"] == pytest.approx([x, y, right - x, bottom - y], abs=1e-3)
    stored = json.loads((tmp_path / "drawn" / "detections.json").read_text())
    assert [each["name"] for each in stored["categories"]] == ["square", "bar"]
    assert stored["images"][0]["height"] == SIZE[0]
    assert stored["annotations"][0]["bbox"] == pytest.approx(record["objects"][0]["bbox"], abs=1e-3)
    code, out, _ = call(capsys, "evaluate", finished.directory)
    assert "test AP50" in out
    assert "square" in out
    code, out, _ = call(capsys, "data", "check", folder)
    assert "40 images with boxes of 2 classes" in out


def test_models_and_data_that_do_not_fit_are_refused(folder, capsys):
    with pytest.raises(InputError, match=r"it needs one class for each image, and .* has boxes"):
        run(RunConfig(ModelSpec("plain", 3, 2), DataConfig(str(folder)), epochs=1), progress=False)
    with pytest.raises(InputError, match=r"it needs boxes, and .* digits has one class"):
        run(RunConfig(SSD, DataConfig("digits"), epochs=1), progress=False)
    with pytest.raises(InputError, match="made for detection; leave task out"):
        run(RunConfig(SSD, DataConfig(str(folder)), task=Segmentation(), epochs=1), progress=False)
    with pytest.raises(InputError, match="does not move boxes"):
        run(
            config(folder, epochs=1).__class__(SSD, DataConfig(str(folder), augment=("elastic",)), epochs=1),
            progress=False,
        )
    with pytest.raises(InputError, match="has boxes, which are kept in memory"):
        run(RunConfig(SSD, DataConfig(str(folder), stream=True), epochs=1), progress=False)
    error = refused(capsys, "train", "--model", "ssd", "--data", folder, "--task.nms-iou", "2", "--epochs", "1")
    assert "nms-iou" in error or "nms_iou" in error


@pytest.mark.slow
@pytest.mark.parametrize("head", ["ssd", "yolo"])
def test_every_way_of_driving_gives_the_same(folder, head):
    """Sharded over four virtual devices, by pmap, scanned: as on one device."""
    options = {"head_pyramid": False}
    base = config(folder, model=ModelSpec("plain", 4, 4, head=head, options=options), epochs=3)
    one = run(replace(base, parallel="jit", scan=False), progress=False)
    for options in ({"parallel": "sharded"}, {"parallel": "pmap"}, {"parallel": "jit", "scan": True}):
        other = run(replace(base, **options), progress=False)
        for name in ("train_loss", "validation_loss", "test_loss"):
            assert other.metrics[name] == pytest.approx(one.metrics[name], rel=2e-2, abs=2e-3), (options, name)
        first, second = (each.history[0]["train_loss"] for each in (one, other))
        assert second == pytest.approx(first, rel=1e-4)


@pytest.mark.slow
def test_it_resumes_to_the_bit(finished, folder, tmp_path):
    class Stop(Exception):
        pass

    def stop(record):
        if record["epoch"] == 3:
            raise Stop

    with pytest.raises(Stop):
        run(finished.config, out=tmp_path / "run", progress=False, on_epoch=stop)
    again = run(finished.config, out=tmp_path / "run", progress=False)
    assert timeless(again.history) == timeless(finished.history)
    for name, values in again.predictions.items():
        np.testing.assert_array_equal(values, finished.predictions[name])


@pytest.mark.slow
def test_its_page_has_scores_by_class_and_drawn_predictions(finished, tmp_path):
    text = checked(write_run_page(finished.directory, tmp_path))
    assert ">AP50</th>" in text
    assert text.count("data:image/png") > 12
    assert "95 % interval" in text
