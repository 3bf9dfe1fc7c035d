"""The page of a run: whole, small, without the network; and what it says where something is missing."""

import json
import shutil

import numpy as np
import optax
import pytest
from PIL import Image
from scipy.stats import binomtest

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.nn.calls import infer
from jaxcnn.run import run
from jaxcnn.run.compare import compare_runs, write_comparison
from jaxcnn.run.report.page import write_run_page
from jaxcnn.run.report.seen import see
from jaxcnn.run.report.summary import bootstrap
from jaxcnn.run.report.summary import test_interval as interval_of
from jaxcnn.run.show import (
    draw_attribution,
    draw_augmented,
    draw_cka,
    draw_features,
    draw_landscape,
    draw_receptive_fields,
    look_inside,
    sample_batches,
)
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from tests.cli.calls import call, refused
from tests.study.report.test_page import Page
from tests.study.small import files

CONFIG = RunConfig(
    ModelSpec("plain", 3, 4), DataConfig("digits", size=16), OptimizerConfig(learning_rate=0.05), epochs=3
)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return run(CONFIG, out=tmp_path_factory.mktemp("page") / "run", progress=False)


def checked(path):
    """Return the text of a page that loads nothing and is small."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in page.loads)
    assert len(text) < 3e6
    return text


def test_the_page_of_a_classifier(classifier):
    text = checked(write_run_page(classifier.directory))
    for heading in ("Metrics", "Curves", "Classes", "Calibration", "Examples", "What the network sees", "Cost",
                    "Configuration", "How to repeat this run"):  # fmt: skip
        assert f">{heading}</h2>" in text
    assert f"{classifier.metrics['test_accuracy']:.4f}" in text
    assert f"{100 * classifier.metrics['test_accuracy']:.2f} %" in text
    assert f"{classifier.params:,}" in text
    assert "optimizer.learning_rate" in text
    assert text.count("<svg") == 9
    assert text.count("data:image/png") > 60
    again = write_run_page(classifier.directory).read_text(encoding="utf-8")
    assert again == text


def test_the_interval_is_wilsons_as_scipy_computes_it(classifier):
    right, count = int(classifier.predictions["correct"].sum()), len(classifier.predictions["correct"])
    wanted = binomtest(right, count).proportion_ci(method="wilson")
    assert interval_of(see(classifier.directory), "accuracy") == pytest.approx((wanted.low, wanted.high))


def test_a_bootstrap_has_the_width_of_the_normal_interval():
    values = np.random.default_rng(0).normal(size=(400, 1))
    low, high = bootstrap(values, lambda sums: sums[..., 0] / 400)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_a_page_without_checkpoint_and_without_data_says_so(classifier, tmp_path):
    shutil.copytree(classifier.directory, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    text = checked(write_run_page(tmp_path / "run", tmp_path / "page"))
    assert "Nothing is shown of the network" in text
    assert "What the network sees</h2>" not in text
    with pytest.raises(InputError, match="does not exist"):
        write_run_page(tmp_path / "run", data=str(tmp_path / "moved"))


def test_runs_side_by_side(classifier, tmp_path, capsys):
    other = run(RunConfig(**{**vars(CONFIG), "seed": 1}), out=tmp_path / "other", progress=False)
    rows = compare_runs([classifier.directory, other.directory])
    table = {name: values for name, *values in rows}
    assert table["seed"] == ["0", "1"]
    assert table["parameters"] == [f"{classifier.params:,}"] * 2
    assert table["test accuracy"] == [f"{each.metrics['test_accuracy']:.4f}" for each in (classifier, other)]
    assert "epochs" not in table
    text = checked(write_comparison([classifier.directory, other.directory], tmp_path / "both.html"))
    assert text.count("<svg") == 1
    code, out, _ = call(capsys, "compare", classifier.directory, other.directory, "--json")
    assert code == 0
    assert list(json.loads(out)["seed"].values()) == ["0", "1"]
    assert "two or more runs" in refused(capsys, "compare", other.directory)
    pair = classifier.directory, other.directory
    code, out, error = call(capsys, "compare", *pair, "--out", tmp_path / "both.txt")
    assert (code, out) == (2, "")
    assert "must end in .html" in error


def test_what_is_compared_has_names_of_its_own(classifier, tmp_path):
    inner = shutil.copytree(classifier.directory, tmp_path / "run" / "run")
    shutil.copytree(inner, tmp_path / "run", dirs_exist_ok=True)
    assert compare_runs([tmp_path / "run", inner])[0] == ["", "run", "run/run"]
    with pytest.raises(InputError, match=r"holds the run .* more than once: give each run once"):
        write_comparison([inner, inner / ".." / "run"], tmp_path / "both.html")
    assert not (tmp_path / "both.html").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["show", "RUN", "kernels", "--index", "3"], "--index 3: kernels are of no image; leave it out"),
        (["show", "RUN", "kernels", "--data", "x"], "--data x: kernels are of no image; leave it out"),
        (["show", "RUN", "cka", "--index", "3"], "cka is of a whole split; leave it out"),
        (["show", "RUN", "features", "--image", "FILE", "--split", "train"], "--split train: --image takes its place"),
        (["show", "RUN", "features", "--image", "FILE", "--out", "FILE"], "it is --image"),
        (["show", "RUN", "features", "--image", "RUN"], "it is a folder; give an image file"),
        (["show", "RUN", "features", "--index"], "--index: give at least one number"),
        (["show", "RUN", "kernels", "--out", "FILE/maps.png"], "it is a file, or lies in one; give a folder"),
        (["show", "RUN", "kernels", "--out", "FOLDER.png"], "FOLDER.png': Is a directory"),
        (["show", "FILE", "kernels"], "it is a file; give a folder that train wrote"),
        (["compare", "RUN", "FILE"], "it is a file; give a folder that train wrote"),
        (["report", "FILE"], "is not a folder: give that of a run or study"),
        (["report", "RUN", "--out", "FILE"], "it is a file; give a folder"),
        (["report", "RUN", "--out", "STUDY"], "it is the folder of another run or study; choose another"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_drawn_or_written_is_one_sentence_and_nothing_changes(
    classifier, tmp_path, capsys, words, problem
):
    (tmp_path / "STUDY").mkdir()
    (tmp_path / "STUDY" / "plan.json").write_text("{}")
    (tmp_path / "FOLDER.png").mkdir()
    Image.new("L", (16, 16), 7).save(tmp_path / "FILE.png")
    before = files(tmp_path)
    for name, path in (("RUN", classifier.directory), ("FILE", tmp_path / "FILE.png")):
        words = [str(path) + word.removeprefix(name) if word.startswith(name) else word for word in words]
    words = [tmp_path / word if word.startswith(("FOLDER", "STUDY")) else word for word in words]
    assert problem in refused(capsys, *words)
    assert files(tmp_path) == before


def test_what_is_drawn_from_python_fits_the_network(classifier):
    inside, image = look_inside(classifier.directory), np.zeros((16, 16, 1), np.uint8)
    for draw, problem in (
        (lambda: draw_features(inside, image[:8]), r"images=\(8, 16, 1\): the network's are \(16, 16, 1\)"),
        (lambda: draw_receptive_fields(inside, image[..., 0]), r"images=\(16, 16\): the network's are"),
        (lambda: draw_attribution(inside, []), "images=.*: give at least one"),
        (lambda: draw_attribution(inside, [image, image], [1]), "targets=.*: give one class for each image"),
        (lambda: draw_attribution(inside, [image], [10]), "from 0 to 9"),
        (lambda: draw_landscape(inside, {}, points=2), "points=2: give an odd number"),
    ):
        with pytest.raises(InputError, match=problem):
            draw()


def test_augmented_images_are_those_of_training(classifier, tmp_path, capsys):
    image = load(CONFIG.data).train["images"][0]
    (axes,) = draw_augmented([image, image], ("flip", "crop"), copies=3).axes
    shown = [np.asarray(each.get_array()) for each in axes.images]
    assert len(shown) == 8
    np.testing.assert_array_equal(shown[0], shown[4])
    assert len({each.tobytes() for each in shown}) > 4
    problem = refused(capsys, "show", classifier.directory, "augmentation", "--out", tmp_path / "a.png")
    assert "augmentation: there is none; choose a run with --data.augment" in problem


@pytest.mark.slow
def test_the_command_writes_pages_and_pictures(classifier, tmp_path, capsys):
    code, out, _ = call(capsys, "report", classifier.directory, "--out", tmp_path)
    assert (code, out) == (0, f"report: {tmp_path / 'report.html'}\n")
    for what, name in (
        ("features", "a.png"),
        ("kernels", "b.svg"),
        ("saliency", "c.png"),
        ("receptive-field", "d.svg"),
    ):
        assert call(capsys, "show", classifier.directory, what, "--out", tmp_path / name)[0] == 0
        start = (tmp_path / name).read_bytes()[:40]
        assert start.startswith(b"\x89PNG" if name.endswith("png") else b"<?xml")
    for words, problem in (
        (["kernels", "--layer", "none"], "--layer none: there is no such convolution"),
        (["features", "--index", "9999"], "--index 9999: test has"),
        (["saliency", "--image", tmp_path / "no.png"], "there is no such file"),
        (["features", "--out", tmp_path / "a.gif"], "must end in .png or .svg"),
    ):
        assert problem in refused(capsys, "show", classifier.directory, *words)


@pytest.mark.slow
def test_a_landscape_has_the_loss_of_the_network_in_its_middle(classifier, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("jaxcnn.run.show.SAMPLE", 64)
    inside, split = look_inside(classifier.directory), load(CONFIG.data).validation
    figure = draw_landscape(inside, split, points=3)
    (batch,) = sample_batches(inside, split)
    logits = infer(inside.module, inside.variables, batch["images"])
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"]).mean()
    for line in figure.axes[0].lines:
        assert line.get_ydata()[1] == pytest.approx(float(loss), rel=1e-5)
    out = tmp_path / "landscape.png"
    assert call(capsys, "show", classifier.directory, "landscape", "--out", out)[0] == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "--other" in refused(capsys, "show", classifier.directory, "landscape", "--other", "x")


@pytest.mark.slow
def test_similarity_of_a_runs_layers_and_of_two_runs(classifier, tmp_path, capsys):
    inside, split = look_inside(classifier.directory), load(CONFIG.data).load_test()
    values = draw_cka(inside, split).axes[0].images[0].get_array()
    np.testing.assert_allclose(values, values.T, atol=1e-6)
    np.testing.assert_allclose(np.diagonal(values), 1, atol=1e-6)
    np.testing.assert_allclose(draw_cka(inside, split, inside).axes[0].images[0].get_array(), values, atol=1e-6)
    words = ["cka", "--other", classifier.directory, "--out", tmp_path / "cka.svg"]
    assert call(capsys, "show", classifier.directory, *words)[0] == 0
    assert "cka is of a whole split" in refused(capsys, "show", classifier.directory, "cka", "--image", "x.png")
