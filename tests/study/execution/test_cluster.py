"""A study on a Ray cluster: the results of a local one, run by run, whatever dies on the way; what is refused."""

import multiprocessing
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxcnn.cli.studying import StudyFlags, place_of
from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.run import load_result
from jaxcnn.study import Cluster, match_width
from jaxcnn.study.execution import cluster, node
from jaxcnn.study.execution import crew as module
from jaxcnn.study.execution import run_study as runner
from jaxcnn.study.execution.cluster import Site, check_cluster, environment, share
from jaxcnn.study.execution.crew import Crew, driving, groups, job_of, together
from jaxcnn.study.execution.estimate import arm_costs
from jaxcnn.study.execution.locks import claim
from jaxcnn.study.plan import Seeds, Tuning, make_plan
from jaxcnn.study.plan_file import store_plan
from jaxcnn.study.result import load_study
from jaxcnn.study.schedule import agenda
from tests.cli.calls import refused
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
    wait_until,
)  # fmt: skip
from tests.study.small import environment as shared_environment

# Before Ray is imported, which reads them then: a token for all Rays of this file, which would write one to $HOME else.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.pop("RAY_ADDRESS", None)
ray = pytest.importorskip("ray")
pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks at processes through /proc")
POINT = {"tuning": Tuning((0.1,), (1e-4,)), "seeds": Seeds(2, 2)}  # no search: nothing is trained for it
LONG = {**POINT, "base": replace(BASE, epochs=15)}

DRIVER = """
import sys
from jaxcnn.study import Cluster
from jaxcnn.runtime.signals import Interrupted
from tests.study.small import small_study
from tests.study.execution.test_cluster import LONG
try:
    small_study(sys.argv[1], workers=None, place=Cluster(sys.argv[2] or None), **LONG)
except Interrupted as stop:
    sys.exit(str(stop))
"""


