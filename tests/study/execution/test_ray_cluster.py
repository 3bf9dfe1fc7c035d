"""A study on a Ray cluster: the results of a local one, run by run, whatever dies on the way; what is refused."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from jaxcnn.errors import InputError
from jaxcnn.spec import Seeds, StudyConfig, Tuning
from jaxcnn.study import match_width
from jaxcnn.study.execution import ray as module
from jaxcnn.study.execution.given import Given
from jaxcnn.study.execution.locks import claim
from jaxcnn.study.execution.run_study import check_place
from jaxcnn.study.plan import make_plan, store_plan
from jaxcnn.study.result import load_study
from jaxcnn.study.schedule import next_runs
from tests.study import families
from tests.study.small import (
    BASE,
    ROOT,
    SHAPE,
    alive,
    arms,
    finished_runs,
    journal,
    outcome,
    small_study,
    units,
    wait_for,
    wait_until,
)  # fmt: skip
from tests.study.small import environment as shared_environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks at processes through /proc"),
]
POINT = {"tuning": Tuning((0.1,), (1e-4,)), "seeds": Seeds(2, 2)}  # Nothing is trained for a search of one point.
LONG = {**POINT, "base": replace(BASE, epochs=15)}

DRIVER = """
import sys
from jaxcnn.runtime.signals import Interrupted
from tests.study.execution.test_ray_cluster import LONG
from tests.study.small import small_study
try:
    small_study(sys.argv[1], workers=None, place="ray", ray_address=sys.argv[2] or None, **LONG)
except Interrupted as stop:
    sys.exit(str(stop))
"""


@contextmanager
def driver(out, address=""):
    """The study as a process of its own, on a cluster or on a Ray instance that it starts."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(out), address],
        cwd=ROOT, env=shared_environment(), stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module", autouse=True)
def ray():
    """Ray, with one token for all clusters of this file: without it Ray would write one to $HOME."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield pytest.importorskip("ray")


@pytest.fixture(scope="module")
def head(ray):
    """A cluster of one node with two cores: its process, and its address."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # A short path, for its sockets.
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0", "--num-cpus=2",
        "--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=80000000", f"--temp-dir={folder}",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd="/", env=shared_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    file = folder / "ray_current_cluster"
    address = wait_until(lambda: file.exists() and file.read_text(), seconds=60)
    yield process, address
    process.terminate()
    process.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The longer study, trained here without disturbance."""
    out = tmp_path_factory.mktemp("whole") / "study"
    small_study(out, **LONG)
    return out


def on(head, out, **settings):
    """The small study on the cluster."""
    return small_study(out, workers=None, place="ray", ray_address=head[1], **settings)


def descendants(process):
    """All processes below one."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # One that has just ended.
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {process}
    while below := {child for child, parent in parents.items() if parent in found} - found:
        found |= below
    return found - {process}


def workers_of(process):
    """Ray's worker processes below a process that run a worker of a study."""
    found = []
    for each in descendants(process):
        with suppress(OSError):
            if Path(f"/proc/{each}/cmdline").read_text().startswith("ray::jaxcnn worker"):
                found.append(each)
    return found


def once(directory):
    """Every finished run stands in the journal once."""
    return Counter(journal(directory)) == Counter(list(finished_runs(directory)))


def test_killed_workers_change_nothing(ray, head, small, tmp_path, monkeypatch):
    """Each of two is killed once while they train; the study ends as a local one, and workers trained all of it."""
    out, killed = tmp_path / "study", []

    def watch(self, *, last=False):
        if len(killed) < 2 and units(out) >= 4 * (1 + len(killed)) and (workers := workers_of(head[0].pid)):
            killed.append(workers[0])
            os.kill(workers[0], signal.SIGKILL)

    monkeypatch.setattr("jaxcnn.study.execution.progress.StudyBar.refresh", watch)
    on(head, out)
    assert len(killed) == 2
    assert not ray.is_initialized()
    assert outcome(out) == outcome(small)
    assert once(out)
    assert {environment["cores"] for environment in load_study(out).environments} == {1}
    assert all(cost.step > 0 for cost in load_study(out).costs.values())


def test_drivers_that_are_killed_and_interrupted_lose_no_run(head, whole, tmp_path):
    """The first takes its own Ray along, the second leaves saved runs and no claim; a local study ends it."""
    (process, address), out, results = head, tmp_path / "study", {}

    def kept():
        now = finished_runs(out)
        assert {path: now[path] for path in results} == results, "a finished run was trained again"
        return now

    with driver(out) as first:
        wait_for(first, lambda: units(out) >= 3)
        workers, below = wait_for(first, lambda: workers_of(first.pid)), descendants(first.pid)
    wait_until(lambda: not any(map(alive, workers)), seconds=120)
    for each in filter(alive, below):  # Agents of Ray, which look for their node twice a minute.
        os.kill(each, signal.SIGKILL)
    results, before = kept(), units(out)
    with driver(out, address) as second:
        wait_for(second, lambda: workers_of(process.pid) and units(out) > before)
        os.killpg(second.pid, signal.SIGINT)
        _, error = second.communicate(timeout=60)
    assert (second.returncode, error.count("\n")) == (1, 1), error
    assert error.startswith("interrupted after ")
    assert not workers_of(process.pid)
    begun = [each.parent for each in out.rglob("config.json")]
    assert begun
    for folder in begun:
        with claim(out, str(folder.relative_to(out))) as free:
            assert free
    assert not (out / "runs.json").exists()
    results = kept()
    small_study(out, workers=1, **LONG)
    kept()
    assert outcome(out) == outcome(whole)
    assert once(out)


