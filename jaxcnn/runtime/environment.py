"""With what a run was made: versions and hardware, recorded beside every result."""

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "tensorflow-datasets", "numpy", "scipy",
    "scikit-learn", "Pillow", "grain",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Installed versions by package name; 'missing' where one is not installed."""
    return dict(_versions())


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    # Read once: reading them all takes a thirtieth of a second, and a study has many runs.
    found = [("python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "missing"))
    return tuple(found)


def processor() -> str:
    """The processor's name as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, Any]:
    """Versions, devices, processor and the flags that change results; starts JAX's backend."""
    import jax

    devices = jax.devices()
    return {
        "versions": versions(),
        "devices": [device.device_kind for device in devices],
        "platform": devices[0].platform,
        "processor": processor(),
        "cores": cores(),
        "system": platform.platform(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