@contextmanager
def driver(out, address=""):
    """The study as a process of its own, which is placed on a cluster, or starts one."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(out), address],
        cwd=ROOT, env=shared_environment(), stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def head():
    """A cluster of one node with two cores: its process, and its address."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # Short: its sockets lie there.
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port=0", "--num-cpus=2",
        "--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=80000000", f"--temp-dir={folder}",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd="/", env=shared_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    told = folder / "ray_current_cluster"
    address = wait_until(lambda: told.exists() and told.read_text(), seconds=60)
    yield process, address
    process.terminate()
    process.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The longer study that nothing happened to, trained here."""
    out = tmp_path_factory.mktemp("whole") / "study"
    small_study(out, **LONG)
    return out


@pytest.fixture
def quick(monkeypatch):
    """Costs measured here, in a moment: workers would take their time."""
    monkeypatch.setattr(
        runner, "costs_on_cluster", lambda plan, out, family, site: arm_costs(plan, load(plan.base.data), family)
    )


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


def at_work(process):
    """Ray workers below a process that train a run now: {process: run}."""
    found = {}
    for each in descendants(process):
        with suppress(OSError):
            title = Path(f"/proc/{each}/cmdline").read_text()
            if title.startswith("ray::") and "/seed" in title:
                found[each] = title.removeprefix("ray::").strip("\0").strip()
    return found


def once(directory):
    """Every finished run stands in the journal once."""
    return Counter(journal(directory)) == Counter(list(finished_runs(directory)))


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(head, small, tmp_path, monkeypatch):
    """One of two is killed while it trains; the study ends as a local one, and its processes trained it all."""
    process, address = head
    out, killed = tmp_path / "study", []

    def watch(self, *, last=False):
        if not killed and units(out) >= 4 and (busy := at_work(process.pid)):
            killed.extend(next(iter(busy.items())))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr("jaxcnn.study.execution.progress.StudyBar.refresh", watch)
    small_study(out, workers=None, place=Cluster(address))
    assert killed
    assert not ray.is_initialized()
    assert outcome(out) == outcome(small)
    assert once(out)
    assert {environment["cores"] for environment in load_study(out).environments} == {1}


@pytest.mark.slow
def test_drivers_that_are_killed_and_interrupted_lose_no_run(head, whole, tmp_path):
    """The first takes its own Ray along, the second leaves saved runs and no claim; a local study ends it."""
    (process, address), out, results = head, tmp_path / "study", {}

    def kept():
        now = finished_runs(out)
        assert {path: now[path] for path in results} == results, "a finished run was trained again"
        return now

    with driver(out) as first:
        wait_until(lambda: units(out) >= 3)
        workers, below = wait_until(lambda: at_work(first.pid)), descendants(first.pid)
    wait_until(lambda: not any(map(alive, workers)), seconds=30)
    for each in filter(alive, below):  # Agents of Ray's, which look for their node twice a minute.
        os.kill(each, signal.SIGKILL)
    results, before = kept(), units(out)
    with driver(out, address) as second:
        wait_until(lambda: at_work(process.pid) and units(out) > before)
        os.killpg(second.pid, signal.SIGINT)
        _, error = second.communicate(timeout=60)
    assert (second.returncode, error.count("\n")) == (1, 1)
    assert error.startswith("interrupted after ")
    assert not at_work(process.pid)
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


@pytest.mark.slow
def test_a_family_that_no_process_could_import_travels(head, quick, tmp_path):
    anonymous = lambda depth, width: families.Stack(depth, width)  # noqa: E731
    among = [match_width(anonymous, depth, params=2000, tolerance=0.05, **SHAPE) for depth in (2, 4)]
    one = {**POINT, "among": among, "family": anonymous, "seeds": Seeds(1, 1)}
    small_study(tmp_path / "cluster", workers=None, place=Cluster(head[1], cores_per_run=2), **one)
    small_study(tmp_path / "here", **one)
    assert outcome(tmp_path / "cluster") == outcome(tmp_path / "here")
    assert {e["cores"] for e in load_study(tmp_path / "cluster").environments} == {2}


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "SOON", dict.fromkeys(cluster.SOON, "1"))
    for address, why in (("127.0.0.1:1", "no answer"), ("nowhere", "Invalid address")):
        with pytest.raises(InputError, match=rf"ray_address='{address}': no Ray cluster .* \({why}"):
            small_study(tmp_path / "s", workers=None, place=Cluster(address))
    assert not (tmp_path / "s").exists()


def test_without_ray_it_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"place=ray: Ray is not installed; pip install 'jaxcnn\[ray\]'"):
        small_study(tmp_path / "s", workers=None, place="ray")
    assert not (tmp_path / "s").exists()


def test_a_study_imports_ray_only_on_a_cluster():
    code = "import sys, jaxcnn.study.execution.run_study, jaxcnn.study.execution.node; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("place", "workers", "message"),
    [
        ("slurm", None, "place='slurm': choose local or ray"),
        ("ray", 2, "workers=2: Ray places the runs"),
        (Cluster(cores_per_run=0), None, "cores_per_run=0"),
        (Cluster(gpus_per_run=1.5), None, "gpus_per_run=1.5: give 0, a part of one GPU"),
        (Cluster(gpus_per_run=-1), None, "gpus_per_run=-1"),
        (Cluster(gpus_per_run=float("nan")), None, "gpus_per_run=nan"),
        (Cluster("ray://head:10001"), None, "ray_address='ray://head:10001': give HOST:PORT"),
    ],
)
def test_what_no_cluster_can_do_is_refused(tmp_path, place, workers, message):
    with pytest.raises(InputError, match=message):
        small_study(tmp_path / "s", workers=workers, place=place)
    assert not (tmp_path / "s").exists()


def test_a_family_that_cannot_travel_is_refused():
    lock = threading.Lock()
    with pytest.raises(InputError, match="Ray cannot carry it to its workers"):
        check_cluster(Cluster(), lambda depth, width: lock)


def test_flags_of_the_command_line(capsys):
    for flag, value in (("ray-address", "auto"), ("cores-per-run", "2"), ("gpus-per-run", "0.5")):
        sentence = refused(capsys, "study", f"--{flag}", value)
        assert sentence.startswith(f"jaxcnn: {flag.replace('-', '_')}={value}: it is for a Ray cluster; give place=ray")
    flags = StudyFlags(BASE, place="ray", ray_address="auto", cores_per_run=2, gpus_per_run=0.5)
    assert place_of(flags) == Cluster("auto", 2, 0.5)
    assert place_of(StudyFlags(BASE)) == "local"


def test_what_a_run_gets_of_the_nodes():
    cpus, gpus = [{"CPU": 4.0}, {"CPU": 3.0}], [{"CPU": 64.0, "GPU": 8.0}, {"CPU": 2.0}]
    assert share(Cluster(), cpus) == (1, 0, 7)
    assert share(Cluster(cores_per_run=2), cpus) == (2, 0, 3)
    assert share(Cluster(), gpus) == (1, 1, 8)
    assert share(Cluster(gpus_per_run=0.5), gpus) == (1, 0.5, 16)
    assert share(Cluster(cores_per_run=16, gpus_per_run=1), gpus) == (16, 1, 4)
    assert share(Cluster(gpus_per_run=0), gpus) == (1, 0, 66)
    for asked in (Cluster(cores_per_run=5), Cluster(gpus_per_run=1)):
        with pytest.raises(InputError, match="no node of the cluster has that much"):
            share(asked, cpus)
    with pytest.raises(InputError, match=r"\(0 nodes: \)"):
        share(Cluster(), [])


def test_what_a_worker_is_told():
    here = {"XLA_FLAGS": "--a", "TFDS_DATA_DIR": "/data", "HOME": "/me", "JAX_PLATFORMS": "cpu"}
    told = {"XLA_FLAGS": "--a", "TFDS_DATA_DIR": "/data"}
    assert environment(0, here) == told | {"JAX_PLATFORMS": "cpu"}
    assert environment(1, here) == told | {"JAX_PLATFORMS": ""}
    assert environment(2, {"JAX_PLATFORMS": "cuda"}) == {}
    assert environment(0.5, {}) == {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.375"}


def planned(tmp_path, **changes):
    plan = store_plan(make_plan(replace(BASE, **changes), arms(), **POINT), tmp_path)
    return plan, agenda(plan, lambda item: None).todo


def test_runs_of_one_program_are_alike_and_leave_no_gpu_idle(tmp_path):
    plan, todo = planned(tmp_path)
    assert [together(plan, Site(ray, 1, gpus, slots), 4) for gpus, slots in ((0, 2), (1, 1), (1, 2), (2, 1))] == [
        1, 4, 2, 1,
    ]  # fmt: skip
    assert together(replace(plan, base=replace(BASE, parallel="sharded")), Site(ray, 1, 1, 1), 4) == 1
    assert together(plan, Site(ray, 1, 1, 1), 1000) == 16
    assert [len(each) for each in groups(todo, 16, Counter())] == [2, 2]
    assert [len(each) for each in groups(todo, 1, Counter())] == [1] * 4
    mixed = list(groups(todo, 16, Counter({todo[0].path: 1})))
    assert [len(each) for each in mixed] == [1, 1, 2]
    assert [item for each in mixed for item in each] == list(todo)


class Fake:
    """As much of Ray as a crew needs, with answers given beforehand."""

    exceptions = ray.exceptions

    def __init__(self, *answers):
        self.answers, self.submitted = list(answers), []

    def remote(self, function):
        def submit(*arguments):
            self.submitted.append([item.path for item in arguments[1]])
            return len(self.submitted) - 1

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=submit))

    def wait(self, tasks, **_):
        return tasks, []

    def get(self, task):
        answer = self.answers[task]
        if isinstance(answer, Exception):
            raise answer
        return answer


def crew_of(tmp_path, *answers):
    plan, todo = planned(tmp_path)
    site = Site(Fake(*answers), 1, 0.0, 2)
    return Crew(site, job_of(plan, tmp_path, None, site)), site.ray, todo


def test_a_run_whose_workers_die_is_submitted_three_times_more(tmp_path):
    died = ray.exceptions.WorkerCrashedError()
    crew, fake, todo = crew_of(tmp_path, died, node.Answer("stopped"), ray.exceptions.OutOfMemoryError("more"), died)
    for _ in range(3):
        crew.submit(todo[:1])
        crew.collect()
    crew.submit(todo[:1])
    with pytest.raises(InputError, match=rf"run {todo[0].path}: 4 workers died at it, the last by WorkerCrashedError"):
        crew.collect()
    assert fake.submitted == [[todo[0].path]] * 4


def test_what_workers_answer(tmp_path, capsys):
    crew, _, todo = crew_of(tmp_path, node.Answer("refused", "lr=0: no"), node.Answer("failed", "Traceback: oh\n"))
    crew.submit(todo[:1])
    with pytest.raises(InputError, match=r"^lr=0: no$"):
        crew.collect()
    crew.submit(todo[:1])
    with pytest.raises(RuntimeError, match="what it said stands above"):
        crew.collect()
    assert capsys.readouterr().err == "Traceback: oh\n"


def test_what_others_are_at_is_left_to_them_and_what_is_finished_is_not_submitted_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)
    crew, fake, todo = crew_of(tmp_path, node.Answer("done", [item.path for item in planned(tmp_path)[1][2:]]))
    with claim(tmp_path, todo[0].path), claim(tmp_path, todo[1].path):
        crew.submit(todo[:2])
        crew.collect()
        assert fake.submitted == []
    crew.submit(todo[2:3])
    crew.submit(todo[2:3])
    crew.collect()
    crew.submit(todo[2:3])  # A shared file system may show the result later.
    assert fake.submitted == [[todo[2].path]]
    monkeypatch.setattr(module, "SEEN_SECONDS", -1.0)
    with pytest.raises(InputError, match="its result does not show here"):
        crew.submit(todo[2:3])


@pytest.fixture
def worker(monkeypatch):
    """This process as a worker, which keeps its cores and its folder."""
    monkeypatch.setattr(node, "keep_to", lambda *_: None)
    monkeypatch.setattr(node.os, "chdir", lambda _: None)


def test_a_folder_without_the_plan_is_refused(worker, tmp_path):
    plan, todo = planned(tmp_path / "study")
    job = node.Job(plan, tmp_path / "study", tmp_path, None, 1, 0.0, "driver")
    told = {
        "is not this study": job._replace(directory=tmp_path / "elsewhere"),
        "it holds another study": job._replace(plan=replace(plan, margin=0.01)),
        "the driver's lock does not show": job,
    }
    for why, each in told.items():
        answer = node.train(each, todo[:1])
        assert answer.kind == "refused"
        assert why in answer.value
        assert "put it on a file system that all nodes share" in answer.value
    with driving(job):
        none = node.train(job._replace(gpus=1.0), todo[:1])
    assert (none.kind, "JAX finds no GPU" in none.value) == ("refused", True)
    assert not (tmp_path / "elsewhere").exists()
    assert not (tmp_path / "study" / "runs").exists()
    assert not list((tmp_path / "study" / "claims").glob("driver*"))


def test_how_a_worker_ends(worker, tmp_path, monkeypatch):
    plan, todo = planned(tmp_path)
    job = node.Job(plan, tmp_path, tmp_path, None, 1, 0.0, "driver")
    with driving(job):
        with claim(tmp_path, todo[0].path):
            assert node.train(job, todo[:1]) == node.Answer("done", [])
        for raised, kind in ((KeyboardInterrupt(), "stopped"), (ZeroDivisionError("here"), "failed")):

            def end(*_, raised=raised):
                raise raised

            monkeypatch.setattr(node, "arm_costs", end)
            answer = node.measure(job)
            assert answer.kind == kind
        assert "ZeroDivisionError: here" in answer.value


def test_a_group_of_runs_is_one_program_and_what_another_is_at_is_left_out(worker, tmp_path):
    plan, todo = planned(tmp_path, epochs=1)
    job = node.Job(plan, tmp_path, tmp_path, None, 1, 0.0, "driver")
    with driving(job):
        assert node.train(job, todo[:2]) == node.Answer("done", [item.path for item in todo[:2]])
        with claim(tmp_path, todo[3].path):
            assert node.train(job, todo[2:]) == node.Answer("done", [todo[2].path])
    assert [load_result(tmp_path / item.path).programs["members"] for item in todo[:3]] == [2, 2, 1]
    assert journal(tmp_path) == [item.path for item in todo[:3]]


@pytest.mark.slow
def test_a_worker_whose_driver_is_gone_stops(worker, tmp_path, monkeypatch):
    plan, _ = planned(tmp_path)
    job, held = node.Job(plan, tmp_path, tmp_path, None, 1, 0.0, "driver"), ExitStack()
    monkeypatch.setattr(node, "WATCH_SECONDS", 0.01)
    held.enter_context(claim(tmp_path, "driver"))

    def slow(*_):
        held.close()
        wait_until(lambda: False)

    monkeypatch.setattr(node, "arm_costs", slow)
    assert node.measure(job) == node.Answer("stopped")


def kept(count, folder, pipe):
    """What a process keeps to, told while it lives."""
    node.keep_to(count, folder)
    node.keep_to(count, folder)
    pipe.send(sorted(os.sched_getaffinity(0)))
    pipe.recv()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_workers_keep_to_cores_of_their_own(tmp_path):
    mine = sorted(os.sched_getaffinity(0))
    if len(mine) < 2:
        pytest.skip("a single core is everybody's")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.study.small"])

    def start():
        ours, theirs = context.Pipe()
        process = context.Process(target=kept, args=(1, tmp_path / "cores", theirs))
        process.start()
        assert ours.poll(60)
        return process, ours, ours.recv()

    def end(process, pipe):
        pipe.send(None)
        process.join(30)

    first, second = start(), start()
    assert len(first[2]) == len(second[2]) == 1
    assert first[2] != second[2]
    end(*second[:2])
    third = start()  # The lock went with its process.
    assert third[2] != first[2] or len(mine) > 2
    more = [start() for _ in range(len(mine) - 1)]
    assert all(len(each[2]) == 1 for each in more)  # Where none is free, one is shared: the number counts.
    for each in (first, third, *more):
        end(*each[:2])
    assert sorted(os.sched_getaffinity(0)) == mine
