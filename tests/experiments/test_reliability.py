"""The reliability campaigns judge rightly: moments, equality to the bit, endings, outcomes; inputs that come again."""

import importlib
import io
import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from jaxcnn.errors import InputError

ROOT = Path(__file__).parents[2]
CAMPAIGNS = ROOT / "experiments" / "reliability"
SCRIPTS = sorted(CAMPAIGNS.glob("*.py"))
SENTENCE = "jaxcnn: epochs=-1: must be at least 1\n"


@pytest.fixture
def module(monkeypatch):
    """Import a file of the campaigns as Python does where it is run as a script: its folder comes first."""
    monkeypatch.syspath_prepend(str(CAMPAIGNS))
    before = set(sys.modules)

    def load(name):
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        if str(CAMPAIGNS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def scene(module, tmp_path):
    """A scene over templates that look like what jaxcnn writes, none of them trained."""
    scenes, templates = module("scenes"), tmp_path / "templates"
    record = {"epochs": 2, "model": {"depth": 3, "units": [1]}, "seal": "0"}
    for run in ("run", "half", "study/runs/a/b/seed0"):
        for name in ("config.json", "data.json", "environment.json", "result.json", "checkpoints/3/state/x"):
            (templates / run / name).parent.mkdir(parents=True, exist_ok=True)
            (templates / run / name).write_text(json.dumps(record))
    for name in (
        "plan.json",
        "tuning.json",
        "pilot.json",
        "runs.json",
        "costs.json",
        "predictions.npz",
        "journal.jsonl",
    ):
        (templates / "study" / name).write_text(json.dumps(record))
    for name in ("dark", "light"):
        (templates / "images" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (8, 8), 9 * number).save(templates / "images" / name / f"{number}.png")
    (templates / "expected.json").write_text(json.dumps({"evaluate run": '{"loss": 1}'}))
    return scenes.make_scene(tmp_path / "scene", templates)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_files_stay_calm(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 270
    if path.stem in ("kills", "inputs"):
        assert {"Question: ", "Runtime: ", "Expected: "} <= {line.split(": ")[0] + ": " for line in text.splitlines()}


@pytest.mark.parametrize(
    ("files", "left", "phase"),
    [
        ({}, None, "STARTING"),
        ({"config.json": 1, "metrics.jsonl": 1, "checkpoints/3/x": 1}, 2, "STARTING"),
        ({"config.json": 9}, 2, "COMPILING"),
        ({"config.json": 9, "checkpoints/3/x": 9}, 2, "TRAINING"),
        ({"config.json": 9, "checkpoints/6.orbax-checkpoint-tmp/x": 9}, 2, "CHECKPOINT"),
        ({"config.json": 9, "data.json.0a.partial": 9}, 2, "RECORD"),
        ({"config.json": 9, "data.json.0a.partial": 1}, 2, "COMPILING"),
        ({"config.json": 9, "checkpoints/3/x": 9}, 0, "RESULT"),
        ({"config.json": 9, "result.json": 9}, 0, "ENDING"),
    ],
)
def test_what_a_run_was_doing(module, files, left, phase):
    moments = module("moments")
    assert moments.of_run(files, started=5, left=left) == getattr(moments, phase)


@pytest.mark.parametrize(
    ("files", "phase"),
    [
        ({"plan.json": 1}, "STARTING"),
        ({"plan.json": 9}, "TUNING"),
        ({"tuning.json": 9, "runs/a/b/seed0/config.json": 9}, "RUNS"),
        ({"tuning.json": 1, "pilot.json": 9, "a/config.json": 1, "a/result.json": 9}, "COSTS"),
        ({"tuning.json": 1, "pilot.json": 1, "costs.json": 9}, "REPORT"),
        ({"tuning.json": 1, "costs.json": 9, "runs.json": 9, "report.html": 9}, "ENDING"),
    ],
)
def test_what_a_study_was_doing(module, files, phase):
    moments = module("moments")
    assert moments.of_study(files, started=5) == getattr(moments, phase)


@pytest.mark.parametrize(
    ("code", "number", "to", "phase", "said", "judged"),
    [
        (-9, "SIGKILL", "process", "training", "", "killed"),
        (75, "SIGTERM", "process", "training", "interrupted after step 3", "resumable"),
        (-15, "SIGTERM", "process", "starting: imports and data", "", "killed"),
        (-15, "SIGTERM", "process", "training", "", "wrong: exit code -15"),
        (-2, "SIGINT", "process", "starting: imports and data", "Traceback", "killed"),
        (75, "SIGINT", "process", "training", "Traceback", "wrong: a traceback"),
        (0, "SIGINT", "process", "testing", "written", "finished"),
        (2, "SIGKILL", "worker", "tuning", "jaxcnn: workers=2: ...", "resumable"),
        (1, "SIGKILL", "worker", "tuning", "", "wrong: exit code 1"),
        (None, "SIGTERM", "process", "training", "", "wrong: it did not stop within 60 s"),
    ],
)
def test_how_a_process_took_a_signal(module, code, number, to, phase, said, judged, monkeypatch):
    striking = module("striking")
    monkeypatch.setattr(striking, "RESUMABLE", 75)
    assert striking.verdict(code, signal.Signals[number], to, phase, said) == judged


def test_a_process_is_struck_and_none_is_left(module, tmp_path):
    """One that takes SIGTERM as asked, one that is killed, one that has ended before."""
    striking = module("striking")
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(sys.argv[2])));"
        "print('ready', flush=True); time.sleep(float(sys.argv[1]))"
    )

    def job(seconds):
        command = (sys.executable, "-c", code, str(seconds), str(striking.RESUMABLE))
        return striking.Job(command, {}, tmp_path / "log", lambda started: "training")

    found = striking.strike(job(60), striking.Strike(1.0, signal.SIGTERM, "process"))
    assert (found["code"], found["verdict"], found["said"]) == (striking.RESUMABLE, "resumable", "ready")
    found = striking.strike(job(60), striking.Strike(0.3, signal.SIGKILL, "all"))
    assert (found["code"], found["verdict"]) == (-9, "killed")
    assert striking.strike(job(0), striking.Strike(30, signal.SIGKILL, "process")) is None
    begun = time.monotonic()
    assert striking.run(job(60), limit=0.5)["code"] is None
    assert time.monotonic() - begun < 30


