"""The page of a run: whole, small, without the network; and what it says where something is missing."""

import json
import shutil

import numpy as np
import optax
import pytest
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
from jaxcnn.run.show import draw_cka, draw_landscape, look_inside, sample_batches
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig
from tests.cli.calls import call, refused
from tests.study.report.test_page import Page

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
