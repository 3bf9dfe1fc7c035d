"""A Ray cluster as the place where a study's runs are trained: how to reach it, and what it gives to each run.

Ray is an extra: it is imported when a study is placed on it, never before.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

from jaxcnn.errors import InputError
from jaxcnn.runtime.environment import cores
from jaxcnn.runtime.signals import graceful
from jaxcnn.study.execution.worker import FamilyFunction

OBJECT_STORE_BYTES = (
    128 * 2**20
)  # Nothing large travels: runs are files, and images are read where they are trained on.
MEMORY_SHARE = 0.75  # of a GPU, which JAX takes for itself where nothing else is said
# Where things lie and what changes a run's numbers or its speed: a worker on another machine has the driver's.
CARRIED = (
    "JAXCNN_CACHE", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "TFDS_DATA_DIR",
    "XLA_FLAGS", "JAX_DEFAULT_MATMUL_PRECISION", "JAX_ENABLE_X64", "JAX_NUMPY_DTYPE_PROMOTION",
    "JAX_NUMPY_RANK_PROMOTION", "MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_",
)  # fmt: skip
PROBE = """
import sys, ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    print(error)
    sys.exit(1)
"""
SOON = {"RAY_gcs_rpc_server_connect_timeout_s": "3", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
MOST_WORDS = 160  # letters of what Ray says that a sentence of ours repeats
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # else it calls home
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of a change to come, which `environment` is ready for
}


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster, and what a run gets of it.

    Args:
        address: HOST:PORT of its head, or auto: the cluster that this machine is a node of. None: $RAY_ADDRESS, and
            where that is not set a Ray of this machine's own, which ends with the study.
        cores_per_run: Cores that a run's worker keeps to; None: 1.
        gpus_per_run: GPUs of a run: 1, a part of one (0.5: two runs share it), several; None: 1 where the cluster has
            GPUs, else 0.
    """

    address: str | None = None
    cores_per_run: int | None = None
    gpus_per_run: float | None = None


class Site(NamedTuple):
    """A cluster that is connected.

    Args:
        ray: The module.
        cores: Of a run.
        gpus: Of a run.
        slots: Runs that it has room for side by side.
    """

    ray: ModuleType
    cores: int
    gpus: float
    slots: int

    def submit(self, function: Any, name: str, *arguments: Any) -> Any:
        """Call a function on some node as soon as it has room; returns Ray's reference to the answer."""
        options = {
            "name": name, "num_cpus": self.cores, "num_gpus": self.gpus, "max_retries": 0,
            "runtime_env": {"env_vars": environment(self.gpus, os.environ)},
        }  # fmt: skip
        return self.ray.remote(function).options(**options).remote(*arguments)


