"""`jaxcnn train`, `evaluate` and `predict`: bad input is one sentence and exit code 2, and nothing is lost."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from jaxcnn.cli import main
from jaxcnn.spec import OptimizerConfig
from tests.cli.calls import TINY, call, refused


def test_train_evaluate_predict(capsys, trained, folder):
    code, out, _ = call(capsys, "evaluate", trained, "--json")
    assert code == 0
    stored = json.loads((trained / "result.json").read_text())["metrics"]
    assert json.loads(out)["accuracy"] == pytest.approx(stored["test_accuracy"])
    assert "validation loss" in call(capsys, "evaluate", trained, "--split", "validation")[1]
    # Any size and mode: a colour image of another size.
    picture = trained.parent / "colour.png"
    Image.new("RGB", (40, 30), (250, 250, 250)).save(picture)
    code, out, _ = call(capsys, "predict", trained, folder / "dark" / "0.png", picture, "--json")
    assert code == 0
    first, second = json.loads(out)
    assert {name for name, _ in first["top"]} == {"dark", "light"}
    assert sum(share for _, share in second["top"]) == pytest.approx(1, abs=1e-5)
    code, out, _ = call(capsys, "predict", trained, picture)
    assert code == 0
    assert "colour.png: " in out


def test_a_diverged_run_has_an_exit_code_of_its_own(capsys, folder, tmp_path):
    flags = ["--optimizer.learning-rate", "1e30", "--optimizer.warmup-epochs", "0", "--epochs", "3"]
    code, _, error = call(capsys, "train", "--data", folder, *TINY, *flags, "--out", tmp_path / "r")
    assert code == 3
    assert "diverged at step" in error
    assert "lower the learning rate" in error


@pytest.mark.slow
def test_a_run_that_diverges_with_its_last_step_has_that_code_and_a_page(capsys, tmp_path):
    """Its weights are finite, but so large that a loss is not."""
    flags = ["--model.family", "dense", "--model.depth", "2", "--model.width", "4", "--data", "digits",
             "--data.train-size", "64", "--epochs", "1", "--optimizer.learning-rate", "1e25"]  # fmt: skip
    code, _, error = call(capsys, "train", *flags, "--out", tmp_path / "r")
    assert code == 3
    assert "diverged after the last step: a loss is not finite" in error
    assert call(capsys, "report", tmp_path / "r")[0] == 0


def test_a_network_that_no_memory_holds_is_refused(capsys):
    """JAX waits for ever where such an allocation fails."""
    flags = ["--model.family", "plain", "--model.depth", "3", "--model.width", "1000000"]
    code, _, error = call(capsys, "train", "--data", "digits", *flags)
    assert code == 2
    assert "jaxcnn: --model.width 1000000: parameters and optimizer take " in error
    assert "GB memory; choose a smaller one" in error


def test_unknown_names_are_named(capsys, tmp_path):
    assert "--model lenett: unknown model" in refused(capsys, "train", "--model", "lenett")
    assert "no_such_set" in refused(capsys, "train", "--data", "no_such_set", "--out", tmp_path / "r")
    assert "--model.family resnext" in refused(capsys, "train", "--model.family", "resnext")
    assert "--model: needs a name" in refused(capsys, "train", "--model")
    assert "--data : it is empty; give a data set" in refused(capsys, "train", "--data", "")
    gone = refused(capsys, "train", "--model", "resnet18", "--weights", tmp_path / "gone.pth")
    assert "gone.pth: no such file" in gone  # not that the embedded digits are grey
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(capsys, folder):
    assert "/proc/nothing" in refused(capsys, "train", "--data", folder, *TINY, "--out", "/proc/nothing/r")


def test_bad_images_are_named_or_skipped(capsys, folder, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "dark" / "cut.png").write_bytes((folder / "dark" / "0.png").read_bytes()[:40])
    (broken / "light" / "empty.png").write_bytes(b"")
    error = refused(capsys, "train", "--data", broken, *TINY, "--out", tmp_path / "r")
    assert "cut.png" in error or "empty.png" in error
    assert not (tmp_path / "r").exists()
    with pytest.warns(UserWarning, match="cut.png"):
        code, _, error = call(
            capsys, "train", "--data", broken, "--data.on-bad", "skip", *TINY, "--out", tmp_path / "r"
        )
    assert code == 0, error
    skipped = json.loads((tmp_path / "r" / "data.json").read_text())["skipped"]
    assert len(skipped) == 2


def test_class_folder_without_images_is_named(capsys, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "set")
    (tmp_path / "set" / "medium").mkdir()
    assert "medium" in refused(capsys, "train", "--data", tmp_path / "set", *TINY)


def test_folder_of_another_run_is_refused_and_kept(capsys, trained, folder):
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    error = refused(capsys, "train", "--data", folder, *TINY, "--seed", "5", "--out", trained)
    assert "seed is 0, not 5" in error
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_missing_runs_and_files_are_named(capsys, trained, tmp_path):
    assert "not a run folder" in refused(capsys, "evaluate", tmp_path / "nowhere")
    study = Path(__file__).parents[2] / "docs/results/digits_holdout/plain"
    assert "it is a study; give one of its runs" in refused(capsys, "evaluate", study)
    assert "IMAGE: none given" in refused(capsys, "predict", trained)
    assert "nothing.png" in refused(capsys, "predict", trained, tmp_path / "nothing.png")
    (tmp_path / "text.png").write_text("not an image")
    assert "text.png" in refused(capsys, "predict", trained, tmp_path / "text.png")


def test_tensorboard_events_are_written(folder, tmp_path):
    pytest.importorskip("tensorboardX")
    main(["train", "--data", str(folder), *TINY, "--out", str(tmp_path / "r"), "--tensorboard"])
    assert any((tmp_path / "r" / "tensorboard").iterdir())


def test_events_of_a_run_that_was_finished_without_them_are_asked_for_in_vain(folder, tmp_path, capsys):
    command = ["train", "--data", folder, *TINY, "--out", tmp_path / "r"]
    assert call(capsys, *command)[0] == 0
    code, _, error = call(capsys, *command, "--tensorboard")
    assert (code, error.count("\n")) == (0, 1)
    assert "this run was finished without it; train it again in a new folder" in error


def test_training_that_ends_at_chance_level_gets_a_hint(capsys, folder):
    flags = ["--optimizer.learning-rate", "1e-9", "--optimizer.warmup-epochs", "0"]
    code, _, error = call(capsys, "train", "--data", folder, *TINY, *flags)
    assert code == 0
    assert "no better than chance" in error
    assert "--optimizer.learning-rate" in error
    code, _, error = call(capsys, "train", "--data", folder, *TINY, "--epochs", "20")
    assert (code, error) == (0, "")


def test_adam_gets_its_own_rate_on_the_command_line():
    from tests.cli.test_flags import train_config

    assert train_config("--optimizer.name", "adam").optimizer == OptimizerConfig("adam")
    assert train_config("--optimizer.name=adam", "--optimizer.learning-rate", "0.1").optimizer.learning_rate == 0.1
    assert train_config("--optimizer.name", "sgd").optimizer == OptimizerConfig()


def test_a_result_is_json_for_scripts_and_a_model_that_is_not_kept_is_said(capsys, folder):
    code, out, error = call(capsys, "train", "--data", folder, *TINY, "--json")
    assert code == 0
    result = json.loads(out)
    assert {"params", "macs", "epochs", "train_loss", "validation_accuracy", "test_accuracy", "seconds"} <= set(result)
    assert (result["directory"], result["diverged"]) == (None, None)
    loud = [flag for flag in TINY if flag != "--quiet"]
    code, out, error = call(capsys, "train", "--data", folder, *loud)
    assert "(--out): the model will not be kept" in error
    assert "not kept: give --out FOLDER to keep the model" in out


def test_a_folder_of_images_is_predicted(capsys, trained, folder, tmp_path):
    (tmp_path / "new" / "deeper").mkdir(parents=True)
    shutil.copy(folder / "dark" / "0.png", tmp_path / "new" / "b.png")
    shutil.copy(folder / "light" / "0.png", tmp_path / "new" / "deeper" / "a.png")
    (tmp_path / "new" / "notes.txt").write_text("no image")
    found = json.loads(call(capsys, "predict", trained, tmp_path / "new", folder / "dark" / "1.png", "--json")[1])
    names = [tmp_path / "new" / "b.png", tmp_path / "new" / "deeper" / "a.png", folder / "dark" / "1.png"]
    assert [each["path"] for each in found] == [str(name) for name in names]
    (tmp_path / "none").mkdir()
    assert "the folder has no image files" in refused(capsys, "predict", trained, tmp_path / "none")


def test_training_images_of_one_colour_are_warned_of(capsys, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "some")
    for number in range(3):
        Image.new("L", (12, 12), 0).save(tmp_path / "some" / "dark" / f"black{number}.png")
    with pytest.warns(UserWarning, match=r"[123] of \d+ training images of data set .* are of one colour, .*all 0"):
        assert call(capsys, "train", "--data", tmp_path / "some", *TINY)[0] == 0


@pytest.mark.slow
def test_resuming_prints_nothing_of_other_packages(folder, tmp_path):
    """Orbax would warn through absl that it was not told how to shard."""
    code = (
        "import os, signal, sys\nfrom jaxcnn.run import run\nfrom jaxcnn.spec import *\n"
        "config = RunConfig(ModelSpec('plain', 3, 4), DataConfig(sys.argv[1]), epochs=4)\n"
        "def stop(record):\n    if record['epoch'] == 2:\n        os._exit(0)\n"
        "run(config, out=sys.argv[2], progress=False, on_epoch=stop if len(sys.argv) > 3 else None)\n"
    )
    for words in (["stop"], []):
        arguments = [sys.executable, "-c", code, str(folder), str(tmp_path / "r"), *words]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert done.stderr == ""
    assert len((tmp_path / "r" / "metrics.jsonl").read_text().splitlines()) == 4


def test_evaluate_refuses_changed_data_and_takes_moved_ones(capsys, trained, folder, tmp_path):
    accuracy = call(capsys, "evaluate", trained, "--json")[1]
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert call(capsys, "evaluate", trained, "--data", moved, "--json")[1] == accuracy
    (moved / "dark").rename(moved / "a_dark")
    error = refused(capsys, "evaluate", trained, "--data", moved)
    assert "its class_names changed since the run in" in error
    assert "(['dark', 'light'], now ['a_dark', 'light'])" in error


def test_a_bad_image_among_good_ones_loses_no_prediction(capsys, trained, folder, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    images = [folder / "dark" / "0.png", tmp_path / "text.png", tmp_path / "none.png", folder / "light" / "0.png"]
    code, out, error = call(capsys, "predict", trained, *images)
    assert code == 2
    assert [line.partition(": ")[0] for line in out.splitlines()] == [str(images[0]), str(images[3])]
    assert [line.startswith("jaxcnn: image ") for line in error.splitlines()] == [True, True]
    code, out, _ = call(capsys, "predict", trained, *images, "--json")
    assert code == 2
    assert ["error" in each for each in json.loads(out)] == [False, True, True, False]
