"""Workers on a Ray cluster: one per slot, the same that run locally, replaced when they die. Ray is an extra."""

import logging
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
import warnings
from _thread import interrupt_main
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from textwrap import shorten
from types import ModuleType
from typing import Any, NamedTuple

import jax

from jaxcnn.errors import InputError, missing_extra
from jaxcnn.runtime.backend import collect_rarely
from jaxcnn.runtime.environment import cores
from jaxcnn.runtime.processes import attempt, keep_to_cores, raise_failure
from jaxcnn.runtime.signals import Interrupted, graceful, interruptible
from jaxcnn.spec import StepCost, StudyConfig
from jaxcnn.study.execution.estimate import arm_costs
from jaxcnn.study.execution.given import Given
from jaxcnn.study.execution.local import POLL_SECONDS, STOP_SECONDS
from jaxcnn.study.execution.locks import FOLDER, claim
from jaxcnn.study.execution.worker import Reader, work
from jaxcnn.study.plan import Plan
from jaxcnn.study.schedule import next_runs

MOST_DEATHS = 3
"""Largest number of deaths per worker while no run is finished."""
WATCH_SECONDS = 1.0
SEEN_SECONDS = 180.0
"""Time until a finished run must be visible to the driver; network file systems may be a minute late."""
MEMORY_SHARE = 0.75
"""Share of a GPU's memory that JAX takes by default."""
CARRIED = ("JAX", "XLA_", "TFDS_", "MALLOC_")
"""Prefixes of the environment variables that workers get: places of data and caches, flags that change results."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
SOON = {"RAY_gcs_rpc_server_connect_timeout_s": "3", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
PROBE = """
import sys, ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
except Exception as error:
    sys.exit(print(error) or 1)
"""
Task = Callable[[int, int], Callable[[], Any]]
"""Number of a worker and number of workers -> a function without arguments."""


class Cluster(NamedTuple):
    """A connected cluster: the module ray, and the cores and GPUs of one run."""

    ray: ModuleType
    cores: int
    gpus: float


def work_on_ray(cluster: Cluster, plan: Plan, directory: Path, given: Given, refresh: Callable[[], None]) -> None:
    """Start a worker on every slot of a cluster and wait until all runs are finished.

    Every node must see the directory under the same name. Ray carries user-defined functions to the workers. `refresh`
    is called about twice a second.

    Raises:
        InputError: A worker refused its input, with its message; or workers died again and again.
        RuntimeError: A worker failed; its traceback is on stderr.
        Interrupted: SIGINT or SIGTERM arrived; the current runs are saved up to their last checkpoints.
    """
    read, together = Reader(plan, directory, given), 1 if cluster.gpus > 1 else None

    def pending() -> list[str]:
        refresh()
        paths = [each.path for each in next_runs(plan, read).pending]
        return sorted(paths, key=lambda path: not (directory / path / "config.json").exists())

    def task(number: int, count: int) -> Callable[[], None]:
        return partial(work, plan, directory.resolve(), given=given, worker=(number, count), together=together)

    _host(cluster, directory, task, pending)
    deadline = time.monotonic() + SEEN_SECONDS
    while late := pending():
        if time.monotonic() > deadline:
            raise InputError(
                f"out={directory}: a worker finished {late[0]}, which is not visible here; put the study on a file "
                "system that all nodes share"
            )
        time.sleep(POLL_SECONDS)


def costs_on_ray(cluster: Cluster, plan: Plan, directory: Path, given: Given) -> tuple[StepCost, ...]:
    """Return the cost of a step of every arm, measured by one worker; raise as `work_on_ray`."""
    measure = partial(arm_costs, plan, given=given)
    return _host(cluster, directory, lambda number, count: measure, lambda: ["costs of the steps"])


def _host(cluster: Cluster, directory: Path, task: Task, pending: Callable[[], Sequence[str]]) -> Any:
    """Run a task on every slot, replace workers that die, and return the first value that a task returns.

    Args:
        cluster, directory, task: The cluster, the study's folder, and the work.
        pending: Returns names of what is unfinished, those begun first. There are no more workers than names.
    """
    ray, driver = cluster.ray, f"driver-{uuid.uuid4().hex[:12]}"
    remote: Any = ray.remote(serve)
    options = {"num_cpus": cluster.cores, "num_gpus": cluster.gpus, "max_retries": 0}
    options["runtime_env"] = {"env_vars": environment(cluster.gpus, os.environ)}
    place = (directory.resolve(), driver, Path.cwd(), cluster.cores, cluster.gpus)
    tasks: dict[Any, int] = {}
    deaths, unfinished = 0, set[str]()
    with graceful() as interrupted:
        try:
            with claim(directory, driver):
                while not interrupted():
                    names = pending()
                    count = max(1, min(slots(cluster.cores, cluster.gpus, _nodes(ray)), len(names)))
                    for number in set(range(count)) - set(tasks.values()):
                        worker = remote.options(name=f"jaxcnn worker {number}", **options)
                        tasks[worker.remote(*place, task(number, count))] = number
                    for ended in ray.wait(list(tasks), timeout=POLL_SECONDS)[0]:
                        del tasks[ended]
                        kind, value = _answer(ray, ended)
                        if kind == "done":
                            return value
                        # The worker died, or something else than this driver interrupted it.
                        deaths, unfinished = deaths + 1 if unfinished == set(names) else 1, set(names)
                        if deaths > MOST_DEATHS * count:
                            raise InputError(
                                f"{names[0]}: {deaths} workers died and none finished it, the last by {value}, perhaps "
                                "for lack of memory; finished runs are kept; run the same command again, with more "
                                "cores_per_run if nodes are short of memory"
                            )
            raise Interrupted(resumable=True)
        finally:
            # Workers save and stop. None is cancelled: Ray ends a driver that cancels a task which is about to return.
            if tasks:
                ray.wait(list(tasks), num_returns=len(tasks), timeout=STOP_SECONDS)
            (directory / FOLDER / f"{driver}.lock").unlink(missing_ok=True)


def _answer(ray: ModuleType, ended: Any) -> tuple[str, Any]:
    """Return a task's answer (see `attempt`), or ("died", how); raise the error of one that refused or failed."""
    try:
        kind, value = ray.get(ended)
    except ray.exceptions.RayTaskError:  # `serve` itself could not run.
        raise
    except ray.exceptions.RayError as error:
        return "died", type(error).__name__
    raise_failure(kind, value)
    return kind, value