def environment(gpus: float, environ: Mapping[str, str]) -> dict[str, str]:
    """Environment variables of a worker: what is carried of this process's, and the device that JAX is to take."""
    carried = {name: environ[name] for name in CARRIED if name in environ}
    if not gpus:
        return carried | {"JAX_PLATFORMS": "cpu"}
    if gpus < 1:  # Several workers share its memory.
        carried["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{MEMORY_SHARE * gpus:.3f}"
    # This process may have been told to leave the GPUs to its workers.
    return carried | ({"JAX_PLATFORMS": ""} if environ.get("JAX_PLATFORMS") == "cpu" else {})


def check_cluster(cluster: Cluster, family: FamilyFunction | None) -> None:
    """Refuse, before anything is written, what no cluster can do.

    Raises:
        InputError: Numbers out of range, an address of Ray's client, no Ray, or a family that cannot travel.
    """
    count, gpus, address = cluster.cores_per_run, cluster.gpus_per_run, cluster.address
    if count is not None and count < 1:
        raise InputError(f"cores_per_run={count}: give 1 or more, or leave it out")
    if gpus is not None and not (0 <= gpus <= 1 or (math.isfinite(gpus) and gpus == int(gpus) > 1)):
        raise InputError(f"gpus_per_run={gpus}: give 0, a part of one GPU such as 0.5, or a whole number of them")
    if address is not None and "://" in address:
        raise InputError(f"ray_address={address!r}: give HOST:PORT of the cluster's head (6379 is Ray's own), or auto")
    ray = _ray()
    if family is not None:
        try:
            ray.cloudpickle.dumps(family)
        except Exception as error:
            raise InputError(
                f"family={getattr(family, '__qualname__', family)}: Ray cannot carry it to its workers ({error}); "
                "define it at the top of a module that they can import"
            ) from None


@contextmanager
def connected(cluster: Cluster) -> Iterator[Site]:
    """Connect to a cluster, or start one on this machine; a Ray that runs in this process already is used and kept.

    Raises:
        InputError: It cannot be reached or started, or has no node with room for a run.
    """
    ray = _ray()
    own, main = not ray.is_initialized(), threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if own:
            _connect(ray, cluster.address)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield Site(ray, *share(cluster, nodes))
    finally:
        if own:
            with graceful():  # A Ctrl-C that comes now finds all done; a second one is heard.
                ray.shutdown()
        if main:  # Ray has put its own in place.
            signal.signal(signal.SIGTERM, handler)


def share(cluster: Cluster, nodes: Sequence[Mapping[str, float]]) -> tuple[int, float, int]:
    """(cores of a run, GPUs of a run, runs side by side), as asked for and as the nodes have them.

    Args:
        cluster: What was asked for.
        nodes: Resources of each node, by Ray's names: CPU, GPU.

    Raises:
        InputError: No node has what one run is to get.
    """
    count = cluster.cores_per_run or 1
    gpus = cluster.gpus_per_run
    if gpus is None:
        gpus = 1.0 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0
    rooms = [(node.get("CPU", 0) / count, node.get("GPU", 0) / gpus if gpus else math.inf) for node in nodes]
    slots = sum(int(min(room)) for room in rooms)
    if slots < 1:
        least = ", ".join(f"{node.get('CPU', 0):g} cores and {node.get('GPU', 0):g} GPUs" for node in nodes[:3])
        raise InputError(
            f"cores_per_run={count}, gpus_per_run={gpus:g}: no node of the cluster has that much ({len(nodes)} nodes: "
            f"{least}{', ...' * (len(nodes) > 3)}); ask for less"
        )
    return count, gpus, slots


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise InputError("place=ray: Ray is not installed; pip install 'jaxcnn[ray]', on every node") from None
    return ray


def _connect(ray: ModuleType, address: str | None) -> None:
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        options |= {"num_cpus": cores(), "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    else:
        _probe(address)
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    try:
        with warnings.catch_warnings():
            # Ray starts its processes by fork and exec at once, which JAX's threads do not mind.
            warnings.filterwarnings("ignore", message="os.fork")
            ray.init(address, **options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        if address != "local":
            raise _unreachable(address, str(error)) from None
        raise InputError(f"place=ray: Ray did not start on this machine ({_short(str(error))})") from None
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _probe(address: str) -> None:
    """Connect in a process of its own first: where no cluster answers, Ray ends the process that asked, in minutes."""
    command = [sys.executable, "-c", PROBE, address]
    try:
        done = subprocess.run(
            command, env={**os.environ, **QUIET, **SOON}, capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        raise _unreachable(address, "no answer") from None
    if "InvalidAuthToken" in done.stderr:
        raise _unreachable(address, "it wants a token: set RAY_AUTH_MODE=token and, if need be, RAY_AUTH_TOKEN_PATH")
    if done.returncode:
        raise _unreachable(address, done.stdout or "no answer")


def _unreachable(address: str, why: str) -> InputError:
    return InputError(
        f"ray_address={address!r}: no Ray cluster that this machine is a node of answers there ({_short(why)}); give "
        "HOST:PORT of its head (6379 is Ray's own port), or leave it out for a Ray of this machine's own"
    )


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= MOST_WORDS else words[:MOST_WORDS] + " ..."
