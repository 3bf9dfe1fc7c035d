"""The bridge to oneDNN: what happens without it, how it is compiled, processes that use it, training steps."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxcnn.runtime import onednn
from jaxcnn.runtime.environment import cores

PATH, REASON = onednn.status()
bridged = pytest.mark.skipif(PATH == "XLA", reason=REASON or "oneDNN computes")


def python(code, *arguments, check=True, **variables):
    """Run code in a process of its own, which prints its last line."""
    environ = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""} | variables
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


STATUS = """
import warnings
from jaxcnn.runtime import onednn
{}
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    print([*onednn.status(), [str(each.message) for each in seen]])
import jax.numpy as jnp
from jaxcnn import ops
assert ops.conv2d(jnp.ones((1, 8, 8, 1)), jnp.ones((3, 3, 1, 1)))[0, 1, 1, 0] == 9
"""
MISSING = "def distribution(name): raise onednn.PackageNotFoundError(name)\nonednn.distribution = distribution"
INCOMPLETE = """
import importlib.metadata, pathlib, types
class File(str):
    size = 5
    def locate(self): return pathlib.Path(onednn.__file__)
onednn.distribution = lambda name: types.SimpleNamespace(files=[File("x/libdnnl.so.3"), File("x/oneapi/dnnl/dnnl.hpp")])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "variables", "reason", "warned"),
    [
        ("", {"JAXCNN_ONEDNN": "off"}, "JAXCNN_ONEDNN=off", False),
        (MISSING, {}, "the package onednn-cpu-gomp is not installed", False),
        ("onednn.platform.machine = lambda: 'aarch64'", {}, "Linux on aarch64", False),
        (INCOMPLETE, {}, "missing or incomplete, install onednn-cpu-gomp again", True),
        ("", {"PATH": "/nowhere", "CXX": "", "JAXCNN_CACHE": "{tmp}"}, "there is no C++ compiler: install g++", False),
        ("", {"CXX": "{tmp}/broken", "JAXCNN_CACHE": "{tmp}"}, "cannot compile the bridge", True),
    ],
    ids=["switched off", "not installed", "other processor", "incomplete", "no compiler", "broken compiler"],
)
def test_without_it_xla_computes_and_one_sentence_says_why(change, variables, reason, warned, tmp_path):
    (tmp_path / "broken").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "broken").chmod(0o755)
    variables = {name: value.format(tmp=tmp_path) for name, value in variables.items()}
    path, why, messages = eval(python(STATUS.format(change), **variables)[0])
    assert path == "XLA"
    assert reason in why
    assert [why in each for each in messages] == [True] * warned


def test_a_wrong_switch_is_one_sentence():
    _, errors = python("from jaxcnn.cli import main\nmain(['doctor'])", check=False, JAXCNN_ONEDNN="on")
    assert errors.endswith("jaxcnn: JAXCNN_ONEDNN='on': choose auto or off\n")


@bridged
@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["", "{tmp}/broken"], ids=["compiled", "broken compiler"])
def test_a_bridge_that_loads_meanwhile_is_the_one_that_is_used(compiler, tmp_path):
    (tmp_path / "broken").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "broken").chmod(0o755)
    variables = {"JAXCNN_CACHE": str(tmp_path), "CXX": compiler.format(tmp=tmp_path)}
    path, why, messages = eval(python(STATUS.format("onednn.load_meanwhile()"), **variables)[0])
    assert path.startswith("XLA" if compiler else "oneDNN")
    assert [why in each for each in messages] == [True] * bool(compiler)
    assert len(list((tmp_path / "onednn").iterdir())) == (0 if compiler else 1)


