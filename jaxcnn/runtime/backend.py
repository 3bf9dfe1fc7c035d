"""Settings of a process that computes on a CPU: a cache of compiled programs, and memory that is kept.

Importing this module imports no JAX and changes nothing.
"""

from __future__ import annotations

import atexit
import gc
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from jaxcnn.errors import InputError

SWITCH = "JAXCNN_BACKEND_OPTIONS"
"""Environment variable: `auto` (default) or `off`."""
CACHE = "JAX_COMPILATION_CACHE_DIR"
MIN_COMPILE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
# JAX's default of 1 second leaves out evaluation and gathering, which every process would compile again.
MIN_COMPILE_SECONDS = 0.05
# (Environment variable for child processes, parameter of mallopt, value): one arena, no separate mappings for large
# blocks, nothing returned to the system. The numbers are those of malloc.h.
MALLOC = (("MALLOC_ARENA_MAX", -8, 1), ("MALLOC_MMAP_MAX_", -4, 0), ("MALLOC_TRIM_THRESHOLD_", -1, 2**31 - 1))


def keep_memory() -> None:
    """Let the C library keep freed memory, for this process and its children (Linux with glibc, a CPU).

    XLA allocates all temporaries of a step anew. Returned to the system each time, they cost 50,000 page faults per
    step of ResNet-20, a seventh of its time. Malloc variables of the user's own (`MALLOC_ARENA_MAX` and the like) and
    `JAXCNN_BACKEND_OPTIONS=off` disable this.

    Raises:
        InputError: `JAXCNN_BACKEND_OPTIONS` is neither auto nor off.

    >>> keep_memory()  # doctest: +SKIP
    """
    switch = os.environ.get(SWITCH, "auto")
    if switch not in ("auto", "off"):
        raise InputError(f"{SWITCH}={switch!r}: choose auto or off")
    if switch == "off" or platform.libc_ver()[0] != "glibc" or not _cpu_only(os.environ):
        return
    if any(name in os.environ for name, _, _ in MALLOC):
        return
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    for name, parameter, value in MALLOC:
        os.environ[name] = str(value)
        mallopt(parameter, value)


def collect_rarely() -> None:
    """Let Python look for garbage rarely, and not at all when this process ends.

    Importing and tracing make many objects and little garbage; the default thresholds cost a tenth of the time. The
    last collection, at exit, would visit a million objects.

    >>> collect_rarely()  # doctest: +SKIP
    """
    gc.set_threshold(50_000, 20, 100)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def apply_cache(folder: Path) -> None:
    """Keep compiled programs in a folder, unless the user chose one.

    >>> apply_cache(Path("programs"))  # doctest: +SKIP
    """
    jax = sys.modules.get("jax")
    if os.environ.get(CACHE) or (jax is not None and jax.config.jax_compilation_cache_dir):
        return
    settings = {CACHE: str(folder)}
    if MIN_COMPILE not in os.environ:
        settings[MIN_COMPILE] = str(MIN_COMPILE_SECONDS)
    os.environ.update(settings)
    # JAX reads its environment when it is imported, and a script may have done so already.
    if jax is not None:
        for name, value in settings.items():
            jax.config.update(name.lower(), value if name == CACHE else float(value))


def _cpu_only(environ: Mapping[str, str]) -> bool:
    """Return whether JAX will start on the CPU, as far as can be seen without starting it."""
    from importlib.metadata import entry_points  # slow to import, and help pages do not need it
    from importlib.util import find_spec

    if platforms := environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    return not (find_spec("jax_plugins") or find_spec("libtpu") or entry_points(group="jax_plugins"))
