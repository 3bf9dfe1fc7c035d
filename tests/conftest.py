"""Strict by default: dtype and rank promotion are errors, warnings are errors, four virtual devices."""

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from jaxcnn.runtime.backend import keep_memory

# Before JAX is imported anywhere. The compilation cache makes a second run of the suite several times faster.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The suite is mostly compiling, so LLVM does little of it. Tests that start processes with flags of their own try the
# programs as users have them; a level in the environment stands. Level 0 takes a fifth less processor time than 1, but
# trainings drift: a small net's loss was 2e-3 off after three epochs, where levels 1 to 3 agree to 1e-7 (jaxlib 0.10
# and 0.12).
FLAGS = [
    "--xla_force_host_platform_device_count=4", "--xla_backend_optimization_level=1",
    "--xla_llvm_disable_expensive_passes=true", "--xla_cpu_parallel_codegen_split_count=1",
    # XLA ends the process where one of four devices comes 40 s late, which a loaded machine may bring about.
    "--xla_cpu_collective_call_terminate_timeout_seconds=600",
]  # fmt: skip
GIVEN = os.environ.get("XLA_FLAGS", "").split()
NAMES = {flag.partition("=")[0] for flag in GIVEN}
os.environ["XLA_FLAGS"] = " ".join([*GIVEN, *(flag for flag in FLAGS if flag.partition("=")[0] not in NAMES)])
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jaxcnn-test-xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ["JAXCNN_CACHE"] = tempfile.mkdtemp(prefix="jaxcnn-test-cache-")
# The bridge to oneDNN is compiled once for all workers and later runs; its name says what it was compiled from.
BRIDGES = Path(tempfile.gettempdir()) / "jaxcnn-test-onednn"
BRIDGES.mkdir(exist_ok=True)
(Path(os.environ["JAXCNN_CACHE"]) / "onednn").symlink_to(BRIDGES)

# As every command does. Simulations allocate arrays of a megabyte thousands of times: with the C library's defaults 200
# studies of 30 seeds take 10 s of processor time instead of 5.
keep_memory()

# Tracing makes so many objects that looking for garbage at Python's usual rate takes 7 % of the suite.
gc.set_threshold(100_000, 20, 10)

# The same examples in every run, however slow the machine is; `pytest --hypothesis-profile default` draws others.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

# A shell's background job ignores Ctrl-C, and so would the runs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

REAL = "TFDS_DATA_DIR"
MOST_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4  # of a worker, before it forgets its programs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real data is needed where TFDS_DATA_DIR is set: then a missing set is a failure, not a skip."""
    if REAL in os.environ:
        return
    skip = pytest.mark.skip(reason=f"{REAL} is not set")
    for item in items:
        if "real" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the prepared TFDS sets."""
    folder = Path(os.environ[REAL])
    assert folder.is_dir(), f"{REAL}={folder} is not a folder"
    return folder


def _resident_bytes() -> float:
    """Memory that this process holds; where it cannot be read, as much as can be."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return float("inf")


@pytest.fixture(scope="module", autouse=True)
def _forget_programs() -> Iterator[None]:
    """Compiled programs of all modules together take gigabytes; what modules share would be compiled again."""
    yield
    if "jax" in sys.modules and _resident_bytes() > MOST_BYTES:
        sys.modules["jax"].clear_caches()
