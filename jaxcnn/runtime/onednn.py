"""oneDNN's convolutions on an x86-64 Linux CPU: the library is found, the bridge to XLA compiled once, and registered.

The library and its headers come from the wheel onednn-devel-cpu-gomp, the headers of XLA's foreign-function interface
from jaxlib. The bridge, onednn.cc, is compiled at first use, as torch.compile does, and not when jaxcnn is installed: a
wheel stays free of binaries, an editable install needs no second command, and another version of jaxlib gets its own
bridge. It is kept in the cache folder, so a later process only loads it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from jaxcnn.errors import InputError
from jaxcnn.runtime.files import atomic_write, cache_dir

SWITCH = "JAXCNN_ONEDNN"
"""Environment variable: `auto` (default) or `off`."""
TARGET = "jaxcnn_convolve"
"""Name of the FFI call."""
LIBRARY, HEADERS = "onednn-cpu-gomp", "onednn-devel-cpu-gomp"
SOURCE = Path(__file__).with_name("onednn.cc")
# OpenMP's threads wait for the next call in a loop of so many rounds and then sleep. By default they wait 0.1 s and
# more, on cores that XLA's threads need.
SPINCOUNT = ("GOMP_SPINCOUNT", "10000")
DIGEST_BYTES = 32

_lock = threading.Lock()


class _Missing(Exception):
    """A reason why oneDNN is not used on this machine: nothing is broken."""


def bridge() -> ctypes.CDLL | None:
    """Return the bridge, loaded and registered with JAX as `TARGET`; None: XLA's own convolutions are used.

    The first call of a process loads it, and compiles it if the cache has none. A library or bridge that is broken is
    one warning.

    Raises:
        InputError: `JAXCNN_ONEDNN` is neither auto nor off.
    """
    if switched_off(os.environ):
        return None
    with _lock:
        library, reason, broken = _load()
    if broken:
        _warn(reason)
    return library


def load_meanwhile() -> None:
    """Load the bridge in a thread: where it is yet to be compiled (4 s), the caller does something else first.

    A later call of `bridge` waits for it, and raises or warns as if it were the first.
    """
    if not switched_off(os.environ):
        threading.Thread(target=_load_first).start()  # one that is compiled is finished, whatever ends the caller


def _load_first() -> None:
    with _lock, suppress(Exception):  # `bridge` raises it
        _load()


def status() -> tuple[str, str]:
    """Return what computes convolutions on a CPU, such as "oneDNN 2023.2.0", and the reason if it is "XLA"."""
    if bridge() is not None:
        return f"oneDNN {version(LIBRARY)}", ""
    return "XLA", f"{SWITCH}=off" if switched_off(os.environ) else _load()[1]


def switched_off(environ: Mapping[str, str]) -> bool:
    """Return whether the user switched oneDNN off.

    Raises:
        InputError: `JAXCNN_ONEDNN` is neither auto nor off.
    """
    switch = environ.get(SWITCH, "auto")
    if switch not in ("auto", "off"):
        raise InputError(f"{SWITCH}={switch!r}: choose auto or off")
    return switch == "off"


@cache
def _load() -> tuple[ctypes.CDLL | None, str, bool]:
    """Return the bridge, why there is none, and whether something is broken."""
    try:
        library, headers = _installed(LIBRARY, "libdnnl.so.3"), _installed(HEADERS, "oneapi/dnnl/dnnl.hpp").parents[2]
        os.environ.setdefault(*SPINCOUNT)  # read when the library is loaded
        ctypes.CDLL(str(library))  # the bridge finds it by its name among the loaded ones
        return _register(_loaded_bridge(library, headers)), "", False
    except _Missing as reason:
        return None, str(reason), False
    except (OSError, subprocess.SubprocessError) as error:
        return None, " ".join(str(error).split()), True


@cache
def _warn(reason: str) -> None:
    message = f"oneDNN: {reason[:300]}; convolutions are computed by XLA, slower; {SWITCH}=off hides this warning"
    warnings.warn(message, stacklevel=4)


def _installed(package: str, end: str) -> Path:
    """Return the path of a package's file, by the end of its name."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise _Missing(f"oneDNN is used on Linux on x86-64, this is {platform.system()} on {platform.machine()}")
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        raise _Missing(f"the package {package} is not installed") from None
    for file in files:
        if str(file).endswith(f"/{end}"):
            path = Path(str(file.locate())).resolve()
            if not path.is_file() or path.stat().st_size != file.size:
                raise OSError(f"{str(path)!r} is missing or incomplete, install {package} again")
            return path
    raise OSError(f"{package} has no file {end}, install it again")


def _loaded_bridge(library: Path, headers: Path) -> ctypes.CDLL:
    """Load the bridge from the cache; compile it if there is none, or if what is there cannot be loaded."""
    parts = SOURCE.read_text(), version("jaxlib"), version(HEADERS), *platform.libc_ver()
    path = cache_dir() / "onednn" / f"{hashlib.sha256('|'.join(parts).encode()).hexdigest()[:32]}.so"
    with suppress(OSError):
        content = path.read_bytes()
        if hashlib.sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]:
            return ctypes.CDLL(str(path))
    _compile(path, library, headers)
    return ctypes.CDLL(str(path))


def _compile(path: Path, library: Path, headers: Path) -> None:
    """Compile the bridge and write it atomically, with its SHA-256 behind it."""
    import jax

    found = [shutil.which(name) for name in (os.environ.get("CXX"), "g++", "c++", "clang++") if name]
    compiler = next(filter(None, found), None)
    if compiler is None:
        raise _Missing("there is no C++ compiler: install g++, or name one in CXX")
    path.parent.mkdir(parents=True, exist_ok=True)
    includes = [f"-I{folder}" for folder in (jax.ffi.include_dir(), headers)]
    links = [f"-L{library.parent}", f"-l:{library.name}"]
    with atomic_write(path) as partial:
        flags = ["-std=c++17", "-O1", "-shared", "-fPIC", "-w"]
        command = [compiler, *flags, *includes, str(SOURCE), "-o", str(partial), *links]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or [""]
            raise OSError(f"{compiler} cannot compile the bridge ({lines[0]})")
        partial.write_bytes(partial.read_bytes() + hashlib.sha256(partial.read_bytes()).digest())


def _register(library: ctypes.CDLL) -> ctypes.CDLL:
    import jax

    jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(getattr(library, TARGET)), platform="cpu")
    return library