@bridged
@pytest.mark.slow
def test_a_damaged_bridge_is_compiled_again_and_two_processes_may_do_so_at_once(tmp_path):
    def start():
        return subprocess.Popen(
            [sys.executable, "-c", STATUS.format("")], env=os.environ | {"JAXCNN_CACHE": str(tmp_path)},
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    for damage in (None, lambda content: content[:5000], lambda content: b"\0" * len(content)):
        for file in (tmp_path / "onednn").glob("*.so") if damage else ():
            file.write_bytes(damage(file.read_bytes()))
        for process in [start(), start()]:
            path, _, messages = eval(process.communicate(timeout=300)[0])
            assert path.startswith("oneDNN")
            assert messages == []
        assert len(list((tmp_path / "onednn").iterdir())) == 1


CONVOLVE = """
import os, sys, multiprocessing
import jax, jax.numpy as jnp
from jaxcnn import ops

def work(queue=None):
    f = jax.jit(jax.grad(lambda x, k: jnp.sum(ops.conv2d(x, k) ** 2), (0, 1)))
    out = [float(v.sum()) for v in f(jnp.ones((64, 16, 16, 16)), jnp.ones((3, 3, 16, 16)))]
    queue.put(out) if queue else None
    return out

if __name__ == "__main__":
    method, before = sys.argv[1:]
    queue = multiprocessing.get_context(method).Queue()
    here = work() if before == "after" else None
    child = multiprocessing.get_context(method).Process(target=work, args=(queue,))
    child.start()
    found = queue.get(timeout=120)
    child.join()
    assert found == (here or work()), found
"""


@bridged
@pytest.mark.slow
@pytest.mark.parametrize(("method", "moment"), [("fork", "before"), ("spawn", "before"), ("spawn", "after")])
def test_child_processes_convolve(method, moment, tmp_path):
    """Started before or after the parent's first convolution; JAX itself does not survive a fork after that."""
    script = tmp_path / "convolve.py"
    script.write_text(CONVOLVE)
    subprocess.run([sys.executable, script, method, moment], check=True, timeout=300, capture_output=True, text=True)


@bridged
@pytest.mark.slow
def test_a_process_killed_during_a_call_leaves_nothing_behind():
    code = "import jax.numpy as jnp\nfrom jaxcnn import ops\n"
    code += "x, k = jnp.ones((64, 32, 32, 64)), jnp.ones((3, 3, 64, 64))\n"
    code += "ops.conv2d(x, k).block_until_ready()\nprint('now', flush=True)\nwhile True: ops.conv2d(x, k)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "now\n"
        time.sleep(0.3)
        process.kill()
        assert process.wait(timeout=60) == -9
    path, _, messages = eval(python(STATUS.format(""))[0])
    assert (path, messages) == (PATH, [])


CORES = """
import os
import jax, jax.numpy as jnp
from jaxcnn import ops

x, k, all_cores = jnp.ones((64, 16, 16, 16)), jnp.ones((3, 3, 16, 16)), sorted(os.sched_getaffinity(0))

def threads(cores):
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)
    jax.block_until_ready(ops.conv2d(x, k))
    return len(os.listdir("/proc/self/task"))

threads(all_cores[:1])
before = threads(all_cores[:1])
print(threads(all_cores) - before, len(all_cores))
"""


@bridged
@pytest.mark.slow
@pytest.mark.skipif(cores() < 2, reason="there is one core")
def test_a_convolution_takes_the_cores_that_its_process_may_use_now():
    """Bound to one core it is computed by one thread; with all cores again it gets a thread for each."""
    new, available = map(int, python(CORES)[0].split())
    assert new == available - 1


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
    out |= {f"{name}/loss": sums["loss"], f"{name}/onednn": "jaxcnn_convolve" in text}
np.savez(sys.argv[2], **out)
"""


@bridged
@pytest.mark.slow
def test_training_steps_differ_in_rounding_only(tmp_path):
    """By oneDNN and by XLA, beside a step in float64, by XLA."""
    found = {}
    for name, variables in {
        "XLA": {onednn.SWITCH: "off"},
        "oneDNN": {},
        "float64": {"JAX_ENABLE_X64": "1", "JAX_NUMPY_DTYPE_PROMOTION": "standard"},
    }.items():
        python(STEPS, name, tmp_path / f"{name}.npz", **variables)
        found[name] = dict(np.load(tmp_path / f"{name}.npz"))
    for network in ("lenet5", "resnet20"):
        assert found["oneDNN"][f"{network}/onednn"]
        assert not found["XLA"][f"{network}/onednn"]
        assert found["float64"][f"{network}/moved"] > 1e-2
    for name, exact in found["float64"].items():
        if not name.endswith("/onednn"):
            assert exact.dtype == np.float64 or name.endswith("loss")
            for arm in ("XLA", "oneDNN"):
                np.testing.assert_allclose(found[arm][name], exact, rtol=1e-5, atol=1e-6, err_msg=f"{arm} {name}")
