"""A study that is killed, stopped or shared ends as the one that was left alone, and trains no run twice."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from jaxcnn.cli.entry import RESUMABLE
from jaxcnn.study.execution.locks import claim
from jaxcnn.study.result import load_study
from tests.study.small import (
    ROOT,
    alive,
    children,
    environment,
    finished_runs,
    forked,
    journal,
    outcome,
    small_study,
    units,
    wait_for,
    wait_until,
)  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks at processes through /proc"),
]
KILLS = 11


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study that nothing happened to, made by a process like those that are killed."""
    out = tmp_path_factory.mktemp("whole") / "study"
    process = forked(out)
    process.start()
    process.join(120)
    assert process.exitcode == 0
    return out


def once(directory):
    """Every finished run stands in the journal once."""
    return Counter(journal(directory)) == Counter(list(finished_runs(directory)))


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(whole, tmp_path):
    out, rng = tmp_path / "killed", random.Random(20)
    # Moments spread over the study's life, in epochs and results done; the last is after the last run.
    moments = [*sorted(rng.sample(range(1, units(whole)), KILLS - 1)), units(whole)]
    results, kills = {}, 0
    for moment in moments:
        process = forked(out)
        process.start()
        wait_until(lambda at=moment, it=process: units(out) >= at or not it.is_alive(), pause=0.001)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join(120)
        kills += process.exitcode == -signal.SIGKILL
        now = finished_runs(out)
        assert {path: now[path] for path in results} == results, "a finished run was trained again"
        results = now
    assert kills >= 10, "it ended before it could be killed"
    process = forked(out)
    process.start()
    process.join(120)
    assert process.exitcode == 0
    now = finished_runs(out)
    assert {path: now[path] for path in results} == results
    assert outcome(out) == outcome(whole)
    assert once(out)


@pytest.mark.slow
def test_two_processes_share_a_study(whole, tmp_path):
    out = tmp_path / "shared"
    both = [forked(out), forked(out)]
    for process in both:
        process.start()
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert outcome(out) == outcome(whole)
    assert once(out)
    assert len(load_study(out).environments) == 1


def start(out, workers=2):
    """The study as a session of its own, whose workers are spawned."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.study.small", str(out), str(workers)],
        cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def workers_of(process):
    """Its worker processes: those that import, and those at work."""
    found = []
    for child in children(process.pid):
        try:
            with open(f"/proc/{child}/cmdline") as file:
                found += [child] if "spawn_main" in file.read() else []
        except FileNotFoundError:
            continue
    return found


@pytest.mark.slow
def test_workers_end_with_their_parent(whole, tmp_path):
    """It is killed while they train; the same study, without workers, goes on and ends the same."""
    out = tmp_path / "study"
    first = start(out)
    wait_for(first, lambda: units(out) >= 8)
    workers = workers_of(first)
    assert len(workers) == 2
    first.kill()
    first.communicate()
    wait_until(lambda: not any(map(alive, workers)), seconds=10)
    results = finished_runs(out)
    second = forked(out)
    second.start()
    second.join(120)
    assert second.exitcode == 0
    now = finished_runs(out)
    assert {path: now[path] for path in results} == results
    assert outcome(out) == outcome(whole)
    assert once(out)


@pytest.mark.slow
@pytest.mark.parametrize(("to", "moment"), [("group", 0), ("parent", 6)])
def test_interrupted_with_workers(tmp_path, to, moment):
    """Ctrl-C reaches the whole group, kill -INT the parent alone; as workers start, and while they train."""
    out = tmp_path / "study"
    process = start(out)
    workers = wait_for(process, lambda: len(found := workers_of(process)) == 2 and found)
    wait_for(process, lambda: (out / "plan.json").exists() and units(out) >= moment)
    (os.killpg if to == "group" else os.kill)(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error == ""
    assert not any(map(alive, workers))
    with claim(out, "finish") as mine:
        assert mine
    before = finished_runs(out)
    if moment:
        assert not (out / "runs.json").exists()
        small_study(out)
        now = finished_runs(out)
        assert {path: now[path] for path in before} == before
        assert once(out)


@pytest.mark.slow
def test_the_command_line_says_one_sentence_after_ctrl_c(tmp_path):
    out = tmp_path / "study"
    flags = [
        "--model.family", "dense", "--depths", "2", "4", "--params", "2000", "--tolerance", "0.05", "--workers", "1",
        "--epochs", "40", "--data.train-size", "96", "--batch-size", "32",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxcnn", "study", *flags, "--out", str(out)],
        cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    wait_for(process, lambda: units(out) >= 3)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == RESUMABLE, error
    declared, stage, sentence = error.splitlines()
    assert re.match(r"\d+ test images can call arms equivalent within 0.5 points", declared)
    assert stage.startswith("tuning every arm alike: 0 of about")
    assert re.fullmatch(
        r"interrupted after \d+ of about \d+ runs, which are kept; run the same command again to resume", sentence
    )
