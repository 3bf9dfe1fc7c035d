"""Settings of JAX's backend, made before it starts: oneDNN's convolutions on a CPU or a compilation cache; memory.

Importing this module imports no JAX and changes nothing.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from jaxcnn.errors import InputError

__all__ = ["apply_backend_options", "backend_options"]

SWITCH = "JAXCNN_BACKEND_OPTIONS"
"""Environment variable: `auto` (default) or `off`."""
ONEDNN = ("--xla_cpu_use_onednn", "--xla_cpu_experimental_onednn_custom_call")
"""XLA flags; the last one hands convolutions to oneDNN."""
# XLA ends the process at an unknown flag, so only tested series of jaxlib get them. 0.10 accepts them without effect.
TESTED_JAXLIB = ("0.12.",)
CACHE = "JAX_COMPILATION_CACHE_DIR"
MIN_COMPILE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
# JAX's default of 1 second leaves out evaluation and gathering, which every process would compile again.
MIN_COMPILE_SECONDS = 0.05
# (Environment variable for child processes, parameter of mallopt, value): one arena, no separate mappings for large
# blocks, nothing returned to the system. The numbers are those of malloc.h.
MALLOC = (("MALLOC_ARENA_MAX", -8, 1), ("MALLOC_MMAP_MAX_", -4, 0), ("MALLOC_TRIM_THRESHOLD_", -1, 2**31 - 1))


def backend_options(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the XLA flags that make this machine's convolutions faster and are not set yet.

    On an x86 CPU with jaxlib 0.12, oneDNN computes convolutions of few channels two to six times faster. There are no
    flags with an accelerator (installed or named in `JAX_PLATFORMS`), with oneDNN switched off in `XLA_FLAGS`, with
    `JAXCNN_BACKEND_OPTIONS=off`, and with a compilation cache of the user's own: jaxlib cannot serialise a program
    that calls oneDNN.

    Raises:
        InputError: `JAXCNN_BACKEND_OPTIONS` is neither auto nor off.
    """
    switch = environ.get(SWITCH, "auto")
    if switch not in ("auto", "off"):
        raise InputError(f"{SWITCH}={switch!r}: choose auto or off")
    given = _onednn_flags(environ)
    if switch == "off" or not all(given.values()) or _user_cache(environ) or not _cpu_only(environ):
        return ()
    tested = platform.machine() in ("x86_64", "AMD64") and _jaxlib().startswith(TESTED_JAXLIB)
    return tuple(f"{flag}=true" for flag in ONEDNN if tested and flag not in given)


def apply_backend_options() -> tuple[str, ...]:
    """Append `backend_options()` to `XLA_FLAGS`, for this process and its children; a second call does nothing.

    Call it at the top of research code, before the first computation; the console command and `launch` do so
    themselves. Results change in rounding only.

    Returns:
        The flags appended, as `environment()` records them in `xla_flags`.

    Raises:
        InputError: JAX's backend has started, so flags come too late; or `JAXCNN_BACKEND_OPTIONS` has an unknown value.

    >>> flags = apply_backend_options()  # doctest: +SKIP
    """
    options = backend_options()
    if options and backend_started():
        raise InputError(
            f"XLA_FLAGS: {' '.join(options)} would have no effect, because JAX has already computed something; apply "
            f"backend options before the first computation, or set {SWITCH}=off"
        )
    if options:
        os.environ["XLA_FLAGS"] = " ".join([*os.environ.get("XLA_FLAGS", "").split(), *options])
    return options


def keep_memory() -> None:
    """Let the C library keep freed memory, for this process and its children (Linux with glibc, a CPU).

    XLA allocates all temporaries of a step anew. Returned to the system each time, they cost 50,000 page faults per
    step of ResNet-20, a seventh of its time. Malloc variables of the user's own (`MALLOC_ARENA_MAX` and the like) and
    `JAXCNN_BACKEND_OPTIONS=off` disable this.
    """
    if os.environ.get(SWITCH) == "off" or platform.libc_ver()[0] != "glibc" or not _cpu_only(os.environ):
        return
    if any(name in os.environ for name, _, _ in MALLOC):
        return
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    for name, parameter, value in MALLOC:
        os.environ[name] = str(value)
        mallopt(parameter, value)


def backend_started() -> bool:
    """Return whether JAX has read its flags."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def apply_cache(folder: Path) -> None:
    """Keep compiled programs in a folder, unless the user chose one or oneDNN's convolutions rule it out."""
    if _user_cache(os.environ) or _onednn_flags(os.environ).get(ONEDNN[-1]):
        return
    settings = {CACHE: str(folder)}
    if MIN_COMPILE not in os.environ:
        settings[MIN_COMPILE] = str(MIN_COMPILE_SECONDS)
    os.environ.update(settings)
    # JAX reads its environment when it is imported, and a script may have done so already.
    if (jax := sys.modules.get("jax")) is not None:
        for name, value in settings.items():
            jax.config.update(name.lower(), value if name == CACHE else float(value))


def _onednn_flags(environ: Mapping[str, str]) -> dict[str, bool]:
    """Return the values that `XLA_FLAGS` gives to flags of `ONEDNN`."""
    pairs = [word.partition("=") for word in environ.get("XLA_FLAGS", "").split()]
    return {flag: value.lower() not in ("false", "0") for flag, _, value in pairs if flag in ONEDNN}


def _user_cache(environ: Mapping[str, str]) -> str | None:
    jax = sys.modules.get("jax")
    return environ.get(CACHE) or (jax.config.jax_compilation_cache_dir if jax is not None else None)


def _cpu_only(environ: Mapping[str, str]) -> bool:
    """Return whether JAX will start on the CPU, as far as can be seen without starting it."""
    from importlib.metadata import entry_points  # slow to import, and help pages do not need it
    from importlib.util import find_spec

    if platforms := environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    return not (find_spec("jax_plugins") or find_spec("libtpu") or entry_points(group="jax_plugins"))


def _jaxlib() -> str:
    from jaxcnn.runtime.environment import version_of

    return version_of("jaxlib")
