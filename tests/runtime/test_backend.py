"""Backend options: where they are set, which settings of the user's stand, and that they change rounding only."""

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from jaxcnn.runtime import backend

FLAGS = [f"{flag}=true" for flag in backend.ONEDNN]
FLAG = " ".join(FLAGS)
TESTED = backend._jaxlib().startswith(backend.TESTED_JAXLIB)
AS_TESTED = """
from jaxcnn.runtime import backend
backend._jaxlib = lambda: "0.12.1"
backend.platform.machine = lambda: "x86_64"
"""
LAUNCH = """
import json, os, sys
from dataclasses import dataclass
from jaxcnn.cli import launch

@dataclass(frozen=True)
class Config:
    number: int = 1

def main(config):
    import jax
    about = os.environ.get("XLA_FLAGS", ""), jax.config.jax_compilation_cache_dir
    print(json.dumps([*about, jax.config.jax_persistent_cache_min_compile_time_secs]))
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


def test_settings_of_the_user_stand():
    first, last = backend.ONEDNN
    cases = {
        "plain": [{"JAX_PLATFORMS": "cpu"}, FLAGS],
        "other flags": [{"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_foo=1"}, FLAGS],
        "one set": [{"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{first}=true"}, FLAGS[1:]],
        "both set": [{"JAX_PLATFORMS": "cpu", "XLA_FLAGS": FLAG}, []],
        "one off": [{"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"--xla_foo=1 {last}=false"}, []],
        "the other off": [{"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{first}=0"}, []],
        "own cache": [{"JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": "/c"}, []],
        "off": [{"JAX_PLATFORMS": "cpu", "JAXCNN_BACKEND_OPTIONS": "off"}, []],
        "gpu": [{"JAX_PLATFORMS": "cuda,cpu"}, []],
    }
    code = AS_TESTED + "import json, sys\ncases = json.loads(sys.argv[1])\n"
    code += "print(json.dumps({name: list(backend.backend_options(case[0])) for name, case in cases.items()}))"
    assert printed(python(code, json.dumps(cases))) == {name: case[1] for name, case in cases.items()}


@pytest.mark.parametrize("version", ["0.10.2", "0.11.0", "0.13.0", ""])
def test_other_versions_of_jaxlib_are_left_alone(version, monkeypatch):
    monkeypatch.setattr(backend, "_jaxlib", lambda: version)
    monkeypatch.setattr(backend, "_user_cache", lambda environ: None)
    assert backend.backend_options({"JAX_PLATFORMS": "cpu"}) == ()
    monkeypatch.setattr(backend, "_jaxlib", lambda: "0.12.0")
    monkeypatch.setattr(backend.platform, "machine", lambda: "arm64")
    assert backend.backend_options({"JAX_PLATFORMS": "cpu"}) == ()


def test_an_installed_accelerator_is_left_alone(monkeypatch):
    import importlib.util

    monkeypatch.setattr(backend, "_jaxlib", lambda: "0.12.0")
    monkeypatch.setattr(backend.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(backend, "_user_cache", lambda environ: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert backend.backend_options({}) == tuple(FLAGS)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "jax_plugins")
    assert backend.backend_options({}) == ()
    assert backend.backend_options({"JAX_PLATFORMS": "cpu"}) == tuple(FLAGS)


def test_launch_takes_options_or_else_a_cache(tmp_path):
    script = AS_TESTED + LAUNCH + "launch(main, Config, Config())"
    own = "--xla_force_host_platform_device_count=2"
    assert printed(python(script, XLA_FLAGS=own, JAXCNN_CACHE=str(tmp_path))) == [f"{own} {FLAG}", None, 1.0]
    off = {"JAXCNN_BACKEND_OPTIONS": "off", "JAXCNN_CACHE": str(tmp_path)}
    assert printed(python(script, **off)) == ["", str(tmp_path / "xla"), backend.MIN_COMPILE_SECONDS]
    mine = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "mine"), "JAXCNN_CACHE": str(tmp_path)}
    assert printed(python(script, **mine)) == ["", str(tmp_path / "mine"), 1.0]
    # Programs of a user who switched oneDNN on cannot be kept.
    assert printed(python(script, XLA_FLAGS=FLAG, JAXCNN_CACHE=str(tmp_path))) == [FLAG, None, 1.0]


def test_a_wrong_switch_is_one_sentence():
    done = python(LAUNCH + "launch(main, Config, Config())", JAXCNN_BACKEND_OPTIONS="on")
    assert done.returncode == 2
    assert done.stderr == "jaxcnn: JAXCNN_BACKEND_OPTIONS='on': choose auto or off\n"


def test_flags_after_the_start_come_too_late(tmp_path):
    early = AS_TESTED + LAUNCH + "import jax.numpy as jnp\njnp.ones(3) + 1\n"
    done = python(early + "launch(main, Config, Config())", JAXCNN_CACHE=str(tmp_path))
    assert printed(done) == ["", str(tmp_path / "xla"), backend.MIN_COMPILE_SECONDS]
    assert "JAX had computed something before `launch`" in done.stderr
    assert done.stderr.count("Warning") == 1
    code = early + "import jaxcnn\ntry:\n jaxcnn.apply_backend_options()\n"
    code += "except jaxcnn.InputError as error:\n print(json.dumps(str(error)))"
    sentence = printed(python(code))
    assert "before the first computation" in sentence
    assert "XLA_FLAGS" in sentence


def test_applying_twice_is_applying_once():
    code = AS_TESTED + "import json, os, jaxcnn\nboth = [jaxcnn.apply_backend_options() for _ in range(2)]\n"
    assert printed(python(code + "print(json.dumps([both, os.environ['XLA_FLAGS']]))")) == [[FLAGS, []], FLAG]


STEPS = """
import dataclasses, sys
import jax, jax.numpy as jnp, numpy as np
from jaxcnn.models import build, named
from jaxcnn.spec import OptimizerConfig
from jaxcnn.tasks import classification
from jaxcnn.train import make_init, make_optimizer, make_train_step

