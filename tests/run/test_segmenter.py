"""A segmenter from a folder of images and masks to its predictions, by the same `run` as a classifier."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jaxcnn.analysis.scores import run_length
from jaxcnn.analysis.scores.segmentation import confusion_matrix, mean_iou, pixel_accuracy
from jaxcnn.errors import InputError
from jaxcnn.run import draw_prediction, evaluate_run, load_result, measure_run, predict, run
from jaxcnn.run.report.page import write_run_page
from jaxcnn.spec import Classification, DataConfig, ModelSpec, OptimizerConfig, RunConfig, Segmentation
from tests.cli.calls import call, refused
from tests.run.test_report import checked
from tests.train.small import timeless

H, W = 16, 24
UNET = ModelSpec("unet", 8, 4, options={"levels": 2})


def draw(root, count=24, seed=0):
    """Bright discs (class 2) and bars (class 1) on a dark, noisy ground (class 0); a frame without a class."""
    rng = np.random.default_rng(seed)
    rows, columns = np.meshgrid(np.arange(H), np.arange(W), indexing="ij")
    for kind in ("images", "masks"):
        (root / kind).mkdir(parents=True)
    for i in range(count):
        mask = np.zeros((H, W), np.uint8)
        mask[:, (left := rng.integers(0, W - 4)) : left + 4] = 1
        mask[(rows - rng.integers(4, 12)) ** 2 + (columns - rng.integers(4, 20)) ** 2 < 16] = 2
        image = np.array([[30, 30, 30], [220, 60, 40], [40, 80, 230]])[mask] + rng.integers(-25, 25, (H, W, 3))
        mask[0] = 255
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{i:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"{i:02}.png")
    (root / "classes.txt").write_text("ground\nbar\ndisc\n")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(tmp_path_factory.mktemp("scenes"))


def config(folder, **options):
    return RunConfig(
        UNET if "model" not in options else options.pop("model"),
        DataConfig(str(folder), augment=("flip", "crop"), validation=0.2),
        OptimizerConfig("adam", 0.02, warmup_epochs=0.0), epochs=8, batch_size=6, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    weighted = config(folder, task=Segmentation(class_weights="median"))
    return run(weighted, out=tmp_path_factory.mktemp("segmenter") / "run", progress=False)


@pytest.mark.slow
def test_it_learns_and_its_metrics_follow_from_what_is_stored(finished):
    stored = load_result(finished.directory)
    assert stored.config.task == Segmentation(class_weights="median")
    assert stored.metrics["test_mean_iou"] > 0.6
    arrays = stored.predictions
    confusion = confusion_matrix(arrays["labels"], arrays["predictions"], 3)
    assert stored.metrics["test_mean_iou"] == pytest.approx(mean_iou(confusion))
    assert stored.metrics["test_accuracy"] == pytest.approx(pixel_accuracy(confusion))
    assert stored.details["confusion"] == confusion.tolist()
    shares = arrays["intersections"].sum(0) / arrays["unions"].sum(0)
    assert stored.metrics["test_mean_iou"] == pytest.approx(shares.mean())
    assert arrays["labels"].shape == (finished.data["sizes"]["test"], H, W)
    assert (arrays["labels"][:, 0] == 255).all()
    metrics, details, names = measure_run(finished.directory)
    assert metrics == pytest.approx(evaluate_run(finished.directory))
    assert (details["class_iou"], names) == (pytest.approx(stored.details["class_iou"]), ("ground", "bar", "disc"))


@pytest.mark.slow
def test_it_predicts_files_of_any_size(finished, folder, tmp_path):
    big = Image.open(folder / "images" / "03.png").resize((3 * W, 2 * H), Image.Resampling.NEAREST)
    big.save(tmp_path / "big.png")
    small, large = predict(finished.directory, [folder / "images" / "03.png", tmp_path / "big.png"])
    assert small["mask"].shape == (H, W)
    np.testing.assert_array_equal(large["mask"], np.repeat(np.repeat(small["mask"], 2, 0), 3, 1))
    truth = np.asarray(Image.open(folder / "masks" / "03.png"))
    assert (small["mask"] == truth)[1:].mean() > 0.8
    assert small["text"].startswith("ground ")
    picture = draw_prediction(tmp_path / "big.png", large)
    assert picture is not None
    assert picture.width == 3 * W
    assert picture.height > 2 * H  # the legend


@pytest.mark.slow
def test_the_command_line_draws_and_writes_run_lengths(finished, folder, tmp_path, capsys):
    image = folder / "images" / "03.png"
    code, out, _ = call(capsys, "predict", finished.directory, image, image, "--out", tmp_path / "drawn", "--json")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["03.png", "03_2.png"]
    (first, _), (own, _) = json.loads(out), predict(finished.directory, [image, image])
    mask = np.full((H, W), 255)
    for segment in first["segments"]:
        mask[run_length.decode(segment["rle"])] = own["classes"].index(segment["class"])
    np.testing.assert_array_equal(mask, own["mask"])
    code, out, _ = call(capsys, "evaluate", finished.directory)
    assert "test mean iou" in out
    assert "disc" in out
    code, out, _ = call(capsys, "data", "check", folder)
    assert "24 images with masks of 3 classes" in out


@pytest.mark.slow
def test_verify_computes_the_measures_again(finished, capsys):
    code, out, error = call(capsys, "verify", finished.directory)
    assert code == 0, error
    assert "mean IoU" in out


def test_models_and_data_that_do_not_fit_are_refused(folder):
    with pytest.raises(InputError, match=r"it needs one class for each image, and .* has a mask of classes"):
        run(RunConfig(ModelSpec("plain", 3, 2), DataConfig(str(folder)), epochs=1), progress=False)
    with pytest.raises(InputError, match=r"it needs a mask of classes for each image, and .* digits has one class"):
        run(RunConfig(ModelSpec("unet", 11, 2), DataConfig("digits"), epochs=1), progress=False)
    with pytest.raises(InputError, match="the outputs of the model are made for classification; leave task out"):
        run(RunConfig(ModelSpec("plain", 3, 2), DataConfig(str(folder)), task=Segmentation(), epochs=1), progress=False)
    smoothed = Classification(label_smoothing=0.1)
    with pytest.raises(InputError, match="made for segmentation; leave task out, or choose a classifier"):
        run(RunConfig(ModelSpec("unet", 11, 2), DataConfig(str(folder)), task=smoothed, epochs=1), progress=False)
    mixed = replace(config(folder), data=DataConfig(str(folder), mix=("mixup",)))
    with pytest.raises(InputError, match="not masks; leave mix out"):
        run(mixed, progress=False)


def test_flags_start_from_the_task_of_the_model(capsys, folder):
    error = refused(capsys, "train", "--model", "unet", "--data", folder, "--task.label-smoothing", "0.1")
    assert "--task.label-smoothing" in error
    error = refused(capsys, "train", "--model", "unet", "--data", folder, "--task.loss", "focal")
    assert "cross_entropy" in error
    error = refused(capsys, "train", "--model.head", "fcn", "--data", folder, "--model.head-skips", "9")
    assert "head_skips=9" in error or "head-skips 9" in error


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [ModelSpec("unet", 8, 4, options={"levels": 2}), ModelSpec("resnet", 8, 4, head="fcn")]
)
def test_every_way_of_driving_gives_the_same(folder, model):
    """Sharded over four virtual devices, by pmap, scanned: as on one device."""
    base = config(folder, model=model)
    one = run(replace(base, parallel="jit", scan=False), progress=False)
    for options in ({"parallel": "sharded"}, {"parallel": "pmap"}, {"parallel": "jit", "scan": True}):
        other = run(replace(base, **options), progress=False)
        for name, value in one.metrics.items():
            assert other.metrics[name] == pytest.approx(value, rel=2e-2, abs=2e-3), (options, name)
        first, second = (each.history[0]["train_loss"] for each in (one, other))
        assert second == pytest.approx(first, rel=1e-4)


@pytest.mark.slow
def test_jit_is_eager(folder):
    import jax

    from jaxcnn.data import load, take
    from jaxcnn.run.assemble import assemble

    base = config(folder)
    dataset = load(base.data)
    parts = assemble(base, dataset)
    state = parts.init(jax.random.key(0))
    batch = {name: jax.numpy.asarray(each) for name, each in take(dataset.train, np.arange(4)).items()}
    batch["mask"] = jax.numpy.ones(4)
    step = parts.make_steps(None)[0]
    compiled, eager = jax.jit(step)(state, batch, jax.random.key(1)), step(state, batch, jax.random.key(1))
    for a, b in zip(jax.tree.leaves(compiled), jax.tree.leaves(eager), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


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
    assert ">IoU</th>" in text
    assert text.count("data:image/png") > 18
    assert "95 % interval" in text
