"""Ray without a cluster: what a run gets of the nodes, what is refused, and what a worker does on its node."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxcnn.errors import InputError
from jaxcnn.spec import StudyConfig
from jaxcnn.study.execution import ray as module
from jaxcnn.study.execution.locks import claim
from jaxcnn.study.execution.ray import environment, serve, share, slots
from jaxcnn.study.execution.run_study import check_place
from tests.study.small import BASE, small_study, wait_until

CPUS, GPUS = [{"CPU": 4.0}, {"CPU": 3.0}], [{"CPU": 64.0, "GPU": 8.0}, {"CPU": 2.0}]


@pytest.mark.parametrize(
    ("nodes", "cores", "gpus", "resources", "runs"),
    [
        (CPUS, None, None, (1, 0), 7),
        (CPUS, 2, None, (2, 0), 3),
        (GPUS, None, None, (1, 1), 8),
        (GPUS, None, 0.5, (1, 0.5), 16),
        (GPUS, 16, 1, (16, 1), 4),
        (GPUS, None, 0, (1, 0), 66),
        (GPUS, None, 3, (1, 3), 2),
    ],
)
def test_what_a_run_gets_of_the_nodes(nodes, cores, gpus, resources, runs):
    config = StudyConfig(cores_per_run=cores, gpus_per_run=gpus)
    assert share(config, nodes) == resources
    assert slots(*resources, nodes) == runs


@pytest.mark.parametrize(("nodes", "cores", "gpus"), [(CPUS, 5, None), (CPUS, None, 1), ([], None, None)])
def test_a_run_that_no_node_has_room_for_is_refused(nodes, cores, gpus):
    with pytest.raises(InputError, match=rf"no node of the cluster has that many \({len(nodes)} nodes: "):
        share(StudyConfig(cores_per_run=cores, gpus_per_run=gpus), nodes)


def test_environment_variables_of_a_worker():
    here = {"XLA_FLAGS": "--a", "TFDS_DATA_DIR": "/data", "JAXCNN_CACHE": "/c", "HOME": "/me", "JAX_PLATFORMS": "cpu"}
    carried = {"XLA_FLAGS": "--a", "TFDS_DATA_DIR": "/data", "JAXCNN_CACHE": "/c"}
    assert environment(0, here) == carried | {"JAX_PLATFORMS": "cpu"}
    assert environment(1, here) == carried | {"JAX_PLATFORMS": ""}
    assert environment(2, {"JAX_PLATFORMS": "cuda"}) == {}
    assert environment(0.5, {}) == {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.375"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 2}, "workers=2: Ray places the runs"),
        ({"cores_per_run": 0}, "cores_per_run=0: must be at least 1"),
        ({"gpus_per_run": 1.5}, "gpus_per_run=1.5: give 0, a part of one GPU"),
        ({"gpus_per_run": -1}, "gpus_per_run=-1"),
        ({"gpus_per_run": float("nan")}, "gpus_per_run=nan"),
        ({"ray_address": "ray://head:10001"}, "ray_address='ray://head:10001': give HOST:PORT"),
    ],
)
def test_what_no_cluster_can_do_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        check_place(StudyConfig(BASE, place="ray", **settings))


def test_without_ray_it_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"place=ray: Ray is not installed; run pip install .* -e '.\[ray\]' in your"):
        small_study(tmp_path / "s", workers=None, place="ray")
    assert not (tmp_path / "s").exists()


def test_a_local_study_does_not_import_ray():
    code = "import sys, jaxcnn.study.execution.run_study; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def place(tmp_path):
    """A study's folder and the driver's claim: (folder, name of the claim, ...) as a worker gets them."""
    return tmp_path, "driver-1", Path.cwd(), len(os.sched_getaffinity(0)), 0.0


def test_a_worker_that_does_not_see_the_drivers_lock_is_refused(place, tmp_path):
    elsewhere = (tmp_path / "elsewhere", *place[1:])
    with claim(*place[:2]):
        assert serve(*place, lambda: 7) == ("done", 7)
        kind, message = serve(*elsewhere, lambda: 7)
    assert (kind, "put it on a file system that all nodes share" in message) == ("refused", True)
    assert not elsewhere[0].exists()
    kind, message = serve(*place, lambda: 7)  # The file is there, and nobody locks it.
    assert (kind, "its driver's lock, is not visible on node" in message) == ("refused", True)


def test_a_worker_without_its_gpu_is_refused(place):
    with claim(*place[:2]):
        kind, message = serve(*place[:-1], 1.0, lambda: 7)
    assert (kind, "gpus_per_run=1: JAX finds no GPU on node" in message) == ("refused", True)


def test_a_worker_stops_when_the_drivers_claim_is_free(place, monkeypatch):
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.01)
    held = claim(*place[:2])
    held.__enter__()

    def task():
        held.__exit__(None, None, None)
        wait_until(lambda: False)

    assert serve(*place, task)[0] == "interrupted"


def test_a_bug_in_a_worker_arrives_as_its_traceback(place):
    with claim(*place[:2]):
        kind, text = serve(*place, lambda: 1 / 0)
    assert (kind, text.splitlines()[-1]) == ("failed", "ZeroDivisionError: division by zero")
