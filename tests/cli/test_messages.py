"""Messages of the command line: one sentence, in its own words, with a suggestion; help fits 80 columns."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxcnn.cli.flags import parse
from jaxcnn.cli.messages import flags_for_fields
from jaxcnn.errors import InputError
from jaxcnn.spec import StudyConfig
from tests.cli.calls import TINY, call, refused

STUDY = ["study", "--depths", "8", "14", "--params", "3000"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("train --modle lenet5", ["--modle: unknown flag; did you mean --model", "?"]),
        ("train --lr 0.1", ["--lr: unknown flag; did you mean --optimizer.learning-rate?"]),
        ("train --bathc-size=3", ["--bathc-size", "did you mean --batch-size?"]),
        ("train --size 28", ["did you mean --data.size?"]),
        ("train --model.dropuot 0.5 --model.family wrn", ["did you mean --model.dropout?"]),
        ("train --zzz 1", ["--zzz: unknown flag; run `jaxcnn train --help` for all flags"]),
        ("evaluate r --splitt test", ["did you mean --split?"]),
        ("models a b", ["b: unexpected", "`jaxcnn models --help`"]),
        ("train --epochs x", ["--epochs x: give INT"]),
        ("train --model.skip maybe", ["--model.skip maybe: choose one of True, False"]),
        ("train --epochs", ["--epochs: needs a value"]),
        ("train --model.family lenet --model.units a b", ["--model.units a b: give [INT [INT ...]]"]),
        ("evaluate", ["RUN: needs a value: Folder of the run"]),
        ("predict runs/x", ["IMAGE", "none given"]),
        ("report", ["STUDY", "none given"]),
        ("data check", ["NAME: needs a value: digits, glyphs"]),
        ("data prepare", ["NAME: needs a value"]),
        ("study status", ["STUDY: needs a value"]),
        ("study rerun s", ["--arm: needs a value: Label of the arm"]),
        ("study statsu s", ["statsu: unexpected", "`jaxcnn study --help` shows what to give"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_flags_are_one_sentence_with_a_suggestion(capsys, words, parts):
    error = refused(capsys, *words.split())
    for part in parts:
        assert part in error


def test_scripts_name_wrong_flags_in_the_same_way():
    with pytest.raises(InputError, match=r"--margn: unknown flag; did you mean --margin\?"):
        parse(StudyConfig(), ["--margn", "0.1"])


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "--epochs", "0"], "--epochs 0: must be at least 1"),
        (["train", "--data.train-size", "0"], "--data.train-size 0: "),
        (["train", "--model", "lenet55"], "--model lenet55: unknown model; the nearest are lenet5, "),
        (["train", "--data", "digitss"], "--data digitss is not a known data set"),
        (["train", "--out", "/dev/null"], "--out /dev/null: it is a file"),
        ([*STUDY, "--tuning.learning-rates", "0.2", "0.1"], "--tuning.learning-rates 0.2 0.1: "),
        ([*STUDY, "--seeds.pilot", "3", "--seeds.cap", "2"], "--seeds.pilot 3, --seeds.cap 2"),
        ([*STUDY, "--margin", "0"], "--margin 0"),
        (["study", "--depths", "8", "9"], "--depths 9: resnet needs 6n+2"),
        ([*STUDY, "--ray-address", "auto"], "--ray-address auto: it is for a Ray cluster; give --place ray as well"),
        (["evaluate", "r", "--split", "x"], "--split x: choose train, validation or test"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_and_remedies_are_in_the_words_of_the_command_line(capsys, tmp_path, monkeypatch, words, part):
    monkeypatch.chdir(tmp_path)
    assert part in refused(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_the_remedy_for_images_of_many_sizes_is_a_flag(capsys, tmp_path):
    for number, size in enumerate((8, 9)):
        folder = tmp_path / "photos" / f"class{number}"
        folder.mkdir(parents=True)
        for index in range(12):
            Image.fromarray(np.full((size, size), 20 * index, np.uint8)).save(folder / f"{index}.png")
    assert "such as --data.size 64" in refused(capsys, "train", "--data", tmp_path / "photos")
    assert "such as --size 64" in refused(capsys, "data", "check", tmp_path / "photos")


def test_unknown_models_name_the_five_nearest(capsys):
    error = refused(capsys, "train", "--model", "qqq")
    assert len(error.partition("the nearest are ")[2].partition(" (")[0].split(", ")) == 5
    assert len(error) < 160


def test_mistyped_folders_are_suggested(capsys, tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(b"")
    shutil.copytree(trained, tmp_path / "runs" / "first")
    assert "did you mean photos" in refused(capsys, "train", "--data", "photo")
    assert "did you mean photos" in refused(capsys, "data", "check", "./photo")
    assert "did you mean runs/first?" in refused(capsys, "evaluate", "runs/firts")
    assert "did you mean runs/first?" in refused(capsys, "predict", "runs/frist", "photos")
    assert "did you mean runs/first?" in refused(capsys, "report", "runs/fist")
    (tmp_path / "cat.png").write_bytes(b"")
    assert "did you mean cat.png?" in refused(capsys, "predict", "runs/first", "cat.pgn")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([*STUDY, "--model.depth", "3"], "--model.depth: a study chooses it; give --depths"),
        ([*STUDY, "--model.width=3"], "--model.width: a study chooses it; give a budget, such as --params 27000"),
        ([*STUDY, "--optimizer.learning-rate", "1"], "--optimizer.learning-rate: a study chooses it; give --tuning"),
        ([*STUDY, "--optimizer.weight_decay", "1"], "--optimizer.weight-decay: a study chooses it; give --tuning"),
        ([*STUDY, "--seed", "1"], "--seed: a study chooses it; give --seeds.first"),
        ([*STUDY, "--no-evaluate-test"], "--evaluate-test: a study chooses it"),
        (["train", "--tensorboard"], "--tensorboard: needs --out"),
        (["train", "--keep", "1"], "--keep: needs --out"),
        (["train", "--checkpoint-steps", "5"], "--checkpoint-steps: needs --out"),
        (["train", "--host-timeout", "5"], "--host-timeout: needs --hosts"),
        (["train", "--data.images", "500"], "--data.images: needs --data glyphs"),
        (["train", "--data.workers", "1"], "--data.workers: needs --data.stream"),
        (["train", "--optimizer.milestones", "0.3"], "--optimizer.milestones: needs --optimizer.schedule step"),
        (["train", "--optimizer.rest-scale", "2"], "--optimizer.rest-scale: needs --optimizer.name muon"),
        ([*STUDY, "--optimizer.name", "adam", "--optimizer.momentum", "0.5"], "--optimizer.momentum: needs"),
        (["models", "--input", "32x32x3"], "--input: needs the name of a model"),
        (["models", "resnet", "--classes", "3"], "--classes: needs the name of a model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_would_be_ignored_are_refused(capsys, tmp_path, monkeypatch, words, part):
    monkeypatch.chdir(tmp_path)
    assert part in refused(capsys, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        [], ["train"], ["study"], ["train", "--help-all"], ["study", "--help-all", "--model.family", "lenet"],
        ["evaluate"], ["predict"], ["report"], ["verify"], ["study", "rerun"],
        ["models"], ["data"], ["data", "check"], ["data", "prepare"], ["data", "digits"], ["doctor"],
        ["study", "status"],
    ],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("columns", ["80", "200"])
def test_help_fits_80_columns(capsys, monkeypatch, words, columns):
    monkeypatch.setenv("COLUMNS", columns)
    code, page, error = call(capsys, *words, "--help")
    assert (code, error) == (0, "")
    assert max(map(len, page.splitlines())) <= 80
    assert "\n\n\n" not in page


def test_help_shows_the_usual_flags_and_help_all_every_one(capsys):
    for command, tail in (("train", "--optimizer.bias-scale"), ("study", "--gpus-per-run")):
        page, full = (call(capsys, command, flag)[1] for flag in ("--help", "--help-all"))
        assert tail not in page
        assert tail in full
        assert f"`jaxcnn {command} --help-all` shows all " in page
        assert 2 * len(page.splitlines()) < len(full.splitlines())
        assert {line for line in page.splitlines() if line.startswith("  --")} <= set(full.splitlines())
    assert "task options" in page
    assert "--seed INT" not in page  # a study chooses it


def test_help_shows_what_is_required_and_where_to_start(capsys):
    for command in ("train", "study"):
        page = call(capsys, command, "--help")[1]
        assert "--model NAME" in page
        assert page.index("--model NAME") < page.index("--data NAME") < page.index("--epochs")
        assert page.index("--out") < page.index("--epochs")
    for words in (["evaluate"], ["predict"], ["report"], ["data", "check"], ["data", "prepare"], ["study", "status"]):
        page = " ".join(call(capsys, *words, "--help")[1].split())
        assert "(required)" in page
        assert "(default: )" not in page
        assert "None" not in page
    assert "jaxcnn study status STUDY" in call(capsys, "study", "--help")[1]
    page = call(capsys, "data", "--help")[1]
    assert "jaxcnn data check NAME" in page
    assert "jaxcnn data prepare NAME" in page


def test_a_home_that_cannot_be_written_gets_a_temporary_cache(tmp_path):
    """The digits need no cache that lasts; a folder that the user chose is never replaced."""
    (tmp_path / "file").write_text("")
    names = ("JAXCNN_CACHE", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
    env = {name: value for name, value in os.environ.items() if name not in names}
    env["HOME"] = str(tmp_path / "file" / "home")
    command = [sys.executable, "-m", "jaxcnn", "data", "digits", "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be written") == 1
    assert "JAXCNN_CACHE" in done.stderr
    env["JAXCNN_CACHE"] = str(tmp_path / "file" / "chosen")
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "chosen" in done.stderr
    assert "set JAXCNN_CACHE to another folder" in done.stderr


def test_a_missing_extra_leaves_nothing_behind(capsys, tmp_path, monkeypatch, folder):
    for name in ("tensorboardX", "ray"):
        monkeypatch.setitem(sys.modules, name, None)
    train = ["train", "--data", folder, *TINY, "--tensorboard", "--out", tmp_path / "r"]
    for words, extra in ((train, "tensorboard"), ([*STUDY, "--place", "ray", "--out", tmp_path / "s"], "ray")):
        error = refused(capsys, *words)
        assert f"pip install -c constraints.txt -e '.[{extra}]'" in error
        assert "clone of jaxcnn" in error
    assert list(tmp_path.iterdir()) == []


def test_a_path_with_an_equals_sign_stays_as_it_is(capsys):
    """Folders such as seed=3,shared=1 are common; fields outside quotes become flags."""
    assert "'runs/seed=3,shared=1'" in refused(capsys, "report", "runs/seed=3,shared=1")
    with (
        pytest.raises(InputError, match=r"--batch-size 0: must be 'x=1' in 'runs/seed=3'"),
        flags_for_fields({"--batch-size": int, "--seed": int}),
    ):
        raise InputError("batch_size=0: must be 'x=1' in 'runs/seed=3'")
