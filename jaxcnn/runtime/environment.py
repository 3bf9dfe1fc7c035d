"""The software and hardware of a run, recorded beside every result."""

import os
import platform
import re
import subprocess
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "tensorflow-datasets", "numpy", "scipy",
    "scikit-learn", "Pillow", "grain",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Return Python's version and `version_of` each of `PACKAGES`."""
    return {"python": platform.python_version(), **{package: version_of(package) for package in PACKAGES}}


@cache  # Reading all of them takes 30 ms, and a study has many runs.
def version_of(package: str) -> str:
    """Return the installed version of a package, or 'missing'."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


@cache
def revision() -> str:
    """Return the git commit of this source tree, with "-dirty" after it where files differ; "" outside a clone."""
    package = Path(__file__).parents[1]
    # The package may lie inside somebody else's repository, in a virtual environment for example.
    if not (package.parent / ".git").exists():
        return ""
    try:
        command = ["git", "-C", str(package.parent), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def now() -> str:
    """Return the time in UTC, such as 2026-11-29T01:12:30Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def processor() -> str:
    """Return the processor's name as the system reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(errors="replace") if cpuinfo.exists() else ""
    match = re.search(r"^model name\s*:(.*)", text, re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, Any]:
    """Return versions, revision, devices, processor, and what computes convolutions; start JAX's backend."""
    import jax

    from jaxcnn.runtime.onednn import status

    devices = jax.devices()
    return {
        "versions": versions(),
        "revision": revision(),
        "devices": [device.device_kind for device in devices],
        "platform": devices[0].platform,
        "processor": processor(),
        "cores": cores(),
        "system": platform.platform(),
        "convolutions": status()[0] if devices[0].platform == "cpu" else "XLA",
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