def test_arrays_are_compared_to_the_bit(module):
    finals = module("finals")
    one, off = np.float32([1, np.nan]), np.float32([np.nextafter(np.float32(1), np.float32(2)), np.nan])
    assert finals.unequal("x", {"a": one}, {"a": one.copy()}) == []
    assert finals.unequal("x", {"a": one}, {"a": off}) == ["x: a differs in 1 of 2 values"]
    assert "float64" in finals.unequal("x", {"a": one}, {"a": one.astype(np.float64)})[0]
    assert finals.unequal("x", {"a": one}, {"b": one}) == ["x: a is in one only", "x: b is in one only"]


def test_runs_are_compared_without_what_a_clock_says(module, tmp_path):
    finals = module("finals")
    for name, seconds, accuracy in (("whole", 1.0, 0.5), ("same", 2.0, 0.5), ("other", 1.0, 0.6)):
        (tmp_path / name).mkdir()
        for file in ("config.json", "data.json"):
            (tmp_path / name / file).write_text("{}")
        record = {"history": [{"loss": accuracy, "seconds": seconds}], "seal": str(seconds)}
        (tmp_path / name / "result.json").write_text(json.dumps(record))
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(record["history"][0]) + "\n")
        np.savez(tmp_path / name / "predictions.npz", predictions=np.arange(3))
    assert finals.run_differences(tmp_path / "whole", tmp_path / "same") == []
    found = finals.run_differences(tmp_path / "whole", tmp_path / "other")
    assert found == ["result.json: .history[0].loss is 0.5 against 0.6", "metrics.jsonl: the epochs' numbers differ"]