def serve(
    directory: Path, driver: str, home: Path, cores: int, gpus: float, task: Callable[[], Any]
) -> tuple[str, Any]:
    """Call a task on a node, and interrupt it, as Ctrl-C would, once the driver's claim is free.

    Args:
        directory: The study's folder, as the driver names it.
        driver: Name of the claim that the driver holds while there is work.
        home: The driver's working directory: paths of data may be relative to it.
        cores, gpus: Number of cores to keep to if there are no GPUs, and number of GPUs.
        task: Function to call.

    Returns:
        The answer (see `attempt`). A node that does not see the study, or its GPU, refuses.
    """

    def abandoned() -> bool:
        with claim(directory, driver) as free:
            return free

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            with suppress(OSError, InputError):  # A file system may be away for a moment.
                if abandoned():
                    interrupt_main()
                    over.set()

    def watched() -> Any:
        collect_rarely()
        with suppress(OSError):  # A node may not have that folder; data named by a full path need none.
            os.chdir(home)
        if not (directory / FOLDER / f"{driver}.lock").exists() or abandoned():
            raise InputError(
                f"out={directory}: the study, or its driver's lock, is not visible on node {platform.node()}; put it "
                "on a file system that all nodes share and that locks files for all of them, such as NFS 4"
            )
        if not gpus:
            keep_to_cores(cores, Path(tempfile.gettempdir()) / f"jaxcnn-cores-{os.getuid()}")
        elif jax.default_backend() == "cpu":
            raise InputError(
                f"gpus_per_run={gpus:g}: JAX finds no GPU on node {platform.node()}; install the extra gpu there, or "
                "give gpus_per_run=0"
            )
        watcher.start()
        try:
            with interruptible():
                return task()
        finally:
            over.set()
            watcher.join()

    over, watcher = threading.Event(), threading.Thread(target=watch, daemon=True)
    return attempt(watched)


def check_ray(config: StudyConfig, given: Given) -> None:
    """Refuse what no cluster can do, before anything is written.

    Raises:
        InputError: A number out of range, an address of Ray Client, no Ray, or a function that cannot be pickled.
    """
    gpus, address = config.gpus_per_run, config.ray_address
    if config.workers is not None:
        raise InputError(f"workers={config.workers}: Ray places the runs; give cores_per_run or gpus_per_run instead")
    if config.cores_per_run is not None and config.cores_per_run < 1:
        raise InputError(f"cores_per_run={config.cores_per_run}: must be at least 1")
    if gpus is not None and not (0 <= gpus <= 1 or (math.isfinite(gpus) and gpus == int(gpus) > 1)):
        raise InputError(f"gpus_per_run={gpus}: give 0, a part of one GPU such as 0.5, or a whole number")
    if address is not None and "://" in address:
        raise InputError(f"ray_address={address!r}: give HOST:PORT of the cluster's head (default port 6379), or auto")
    cloudpickle = _ray().cloudpickle
    for name, function in given.functions:
        try:
            cloudpickle.dumps(function)
        except Exception as error:
            raise InputError(
                f"{name}={getattr(function, '__qualname__', function)}: Ray cannot pickle it for its workers "
                f"({error}); define it at the top of a module that they can import"
            ) from None


