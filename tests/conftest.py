"""Strict by default: dtype and rank promotion are errors, warnings are errors, four virtual devices."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before JAX is imported anywhere. The compilation cache makes a second run of the suite several times faster.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4".strip()
os.environ["JAX_NUMPY_DTYPE_PROMOTION"] = "strict"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jaxcnn-test-xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
os.environ["JAXCNN_CACHE"] = tempfile.mkdtemp(prefix="jaxcnn-test-cache-")

REAL = "TFDS_DATA_DIR"


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", "real: needs real data sets; skipped only where TFDS_DATA_DIR is not set")


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


@pytest.fixture(scope="module", autouse=True)
def _forget_programs() -> Iterator[None]:
    """Compiled programs of one module's tests are of no use to the next, and take gigabytes by the end."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()
