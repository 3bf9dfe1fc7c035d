"""Settings of JAX's backend, made before it starts: oneDNN's convolutions on a CPU, or a compilation cache; memory.

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
"""Environment variable: `auto`, as if it were not set, or `off`."""

# The last one hands convolutions over.
ONEDNN = ("--xla_cpu_use_onednn", "--xla_cpu_experimental_onednn_custom_call")
# XLA ends the process at a flag it does not know: only series of jaxlib in which these were tried. 0.10 knows them, and
# its convolutions stay as they are.
TRIED = ("0.12.",)
CACHE = "JAX_COMPILATION_CACHE_DIR"
# What processes started later read, the number by which this one is told (malloc.h), the value: one arena, no mappings
# that end with their block, nothing given back.
MALLOC = (("MALLOC_ARENA_MAX", -8, 1), ("MALLOC_MMAP_MAX_", -4, 0), ("MALLOC_TRIM_THRESHOLD_", -1, 2**31 - 1))
# JAX's own limit of a second leaves out evaluation and gathering, which then compile in every process.
CACHED_SECONDS = 0.05


def backend_options(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """XLA flags that make this machine's convolutions faster and are not set yet; empty where there are none.

    Convolutions of few channels run two to six times faster through oneDNN, on an x86 CPU with jaxlib 0.12. A program
    that holds one cannot be serialised (jaxlib reads foreign memory in the attempt), so a compilation cache of the
    user's own, the switch `JAXCNN_BACKEND_OPTIONS=off`, or oneDNN switched off by hand leaves them out; so does an
    accelerator, installed or named in `JAX_PLATFORMS`.

    Args:
        environ: The environment variables.

    Returns:
        Flags to append to `XLA_FLAGS`.

    Raises:
        InputError: The switch has a value that it does not know.
    """
    switch = environ.get(SWITCH, "auto")
    if switch not in ("auto", "off"):
        raise InputError(f"{SWITCH}={switch!r}: choose auto or off")
    said = _said(environ)
    if switch == "off" or not all(said.values()) or _cache(environ) or not _cpu_only(environ):
        return ()
    known = platform.machine() in ("x86_64", "AMD64") and _jaxlib().startswith(TRIED)
    return tuple(f"{flag}=true" for flag in ONEDNN if known and flag not in said)


def apply_backend_options() -> tuple[str, ...]:
    """Append `backend_options()` to `XLA_FLAGS`, for this process and those it starts; the second call does nothing.

    Call it at the top of research code, before anything is computed; the console command and `launch` do so
    themselves. Results differ in rounding only.

    Returns:
        The flags appended, as `environment()` records them in `xla_flags`.

    Raises:
        InputError: JAX's backend has started, so that flags come too late; or the switch has a value that it does not
            know.
    """
    options = backend_options()
    if options and backend_started():
        raise InputError(
            f"XLA_FLAGS: JAX has computed something already, and {' '.join(options)} set now would do nothing; apply "
            f"backend options before the first computation, or set {SWITCH}=off"
        )
    if options:
        os.environ["XLA_FLAGS"] = " ".join([*os.environ.get("XLA_FLAGS", "").split(), *options])
    return options


def keep_memory() -> None:
    """Let the C library keep memory that was freed, for this process and those it starts (Linux with glibc, a CPU).

    XLA asks for all temporaries of a step anew; given back each time, they come back as pages of zeros, 50,000 faults a
    step of ResNet-20 and a seventh of its time. A process keeps its largest size until it ends. Variables of the
    user's own (`MALLOC_ARENA_MAX` and the like) and the switch `JAXCNN_BACKEND_OPTIONS=off` leave things alone.
    """
    if os.environ.get(SWITCH) == "off" or platform.libc_ver()[0] != "glibc" or not _cpu_only(os.environ):
        return
    if any(name in os.environ for name, _, _ in MALLOC):
        return
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    for name, number, value in MALLOC:
        os.environ[name] = str(value)
        mallopt(number, value)


def backend_started() -> bool:
    """Whether JAX has read its flags."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


def apply_cache(folder: Path) -> None:
    """Keep compiled programs in a folder, unless the user chose one or the programs cannot be kept (see above)."""
    if _cache(os.environ) or _said(os.environ).get(ONEDNN[-1]):
        return
    settings = {CACHE: str(folder)}
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        settings["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = str(CACHED_SECONDS)
    os.environ.update(settings)
    # A script's own imports may have brought JAX in already, which reads its environment only once.
    if (jax := sys.modules.get("jax")) is not None:
        for name, value in settings.items():
            jax.config.update(name.lower(), value if name == CACHE else float(value))


def _said(environ: Mapping[str, str]) -> dict[str, bool]:
    """What `XLA_FLAGS` says of our flags already."""
    pairs = [word.partition("=") for word in environ.get("XLA_FLAGS", "").split()]
    return {flag: value.lower() not in ("false", "0") for flag, _, value in pairs if flag in ONEDNN}


def _cache(environ: Mapping[str, str]) -> str | None:
    """The compilation cache of the user's choice."""
    jax = sys.modules.get("jax")
    return environ.get(CACHE) or (jax.config.jax_compilation_cache_dir if jax is not None else None)


def _cpu_only(environ: Mapping[str, str]) -> bool:
    """Whether JAX is bound to start on the CPU, as far as can be told without starting it."""
    from importlib.metadata import entry_points  # slow to import, and help does not need it
    from importlib.util import find_spec

    if platforms := environ.get("JAX_PLATFORMS"):
        return platforms == "cpu"
    return not (find_spec("jax_plugins") or find_spec("libtpu") or entry_points(group="jax_plugins"))


def _jaxlib() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("jaxlib")
    except PackageNotFoundError:
        return ""