def test_a_campaign_goes_on_and_is_not_mixed(module, tmp_path):
    campaign = module("campaign")
    assert campaign.begin(tmp_path / "c", {"seed": 1}) == []
    campaign.append(tmp_path / "c", {"number": 0})
    with (tmp_path / "c" / "results.jsonl").open("a") as file:
        file.write('{"number": 1, "outc')  # torn by an interruption
    assert campaign.begin(tmp_path / "c", {"seed": 1}) == [{"number": 0}]
    campaign.append(tmp_path / "c", {"number": 2})
    assert campaign.begin(tmp_path / "c", {"seed": 1}) == [{"number": 0}, {"number": 2}]
    with pytest.raises(InputError, match=r"seed is another \(1, not 2\)"):
        campaign.begin(tmp_path / "c", {"seed": 2})


def test_inputs_come_again(module, scene, tmp_path):
    """Every kind, several seeds: the same input from the same number, and a command that exists."""
    trying, scenes = module("trying"), module("scenes")
    assert sum(share for _, share in trying.KINDS.values()) == 100
    assert {trying.kind_of(number) for number in range(100)} == set(trying.KINDS)
    for kind, (make, _) in trying.KINDS.items():
        for number in range(12):
            found = []
            for turn in ("first", "second"):
                place = scenes.make_scene(tmp_path / turn / kind / str(number), scene.templates)
                asked = make(random.Random(number), place)
                found.append((asked.about, asked.must, [word.replace(str(place.root), "") for word in asked.argv]))
            assert found[0] == found[1]
            assert all("\0" not in word for word in found[0][2]), "no command line can hold it"


@pytest.mark.parametrize(
    ("word", "hint", "fits"),
    [
        ("3", int, True),
        ("1.5", int, False),
        ("nan", float, True),
        ("None", int | None, True),
        ("abc", float | None, False),
        ("abc", tuple[str, ...], True),
        ("abc", tuple[int, ...], False),
        ("b", Literal["a", "b"], True),
        ("c", Literal["a", "b"] | None, False),
    ],
)
def test_words_that_a_parser_takes(module, word, hint, fits):
    assert module("flags").fits(word, hint) is fits


def test_every_field_of_a_run_is_walked(module):
    fields = module("flags").RUN_FIELDS
    assert {"epochs", "model.stage_widths", "data.augment", "optimizer.milestones"} <= set(fields)


def test_images_that_cannot_be_are_none(module):
    """Judged by Pillow itself, not by what is under test."""
    for name, (make, must) in module("pictures").CONTENTS.items():
        if not must:
            continue
        with pytest.raises((UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError)):
            Image.open(io.BytesIO(make(random.Random(name)))).load()


@pytest.mark.parametrize(
    ("code", "out", "error", "outcome"),
    [
        (2, "", SENTENCE, "refused"),
        (2, "", "UserWarning: something\n" + SENTENCE, "refused"),
        (2, "", "╭─ Parsing error ─╮\n│ --epochs │", "refused by the parser"),
        (2, "", "╭─ Parsing error ─╮\n│ --epics │", "the parser names nothing"),
        (2, "", "", "no sentence"),
        (2, "", SENTENCE + "and more\n", "more than one line"),
        (2, "", "jaxcnn: something is wrong; choose another\n", "the sentence names nothing that was given"),
        (2, "", "jaxcnn: epochs: no\n", "the sentence has no remedy"),
        (1, "", "Traceback (most recent call last)\nValueError: x", "a traceback: ValueError: x"),
        (1, "", "killed", "exit code 1"),
        (3, "", "diverged at step 1: lower the learning rate", "accepted"),
        (0, '{"loss": 1}', "", "accepted"),
        (0, '{"loss": 2}', "", "accepted, with other numbers"),
        (0, '{"loss": 2}', "UserWarning: epochs", "accepted with a warning"),
    ],
)
def test_outcomes(module, scene, code, out, error, outcome):
    judging, scenes = module("judging"), module("scenes")
    asked = scenes.Input(("evaluate", "run"), ("epochs",), "a test", equal="evaluate run")
    before = judging.snapshot(scene.root)
    assert judging.judge(asked, scene, code, (out, error), before) == outcome
    if outcome == "accepted" and code == 0:
        assert judging.judge(asked._replace(must=True), scene, code, (out, error), before) == "accepted what cannot be"


