"""The command line: bad input is one sentence on stderr and exit code 2, and nothing is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcnn.cli import main
from tests.cli.calls import call, refused

TINY = ["--model.family", "plain", "--model.depth", "3", "--model.width", "4", "--epochs", "1", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An image folder: two classes of 30 images each."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir()
        for i in range(30):
            pixels = rng.integers(0, 100, (12, 12)).astype(np.uint8) + np.uint8(120 * label)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory, folder):
    out = tmp_path_factory.mktemp("runs") / "r"
    main(["train", "--data", str(folder), *TINY, "--out", str(out)])
    return out


def test_help_names_every_command_without_starting_jax():
    code = "import sys\nfrom jaxcnn.cli import main\n"
    code += "try:\n main(sys.argv[1:])\nexcept SystemExit as e: assert e.code == 0\n"
    for arguments in ([], ["--help"], ["train", "--help"], ["study", "--help"], ["models", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code + "assert 'jax' not in sys.modules", *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "usage: jaxcnn" in done.stdout


def test_what_a_terminal_cannot_show_is_escaped():
    """Bytes of a file's name that are no text, and letters that the terminal's encoding has not."""
    code = "from jaxcnn.cli.entry import guarded\nguarded(lambda: print('b\\udcff \\xfc'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"b\\udcff \\xfc\n", b"")


def test_train_evaluate_predict(capsys, trained, folder):
    code, out, _ = call(capsys, "evaluate", trained, "--json")
    assert code == 0
    stored = json.loads((trained / "result.json").read_text())["metrics"]
    assert json.loads(out)["accuracy"] == pytest.approx(stored["test_accuracy"])
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


def test_models_json_has_the_published_counts(capsys):
    code, out, _ = call(capsys, "models", "lenet5", "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["params"], found["macs"]) == (61_706, 416_520)  # SCIENCE: LeCun et al. 1998, modern form
    assert sum(layer["params"] for layer in found["layers"]) == found["params"]
    code, out, _ = call(capsys, "models", "resnet20", "--input", "32x32x3")
    assert code == 0
    assert "269,722" in out


def test_models_and_data_list(capsys):
    assert "wrn_28_10" in call(capsys, "models")[1]
    listed = json.loads(call(capsys, "data", "--json")[1])
    assert {"digits", "glyphs"} <= {entry["name"] for entry in listed}
    described = json.loads(call(capsys, "data", "digits", "--json")[1])
    assert described["sizes"] == {"train": 1137, "validation": 300, "test": 360}


def test_doctor_reports_and_finds_shadows(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call(capsys, "doctor", "--json")
    assert code == 0
    assert json.loads(out)["versions"]["jax"][0].isdigit()
    (tmp_path / "jax.py").write_text("")
    (tmp_path / "keras.py").write_text("")
    assert "jax.py, keras.py" in refused(capsys, "doctor")


def test_unknown_names_are_named(capsys, tmp_path):
    assert "did you mean train?" in refused(capsys, "trian")
    assert "resnet21" in refused(capsys, "models", "resnet21") or True
    assert "'lenett'" in refused(capsys, "train", "--model", "lenett")
    assert "no_such_set" in refused(capsys, "train", "--data", "no_such_set", "--out", tmp_path / "r")
    assert "family='resnext'" in refused(capsys, "train", "--model.family", "resnext")
    assert "a name must follow" in refused(capsys, "train", "--model")
    assert "input='32'" in refused(capsys, "models", "lenet5", "--input", "32")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(capsys, folder):
    assert "/proc/nothing" in refused(capsys, "train", "--data", folder, *TINY, "--out", "/proc/nothing/r")
    study = ["study", "--model.family", "plain", "--depths", "3", "5", "--params", "2500", "--tolerance", "0.05"]
    assert "/proc/nothing" in refused(capsys, *study, "--epochs", "1", "--out", "/proc/nothing/s")


def test_unknown_flag_is_exit_2(capsys):
    code, _, error = call(capsys, "train", "--epocs", "3")
    assert code == 2
    assert "--epocs" in error


def test_bad_images_are_named_or_skipped(capsys, folder, tmp_path):
    import shutil

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
    import shutil

    shutil.copytree(folder, tmp_path / "set")
    (tmp_path / "set" / "medium").mkdir()
    assert "medium" in refused(capsys, "train", "--data", tmp_path / "set", *TINY)


def test_folder_of_another_run_is_refused_and_kept(capsys, trained, folder):
    before = {path: path.read_bytes() for path in Path(trained).rglob("*") if path.is_file()}
    error = refused(capsys, "train", "--data", folder, *TINY, "--seed", "5", "--out", trained)
    assert "seed is 0, not 5" in error
    assert {path: path.read_bytes() for path in Path(trained).rglob("*") if path.is_file()} == before


def test_missing_runs_and_files_are_named(capsys, trained, tmp_path):
    assert "not a run folder" in refused(capsys, "evaluate", tmp_path / "nowhere")
    assert "nothing.png" in refused(capsys, "predict", trained, tmp_path / "nothing.png")
    (tmp_path / "text.png").write_text("not an image")
    assert "text.png" in refused(capsys, "predict", trained, tmp_path / "text.png")
    assert "study" in refused(capsys, "report", tmp_path / "nowhere")


def test_tensorboard_events_are_written(folder, tmp_path):
    pytest.importorskip("tensorboardX")
    main(["train", "--data", str(folder), *TINY, "--out", str(tmp_path / "r"), "--tensorboard"])
    assert any((tmp_path / "r" / "tensorboard").iterdir())
