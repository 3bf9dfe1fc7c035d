"""Settings of a process: where they are made, which settings of the user's stand, and what they do."""

import json
import os
import platform
import subprocess
import sys

import pytest

from jaxcnn.runtime import backend

LAUNCH = """
import json, os, sys
from dataclasses import dataclass
from jaxcnn.cli import launch

@dataclass(frozen=True)
class Config:
    number: int = 1

def main(config):
    import jax
    print(json.dumps([jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs]))
"""


def python(code, *arguments, **variables):
    """Run code in a process without this suite's own settings of the backend."""
    ours = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "JAX_ENABLE_X64")
    environ = {name: value for name, value in os.environ.items() if name not in ours} | {"JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environ | variables, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def printed(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_bare_import_sets_nothing():
    code = "import os, sys\nbefore = dict(os.environ)\nimport jaxcnn, jaxcnn.runtime.backend, jaxcnn.cli\n"
    assert python(code + "assert dict(os.environ) == before and 'jax' not in sys.modules").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "import jax.numpy as jnp\njnp.ones(3) + 1\n"])
def test_launch_keeps_programs_unless_the_user_chose_a_folder(before, tmp_path):
    """Before JAX is imported and after it has computed."""
    script, folder = LAUNCH + before + "launch(main, Config, Config())", {"JAXCNN_CACHE": str(tmp_path)}
    assert printed(python(script, **folder)) == [str(tmp_path / "xla"), backend.MIN_COMPILE_SECONDS]
    mine = str(tmp_path / "mine")
    assert printed(python(script, **folder, JAX_COMPILATION_CACHE_DIR=mine)) == [mine, 1.0]
    seconds = printed(python(script, **folder, JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="7"))[1]
    assert seconds == 7


def test_a_wrong_switch_is_one_sentence():
    done = python(LAUNCH + "launch(main, Config, Config())", JAXCNN_BACKEND_OPTIONS="on")
    assert done.returncode == 2
    assert done.stderr == "jaxcnn: JAXCNN_BACKEND_OPTIONS='on': choose auto or off\n"


CACHED = """
import jax, json, sys
seen = []
jax.monitoring.register_event_listener(lambda event, **_: seen.append(event.rsplit("/", 1)[-1]))
from dataclasses import dataclass
from jaxcnn.cli import launch

@dataclass(frozen=True)
class Config:
    number: int = 1

def main(config):
    from jaxcnn.run import run
    from jaxcnn.spec import DataConfig, ModelSpec, RunConfig
    run(RunConfig(ModelSpec("plain", depth=3, width=4), DataConfig("digits", train_size=64), epochs=1), progress=False)
    print(json.dumps([seen.count("cache_hits"), seen.count("cache_misses")]))

launch(main, Config, Config())
"""


@pytest.mark.slow
def test_a_second_process_compiles_nothing(tmp_path):
    """Programs that call oneDNN are kept as well."""
    variables = {"JAXCNN_CACHE": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    (tmp_path / "onednn").symlink_to(os.path.realpath(os.environ["JAXCNN_CACHE"] + "/onednn"))
    hits, misses = printed(python(CACHED, **variables))
    assert misses > 2
    assert printed(python(CACHED, **variables)) == [hits + misses, 0]


MALLOC_SEEN = """
import ctypes, os
from jaxcnn.runtime import backend
backend.keep_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def faults():
    return int(open("/proc/self/stat").read().rsplit(")", 1)[1].split()[7])

def use():
    block = libc.malloc(ctypes.c_size_t(2**24))
    ctypes.memset(block, 1, 2**24)
    libc.free(block)

use()
before = faults()
use()
print(faults() - before, os.environ.get("MALLOC_ARENA_MAX"))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are glibc's")
@pytest.mark.parametrize(
    ("variables", "kept"),
    [
        ({"JAX_PLATFORMS": "cpu"}, True),
        ({"JAXCNN_BACKEND_OPTIONS": "off"}, False),
        ({"JAX_PLATFORMS": "cuda,cpu"}, False),
        ({"MALLOC_ARENA_MAX": "8"}, False),
    ],
)
def test_freed_memory_is_kept(variables, kept):
    """16 MiB used a second time: 4096 pages come back as zeros, or none do."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    found = subprocess.run(
        [sys.executable, "-c", MALLOC_SEEN], env=plain | variables, capture_output=True, text=True, check=True
    )
    faults, arenas = found.stdout.split()
    assert (int(faults) < 100) == kept
    assert (arenas == "1") == kept


def test_an_installed_accelerator_is_left_alone(monkeypatch):
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert backend._cpu_only({})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "jax_plugins")
    assert not backend._cpu_only({})
    assert backend._cpu_only({"JAX_PLATFORMS": "cpu"})