def test_files_that_are_lost_changed_or_left_behind(module, scene):
    judging, scenes = module("judging"), module("scenes")
    asked = scenes.Input(("train",), ("epochs",), "a test", may=("here/",))
    before, notes = judging.snapshot(scene.root), scene.here / "notes.txt"
    (scene.root / "out").mkdir()
    (scene.root / "out" / "config.json").write_text("{}")
    assert judging.judge(asked, scene, 2, ("", SENTENCE), before) == "refused, and left out/config.json"
    notes.write_text("other\n")
    assert judging.judge(asked, scene, 2, ("", SENTENCE), before) == "changed here/notes.txt"
    assert judging.judge(asked, scene, 0, ("", ""), before) == "accepted"
    notes.write_text("mine\n")
    notes.rename(scene.here / "aside.txt")
    assert judging.judge(asked, scene, 2, ("", SENTENCE), before) == "moved here/notes.txt"
    (scene.here / "aside.txt").unlink()
    assert judging.judge(asked, scene, 2, ("", SENTENCE), before) == "lost here/notes.txt"


def test_the_command_line_is_called_here_and_apart(module, scene, tmp_path, capfd):
    trying, scenes = module("trying"), module("scenes")
    asked, settings = scenes.Input(("trian",), ("trian",), "a test", must=True), trying.Settings(0, tmp_path)
    for call in (trying.call_here, trying.call_apart):
        with capfd.disabled():  # a call takes the descriptors for itself
            code, (out, error) = call(asked, scene, settings)
        assert (code, out, error) == (2, "", "jaxcnn: command 'trian': unknown; did you mean train?\n")


def test_the_tables_count_what_was_done(module, tmp_path, monkeypatch, capsys):
    inputs = module("inputs")
    row = {"kind": "paths", "about": "x", "apart": False, "argv": [], "said": []}
    done = [{**row, "number": 0, "outcome": "refused"}, {**row, "number": 1, "outcome": "lost a"}]
    config = replace(inputs.SMOKE, out=tmp_path)
    with pytest.raises(SystemExit):
        inputs.report(config, done, [])
    record = json.loads((tmp_path / "inputs.json").read_text())
    assert record["rows"][0] == ["paths", 2, 1, 0, 0, 0, 0, 1, 0, 1]
    assert record["faults"] == [done[1]]
    kills = module("kills")
    strikes = [{"struck": True, "signal": "SIGKILL", "verdict": "killed", "phase": "training"}]
    done = [{"work": "train", "number": 0, "alone": None, "strikes": strikes, "faults": [], "differences": []}]
    kills.report(replace(kills.SMOKE, out=tmp_path), done, {"train": 1.0})
    assert json.loads((tmp_path / "kills.json").read_text())["rows"] == [["train", 1, 1, 1, 1, 0, 0, 0, 0]]
    assert json.loads((tmp_path / "kills_moments.json").read_text())["rows"] == [["training", 1]]


def test_the_page_shows_what_was_recorded():
    done = subprocess.run(
        [sys.executable, "-c", PAGE], cwd=ROOT / "docs" / "reliability", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


PAGE = """
import tables
page = tables.PAGE.read_text()
assert tables.fill(page, tables.stored()) == page, "run python docs/reliability/tables.py"
record = {"title": "T", "columns": ["a"], "rows": [[1]], "environment": {}}
assert "**T**" in tables.fill("<!-- new.json -->\\n<!-- end -->", {"new": record})
"""