wide, out, rng = sys.argv[1] == "float64", {}, np.random.default_rng(0)
for name, depth, shape in (("lenet5", 5, (28, 28, 1)), ("resnet20", 8, (16, 16, 3))):
    images = rng.standard_normal((16, *shape), np.float32)
    module = build(dataclasses.replace(named(name), depth=depth, num_classes=10))
    tx = make_optimizer(OptimizerConfig(schedule="constant", warmup_epochs=0.0, learning_rate=0.1), 4, 2)
    state = make_init(module, tx, shape)(jax.random.key(0))
    batch = {"images": images, "labels": np.arange(16, dtype=np.int32) % 10, "mask": np.ones(16, np.float32)}
    if wide:
        cast = lambda a: np.asarray(a, np.float64) if a.dtype == np.float32 else a
        mask = batch["mask"]
        state, batch = jax.tree.map(cast, (state, batch))
        batch["mask"] = mask  # The loss is float32 always.
    step = jax.jit(make_train_step(module, tx, classification()))
    start, (state, sums) = state.params, step(state, batch, jax.random.key(1))
    out[f"{name}/moved"] = max(abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (start, state.params))))
    text = step.lower(state, batch, jax.random.key(1)).compile().as_text() if not wide else ""
    out |= {f"{name}/{i}": leaf for i, leaf in enumerate(jax.tree.leaves(state.params))}
    out |= {f"{name}/loss": sums["loss"], f"{name}/onednn": "__onednn$" in text}
np.savez(sys.argv[2], **out)
"""


@pytest.mark.slow
@pytest.mark.skipif(not TESTED, reason="this jaxlib's convolutions stay as they are")
def test_steps_differ_in_rounding_only(tmp_path):
    found = {}
    for name, variables in {
        "plain": {},
        "flags": {"XLA_FLAGS": FLAG},
        "float64": {"JAX_ENABLE_X64": "1", "JAX_NUMPY_DTYPE_PROMOTION": "standard"},
    }.items():
        done = python(STEPS, name, tmp_path / f"{name}.npz", **variables)
        assert done.returncode == 0, done.stderr
        found[name] = dict(np.load(tmp_path / f"{name}.npz"))
    for network in ("lenet5", "resnet20"):
        assert found["flags"][f"{network}/onednn"]
        assert not found["plain"][f"{network}/onednn"]
        assert found["float64"][f"{network}/moved"] > 1e-2
    for name, exact in found["float64"].items():
        if not name.endswith("onednn"):
            assert exact.dtype == np.float64 or name.endswith("loss")
            for arm in ("plain", "flags"):
                np.testing.assert_allclose(found[arm][name], exact, rtol=1e-5, atol=1e-6, err_msg=f"{arm} {name}")


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
    run(RunConfig(ModelSpec("dense", depth=2, width=4), DataConfig("digits", train_size=64), epochs=1), progress=False)
    print(json.dumps([seen.count("cache_hits"), seen.count("cache_misses")]))

launch(main, Config, Config())
"""


def test_a_second_process_compiles_nothing(tmp_path):
    variables = {"JAXCNN_CACHE": str(tmp_path), "JAXCNN_BACKEND_OPTIONS": "off"}
    variables["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
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
@pytest.mark.parametrize(("variables", "kept"), [({}, True), ({"JAXCNN_BACKEND_OPTIONS": "off"}, False)])
def test_freed_memory_is_kept(variables, kept):
    """16 MiB used a second time: 4096 pages come back as zeros, or none do."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    found = subprocess.run(
        [sys.executable, "-c", MALLOC_SEEN], env=plain | variables, capture_output=True, text=True, check=True
    )
    faults, arenas = found.stdout.split()
    assert (int(faults) < 100) == kept
    assert (arenas == "1") == kept
