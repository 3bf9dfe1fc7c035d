"""The campaigns judge rightly: phases, equality of results, exits, outcomes; and their inputs are reproducible."""

import io
import json
import os
import random
import signal
import sys
import time
from typing import Literal

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from tests.campaigns import attempt, compare, datasets, flags, outcome, phase, process, scene

SENTENCE = "jaxcnn: epochs=-1: must be at least 1\n"


@pytest.fixture
def place(tmp_path):
    """Create a scene over templates that look like what jaxcnn writes, none of them trained."""
    templates = tmp_path / "templates"
    record = json.dumps({"epochs": 2, "model": {"depth": 3, "units": [1]}, "seal": "0"})
    runs = ("run", "half", "study/runs/a/b/seed0")
    files = ("config.json", "data.json", "environment.json", "result.json", "checkpoints/3/state/x")
    records = ("plan.json", "tuning.json", "pilot.json", "runs.json", "costs.json", "predictions.npz", "journal.jsonl")
    for name in (*(f"{run}/{file}" for run in runs for file in files), *(f"study/{file}" for file in records)):
        (templates / name).parent.mkdir(parents=True, exist_ok=True)
        (templates / name).write_text(record)
    for name in ("dark", "light"):
        (templates / "images" / name).mkdir(parents=True)
        for number in range(4):
            Image.new("L", (8, 8), 9 * number).save(templates / "images" / name / f"{number}.png")
    (templates / "expected.json").write_text(json.dumps({"evaluate run": '{"loss": 1}'}))
    return scene.make_scene(tmp_path / "scene", templates)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, phase.STARTING),
        ({"config.json": 1, "metrics.jsonl": 1, "checkpoints/3/x": 1}, phase.STARTING),
        ({"config.json": 9}, phase.COMPILING),
        ({"config.json": 9, "checkpoints/3/x": 9}, phase.TRAINING),
        ({"config.json": 9, "checkpoints/6.orbax-checkpoint-tmp/x": 9}, phase.CHECKPOINT),
        ({"config.json": 9, "data.json.0a.partial": 9}, phase.RECORD),
        ({"config.json": 9, "data.json.0a.partial": 1}, phase.COMPILING),
        ({"config.json": 9, "checkpoints/3/x": 9, "predictions.npz": 9}, phase.RESULT),
        ({"config.json": 9, "result.json": 9}, phase.ENDING),
        ({"plan.json": 1}, phase.STARTING),
        ({"plan.json": 9}, phase.TUNING),
        ({"plan.json": 1, "tuning.json": 9, "runs/a/b/seed0/config.json": 9}, phase.RUNS),
        ({"plan.json": 1, "tuning.json": 1, "pilot.json": 9, "a/config.json": 1, "a/result.json": 9}, phase.COSTS),
        ({"plan.json": 1, "tuning.json": 1, "pilot.json": 1, "costs.json": 9}, phase.REPORT),
        ({"plan.json": 1, "tuning.json": 9, "costs.json": 9, "runs.json": 9, "report.html": 9}, phase.ENDING),
    ],
)
def test_the_phase_of_a_process(files, expected, tmp_path):
    for name, written in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (written, written))
    assert phase.phase_of(tmp_path, started=5) == expected


@pytest.mark.parametrize(
    ("code", "number", "target", "doing", "text", "verdict"),
    [
        (-9, signal.SIGKILL, "process", phase.TRAINING, "", "killed"),
        (75, signal.SIGTERM, "process", phase.TRAINING, "saved", "resumable"),
        (-15, signal.SIGTERM, "process", phase.STARTING, "", "killed"),
        (130, signal.SIGINT, "process", phase.ENDING, "", "killed"),
        (-15, signal.SIGTERM, "process", phase.TRAINING, "", "wrong: exit code -15"),
        (130, signal.SIGINT, "process", phase.TRAINING, "", "wrong: exit code 130"),
        (75, signal.SIGINT, "process", phase.TRAINING, "Traceback (", "wrong: a traceback"),
        (-2, signal.SIGINT, "process", phase.STARTING, "Traceback (", "killed"),
        (None, signal.SIGINT, "process", phase.TRAINING, "", "wrong: still running 60 s after the signal"),
        (0, signal.SIGINT, "process", phase.REPORT, "", "finished"),
        (2, signal.SIGKILL, "worker", phase.RUNS, "a worker died", "resumable"),
        (1, signal.SIGKILL, "worker", phase.TUNING, "", "wrong: exit code 1"),
        (2, signal.SIGTERM, "process", phase.RUNS, "", "wrong: exit code 2"),
    ],
)
def test_how_a_process_took_a_signal(code, number, target, doing, text, verdict):
    assert process.verdict(code, number, target, doing, text) == verdict


@pytest.mark.slow
def test_processes_are_killed_and_run(tmp_path):
    def job(seconds):
        code = f"""
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("ready", flush=True)
time.sleep({seconds})
"""
        return process.Job((sys.executable, "-c", code), {}, tmp_path / "log", lambda started: "training")

    found = process.kill(job(60), 1.0, signal.SIGTERM, "process")
    assert (found["sent"], found["code"], found["verdict"], found["output"]) == (True, 75, "resumable", "ready")
    found = process.kill(job(60), 0.3, signal.SIGKILL, "all")
    assert (found["code"], found["verdict"]) == (-9, "killed")
    assert process.kill(job(0), 30, signal.SIGKILL, "process") is None
    start = time.monotonic()
    assert process.run(job(60), limit=0.5)["code"] is None
    assert time.monotonic() - start < 30


