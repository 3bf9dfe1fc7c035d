"""Benchmarks: tables from numbers, turns that rotate, rivals that train the same network."""

import json
import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.benchmarks import table
from experiments.benchmarks.turns import alternate
from jaxcnn.analysis.complexity import count
from jaxcnn.models import build, named

BENCHMARKS = Path(__file__).parents[2] / "experiments" / "benchmarks"
FRAMEWORKS = {"linen": None, "nnx": None, "keras_jax": "keras", "pytorch": "torch"}
"""Framework -> the package that it needs besides flax."""


@pytest.fixture
def script(monkeypatch):
    """Return a function that executes a file of the benchmarks with its folders importable, as for a script."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "rivals"))
    return lambda name: SimpleNamespace(**runpy.run_path(str(BENCHMARKS / name)))


def test_median_least_and_quartiles():
    found = table.summarise([4.0, 1.0, 2.0, 3.0, 100.0])
    assert (found.median, found.least, found.iqr) == (3.0, 1.0, 2.0)


def test_a_ratio_above_one_says_that_ours_is_faster():
    assert table.ratio(theirs=3.0, ours=2.0) == 1.5
    assert table.ratio(None, 2.0) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (61706, "61,706"),
        (1234.5, "1,234"),
        (1.0, "1.00"),
        (12.345, "12.3"),
        (0.01234, "0.0123"),
        ("a", "a"),
    ],
)
def test_formatted_values(value, shown):
    assert table.cell(value) == shown


def test_a_table_states_its_numbers_notes_and_place(tmp_path, capsys):
    environment = {"processor": "P", "cores": 2, "platform": "cpu", "versions": {"jax": "1"}, "load": [0.1, 2.0]}
    record = {"title": "T", "columns": ["a", "b"], "rows": [["x", 1.5], ["y", None]], "notes": ["N."]}
    path = table.write(tmp_path, "t", {**record, "environment": {**environment, "others": 0.25}})
    assert json.loads(path.read_text())["rows"] == record["rows"]
    text = capsys.readouterr().out
    assert "| a | b |\n| :--- | ---: |\n| x | 1.50 |\n| y | – |\n\n- N.\n" in text
    assert "Measured on: P, 2 cores, jax 1, load 0.1 at the start, other processes on 25 % of the cores" in text


def test_tables_of_an_accelerator_have_names_of_their_own(tmp_path):
    environment = {"platform": "gpu", "devices": ["H", "H"]}
    path = table.write(tmp_path, "t", {"title": "", "columns": [], "rows": [], "environment": environment})
    assert path.name == "t_gpu.json"
    assert "2 × H" in table.place(environment)


def test_the_load_of_other_processes_is_a_share():
    found = table.Watch().read()
    assert 0 <= found.get("others", 0) <= 1
    assert len(found["load"]) == 2


def test_turns_rotate_and_fill_their_time():
    calls = []

    def turn(name, seconds):
        def timed(steps):
            calls.append((name, steps))
            return seconds

        return timed

    times = alternate({"a": turn("a", 0.1), "b": turn("b", 10.0)}, rounds=3, seconds=1.0)
    assert times == {"a": [0.1] * 3, "b": [10.0] * 3}
    assert calls[-6:] == [("a", 10), ("b", 1), ("b", 1), ("a", 10), ("a", 10), ("b", 1)]


def test_a_line_through_depths(script):
    start, slope, fit = script("scaling.py").line((8, 14, 20), [9.0, 15.0, 21.0])
    assert (start, slope, fit) == pytest.approx((1.0, 1.0, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("network", ["lenet5", "resnet20", "wrn_16_4"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_rivals_have_our_parameters(framework, network, script, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    if FRAMEWORKS[framework]:
        pytest.importorskip(FRAMEWORKS[framework])
    shapes, rival = script("rivals/networks.py"), script(f"rivals/{framework}.py")
    ours = count(build(named(shapes.SPECS[network]), num_classes=10), shapes.SHAPES[network]).params
    assert parameters(framework, rival, network, shapes.SHAPES[network]) == ours


def parameters(framework, rival, network, shape):
    """Count the trainable numbers of a rival's network, from its shapes alone where the framework can do that."""
    import jax
    import jax.numpy as jnp

    if framework == "pytorch":
        return sum(p.numel() for p in rival.NETWORKS[network]().parameters())
    if framework == "keras_jax":
        return sum(int(np.prod(variable.shape)) for variable in rival.NETWORKS[network]().trainable_variables)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        if framework == "linen":
            net = rival.NETWORKS[network](dtype=jnp.float32)
            tree = jax.eval_shape(lambda key: net.init(key, jnp.zeros((1, *shape)), train=False), jax.random.key(0))
            tree = tree["params"]
        else:
            make = rival.NETWORKS[network]
            model = rival.nnx.eval_shape(lambda: make(dtype=jnp.float32, rngs=rival.nnx.Rngs(0)))
            tree = rival.nnx.state(model, rival.nnx.Param)
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_a_rival_that_is_not_installed_is_named(script, tmp_path, capsys):
    train_step = script("train_step.py")
    train_step.main(replace(train_step.SMOKE, rivals=("linen", "torch_graphs"), out=tmp_path))
    record = json.loads((tmp_path / "train_step.json").read_text())
    assert [row[:2] for row in record["rows"]] == [["lenet5", "ours"], ["lenet5", "linen"]]
    ours, linen = record["rounds"]["lenet5"]["ours"], record["rounds"]["lenet5"]["linen"]
    assert record["rows"][1][6] == pytest.approx(np.median(linen) / np.median(ours))
    assert "torch_graphs is left out: " in capsys.readouterr().err