def share(config: StudyConfig, nodes: Sequence[Mapping[str, float]]) -> tuple[int, float]:
    """Return the cores and GPUs of one run: as given, else as the nodes' resources (CPU, GPU) suggest.

    Raises:
        InputError: No node has room for one run.
    """
    count, gpus = config.cores_per_run or 1, config.gpus_per_run
    if gpus is None:
        gpus = 1.0 if any(node.get("GPU", 0) >= 1 for node in nodes) else 0.0
    if slots(count, gpus, nodes) < 1:
        first = ", ".join(f"{node.get('CPU', 0):g} cores and {node.get('GPU', 0):g} GPUs" for node in nodes[:3])
        raise InputError(
            f"cores_per_run={count}, gpus_per_run={gpus:g}: no node of the cluster has that many ({len(nodes)} nodes: "
            f"{first}{', ...' * (len(nodes) > 3)}); give smaller numbers"
        )
    return count, gpus


def slots(cores: int, gpus: float, nodes: Sequence[Mapping[str, float]]) -> int:
    """Return the number of runs that nodes have room for side by side."""
    rooms = [(node.get("CPU", 0) / cores, node.get("GPU", 0) / gpus if gpus else math.inf) for node in nodes]
    return sum(int(min(room)) for room in rooms)


def environment(gpus: float, environ: Mapping[str, str]) -> dict[str, str]:
    """Return a worker's environment variables: those of this process that matter, and the device for JAX."""
    carried = {k: v for k, v in environ.items() if k.startswith(CARRIED) and k != "JAX_PLATFORMS"}
    if not gpus:
        return carried | {"JAX_PLATFORMS": "cpu"}
    if gpus < 1:  # Several workers share its memory.
        carried["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{MEMORY_SHARE * gpus:.3f}"
    # The driver may keep to the CPU to leave the GPUs to its workers.
    return carried | ({"JAX_PLATFORMS": ""} if environ.get("JAX_PLATFORMS") == "cpu" else {})


@contextmanager
def connected(config: StudyConfig) -> Iterator[Cluster]:
    """Connect to a cluster, or start a local Ray instance, until the block ends; an existing connection is reused.

    Raises:
        InputError: It cannot be reached or started, or no node has room for a run.
    """
    ray = _ray()
    own, main = not ray.is_initialized(), threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if own:
            _connect(ray, config.ray_address or os.environ.get("RAY_ADDRESS") or "local")
        yield Cluster(ray, *share(config, _nodes(ray)))
    finally:
        if own:
            with graceful():  # A Ctrl-C does not break the disconnection.
                ray.shutdown()
        if main:  # Ray has installed its own.
            signal.signal(signal.SIGTERM, handler)


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError:
        raise missing_extra("place=ray", "Ray", "ray") from None
    return ray


def _nodes(ray: ModuleType) -> list[Mapping[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _connect(ray: ModuleType, address: str) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":  # Little memory for objects: runs are files.
        options |= {"num_cpus": cores(), "include_dashboard": False, "object_store_memory": 128 * 2**20}
    else:
        _probe(address)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        with warnings.catch_warnings():
            # Ray calls exec right after fork, so JAX's threads do no harm.
            warnings.filterwarnings("ignore", message="os.fork")
            ray.init(address, **options)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise _unreachable(address, str(error)) from None


def _probe(address: str) -> None:
    """Connect in another process first: Ray ends a process, after minutes, that connects where no cluster answers."""
    command, why = [sys.executable, "-c", PROBE, address], "no answer"
    with suppress(subprocess.TimeoutExpired):
        env = {**os.environ, **QUIET, **SOON}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            return
        why = done.stdout or why
        if "InvalidAuthToken" in done.stderr:
            why = "it needs a token: set RAY_AUTH_MODE=token and, if need be, RAY_AUTH_TOKEN_PATH"
    raise _unreachable(address, why)


def _unreachable(address: str, why: str) -> InputError:
    why = shorten(why, 160, placeholder=" ...")
    if address == "local":
        return InputError(f"place=ray: Ray did not start on this machine ({why})")
    return InputError(
        f"ray_address={address!r}: no Ray cluster with this machine as a node answers there ({why}); give HOST:PORT of "
        "its head (default port 6379), or leave it out for a local Ray instance"
    )