def test_arrays_are_compared_bit_by_bit():
    one, off = np.float32([1, np.nan]), np.float32([np.nextafter(np.float32(1), np.float32(2)), np.nan])
    assert compare.array_differences("x", {"a": one}, {"a": one.copy()}) == []
    assert compare.array_differences("x", {"a": one}, {"a": off}) == ["x: a differs in 1 of 2 values"]
    assert "float64" in compare.array_differences("x", {"a": one}, {"a": one.astype(np.float64)})[0]
    both = ["x: a is in one only", "x: b is in one only"]
    assert compare.array_differences("x", {"a": one}, {"b": one}) == both


def test_runs_are_compared_without_times(tmp_path):
    for name, seconds, accuracy in (("whole", 1.0, 0.5), ("same", 2.0, 0.5), ("other", 1.0, 0.6)):
        (tmp_path / name).mkdir()
        for file in ("config.json", "data.json"):
            (tmp_path / name / file).write_text("{}")
        record = {"history": [{"loss": accuracy, "seconds": seconds}], "seal": str(seconds)}
        (tmp_path / name / "result.json").write_text(json.dumps(record))
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(record["history"][0]) + "\n")
        np.savez(tmp_path / name / "predictions.npz", predictions=np.arange(3))
    assert compare.run_differences(tmp_path / "whole", tmp_path / "same") == []
    found = compare.run_differences(tmp_path / "whole", tmp_path / "other")
    assert found == [
        "result.json: .history[0].loss is 0.5 against 0.6",
        "metrics.jsonl: the numbers of the epochs differ",
    ]


def test_inputs_are_reproducible(place, tmp_path):
    """A number and a seed give one input, of every kind, and a command line can hold it."""
    assert sum(share for _, share in attempt.KINDS.values()) == 100
    assert {attempt.kind_of(number) for number in range(100)} == set(attempt.KINDS)
    for kind, (make, _) in attempt.KINDS.items():
        for number in range(8):
            found = []
            for turn in ("first", "second"):
                here = scene.make_scene(tmp_path / turn / kind / str(number), place.templates)
                given = make(random.Random(number), here)
                found.append((given.about, given.invalid, [word.replace(str(here.root), "") for word in given.argv]))
            assert found[0] == found[1]
            assert all("\0" not in word for word in found[0][2])


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
def test_words_that_a_parser_accepts(word, hint, fits):
    assert flags.fits(word, hint) is fits


def test_the_fields_of_nested_configs_are_listed():
    assert {"epochs", "model.stage_widths", "data.augment", "optimizer.milestones"} <= set(flags.RUN_FIELDS)


def test_contents_that_must_be_refused_are_no_images():
    """Judged by Pillow itself, not by the code under test."""
    for name, (make, invalid) in datasets.CONTENTS.items():
        if invalid:
            with pytest.raises((UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError)):
                Image.open(io.BytesIO(make(random.Random(name)))).load()


@pytest.mark.parametrize(
    ("code", "out", "error", "expected"),
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
def test_outcomes(place, code, out, error, expected):
    given = scene.Input(("evaluate", "run"), ("epochs",), "a test", reference="evaluate run")
    before = outcome.snapshot(place.root)
    assert outcome.judge(given, place, code, out, error, before) == expected
    if expected == "accepted" and code == 0:
        invalid = given._replace(invalid=True)
        assert outcome.judge(invalid, place, code, out, error, before) == "accepted an invalid input"


def test_files_that_are_lost_changed_or_left_behind(place):
    given = scene.Input(("train",), ("epochs",), "a test", writable=("here/",))
    before, notes = outcome.snapshot(place.root), place.here / "notes.txt"
    (place.root / "out").mkdir()
    (place.root / "out" / "config.json").write_text("{}")
    assert outcome.judge(given, place, 2, "", SENTENCE, before) == "refused, and left out/config.json"
    notes.write_text("other\n")
    assert outcome.judge(given, place, 2, "", SENTENCE, before) == "changed here/notes.txt"
    assert outcome.judge(given, place, 0, "", "", before) == "accepted"
    notes.write_text("mine\n")
    notes.rename(place.here / "aside.txt")
    assert outcome.judge(given, place, 2, "", SENTENCE, before) == "moved here/notes.txt"
    (place.here / "aside.txt").unlink()
    assert outcome.judge(given, place, 2, "", SENTENCE, before) == "lost here/notes.txt"


@pytest.mark.slow
@pytest.mark.parametrize("call", [attempt.call, attempt.call_forked])
def test_a_command_is_called(call, place, tmp_path):
    given = scene.Input(("trian",), ("trian",), "a test", invalid=True)
    expected = (2, "", "jaxcnn: command 'trian': unknown; did you mean train?\n")
    assert call(given, place, tmp_path / "cache") == expected