def test_a_driver_killed_beside_its_cluster_leaves_no_worker(head, tmp_path):
    out = tmp_path / "study"
    with driver(out, head[1]) as process:
        wait_for(process, lambda: units(out) >= 3)
        workers = wait_for(process, lambda: workers_of(head[0].pid))
        process.kill()
        wait_until(lambda: not workers_of(head[0].pid) and not any(map(alive, workers)), seconds=120)
    with claim(out, "finish") as free:
        assert free


def test_a_family_that_no_process_could_import_travels(head, tmp_path):
    anonymous = lambda depth, width: families.Stack(depth, width)  # noqa: E731
    among = [match_width(anonymous, depth, params=2000, tolerance=0.05, **SHAPE) for depth in (2, 4)]
    one = {**POINT, "among": among, "family": anonymous, "seeds": Seeds(1, 1)}
    on(head, tmp_path / "cluster", cores_per_run=2, **one)
    small_study(tmp_path / "here", **one)
    assert outcome(tmp_path / "cluster") == outcome(tmp_path / "here")
    assert {e["cores"] for e in load_study(tmp_path / "cluster").environments} == {2}


def misbehaving(misbehave):
    """A family that misbehaves in every process but this one, at depth 4, and its arms."""
    here = os.getpid()

    def family(depth, width):
        if os.getpid() != here and depth == 4:
            misbehave()
        return families.Stack(depth, width)

    family.__qualname__ = f"misbehaving.{misbehave.__name__}"
    among = [match_width(family, depth, params=2000, tolerance=0.05, **SHAPE) for depth in (2, 4)]
    return {**POINT, "among": among, "family": family}


def test_a_run_at_which_every_worker_dies_is_named(head, tmp_path):
    """The runs of the other arm are finished first."""

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    out, settings = tmp_path / "study", misbehaving(die)
    with pytest.raises(InputError, match=r"runs/params2000_depth4\S+: \d workers died and none finished it, the last"):
        on(head, out, **settings)
    assert [path.split("_")[1] for path in finished_runs(out)] == ["depth2", "depth2"]
    assert not list((out / "claims").glob("driver*"))


def test_a_bug_in_a_worker_is_shown(head, tmp_path, capfd):
    def fail():
        raise ZeroDivisionError("here")

    with pytest.raises(RuntimeError, match="see its traceback above"):
        on(head, tmp_path / "study", **misbehaving(fail))
    assert "ZeroDivisionError: here" in capfd.readouterr().err


def test_bad_input_in_a_worker_is_its_own_sentence(head, tmp_path, capfd):
    """Something that only a run detects: a folder of somebody else's where its own should be."""
    settings = {"margin": 0.05, **POINT}
    plan = store_plan(make_plan(StudyConfig(BASE, **settings), arms()), tmp_path)
    for each in next_runs(plan, lambda study_run: None).pending:
        (tmp_path / each.path).mkdir(parents=True)
        (tmp_path / each.path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds files but no run"):
        on(head, tmp_path, **settings)
    assert "Traceback" not in capfd.readouterr().err


def test_a_cluster_that_does_not_answer_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SOON", dict.fromkeys(module.SOON, "1"))
    for address, why in (("127.0.0.1:1", "no answer"), ("nowhere", "Invalid address")):
        with pytest.raises(InputError, match=rf"ray_address='{address}': no Ray cluster .* \({why}"):
            on((None, address), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_family_that_cannot_travel_is_refused():
    lock = threading.Lock()
    with pytest.raises(InputError, match="Ray cannot pickle it for its workers"):
        check_place(StudyConfig(BASE, place="ray"), Given((lambda depth, width: lock,)))


def test_a_finished_run_that_the_driver_does_not_see_is_refused(head, tmp_path, monkeypatch):
    """As on a file system that the nodes do not share."""
    monkeypatch.setattr(module, "SEEN_SECONDS", 1.0)
    monkeypatch.setattr(module.Reader, "__call__", lambda self, study_run: None)
    with pytest.raises(InputError, match="which is not visible here; put the study on a file system that all nodes"):
        on(head, tmp_path / "s", **{**POINT, "seeds": Seeds(1, 1)}, base=replace(BASE, epochs=1))
