"""Benchmarks: tables from numbers, rivals that train the same network, pages that agree with what was measured."""

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.analysis.complexity import count
from jaxcnn.models import build, named

ROOT = Path(__file__).parents[2]
BENCHMARKS, DOCS = ROOT / "experiments" / "benchmarks", ROOT / "docs"
# linen and nnx come with flax; the others are the extra `benchmarks`.
FRAMEWORKS = {"linen": None, "nnx": None, "keras_jax": "keras", "pytorch": "torch"}


@pytest.fixture
def module(monkeypatch):
    """Import a file of the benchmarks as Python does where it is run as a script: its folder comes first."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.syspath_prepend(str(BENCHMARKS / "rivals"))
    before = set(sys.modules)

    def load(path):
        spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
        found = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, found)
        spec.loader.exec_module(found)
        return found

    yield load
    for name in set(sys.modules) - before:
        # Names as short as `table` must not stay importable for other tests.
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture
def table(module):
    return module(BENCHMARKS / "table.py")


def test_median_least_and_quartiles(table):
    found = table.summarise([4.0, 1.0, 2.0, 3.0, 100.0])
    assert (found.median, found.least, found.iqr) == (3.0, 1.0, 2.0)


def test_a_ratio_above_one_says_that_ours_is_faster(table):
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
def test_cells(table, value, shown):
    assert table.cell(value) == shown


def test_a_table_states_its_numbers_notes_and_place(table, tmp_path, capsys):
    environment = {"processor": "P", "cores": 2, "platform": "cpu", "versions": {"jax": "1"}, "load": [0.1, 2.0]}
    record = {"title": "T", "columns": ["a", "b"], "rows": [["x", 1.5], ["y", None]], "notes": ["N."]}
    path = table.write(tmp_path, "t", {**record, "environment": {**environment, "others": 0.25}})
    assert json.loads(path.read_text())["rows"] == record["rows"]
    text = capsys.readouterr().out
    assert "| a | b |\n| :--- | ---: |\n| x | 1.50 |\n| y | – |\n\n- N.\n" in text
    assert "Measured on: P, 2 cores, jax 1, load 0.1 at the start, other processes on 25 % of the cores" in text


def test_tables_of_an_accelerator_lie_apart(table, tmp_path):
    environment = {"platform": "gpu", "devices": ["H", "H"]}
    path = table.write(tmp_path, "t", {"title": "", "columns": [], "rows": [], "environment": environment})
    assert path.name == "t_gpu.json"
    assert "2 × H" in table.place(environment)


def test_the_watch_sees_others_between_none_and_all(table):
    found = table.Watch().read()
    assert 0 <= found.get("others", 0) <= 1
    assert len(found["load"]) == 2


def test_turns_rotate_and_fill_their_time(module):
    alternate, calls = module(BENCHMARKS / "turns.py").alternate, []

    def turn(name, seconds):
        def timed(steps):
            calls.append((name, steps))
            return seconds

        return timed

    times = alternate({"a": turn("a", 0.1), "b": turn("b", 10.0)}, rounds=3, seconds=1.0)
    assert times == {"a": [0.1] * 3, "b": [10.0] * 3}
    assert calls[-6:] == [("a", 10), ("b", 1), ("b", 1), ("a", 10), ("a", 10), ("b", 1)]


@pytest.mark.parametrize("network", ["lenet5", "resnet20", "wrn_16_4"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_rivals_have_our_parameters(framework, network, module, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    if FRAMEWORKS[framework]:
        pytest.importorskip(FRAMEWORKS[framework])
    shapes = module(BENCHMARKS / "rivals" / "networks.py")
    rival = module(BENCHMARKS / "rivals" / f"{framework}.py")
    ours = count(build(named(shapes.SPECS[network]), num_classes=10), shapes.SHAPES[network]).params
    assert parameters(framework, rival, network, shapes.SHAPES[network]) == ours


def parameters(framework, rival, network, shape):
    """Trainable numbers of a rival's network, of its shapes alone where the framework can do that."""
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


@pytest.mark.parametrize("script", ["train_step", "members", "epoch", "input", "scaling", "streaming"])
def test_scripts_say_what_they_ask_and_stay_calm(script):
    text = (BENCHMARKS / f"{script}.py").read_text()
    assert {"Question: ", "Runtime: ", "Expected: "} <= {line.split(": ")[0] + ": " for line in text.splitlines()}
    assert len(text.splitlines()) <= 250


def test_rivals_take_turns_and_an_absent_one_is_named(module, tmp_path, capsys):
    script = module(BENCHMARKS / "train_step.py")
    script.main(replace(script.SMOKE, rivals=("linen", "torch_graphs"), out=tmp_path))
    record = json.loads((tmp_path / "train_step.json").read_text())
    assert [row[:2] for row in record["rows"]] == [["lenet5", "ours"], ["lenet5", "linen"]]
    ours, linen = record["rounds"]["lenet5"]["ours"], record["rounds"]["lenet5"]["linen"]
    assert record["rows"][1][6] == pytest.approx(np.median(linen) / np.median(ours))
    assert "torch_graphs is left out: " in capsys.readouterr().err


def test_members_are_measured_in_turns(module, tmp_path):
    script = module(BENCHMARKS / "members.py")
    script.main(replace(script.SMOKE, out=tmp_path))
    record = json.loads((tmp_path / "members.json").read_text())
    assert [row[:2] for row in record["rows"]] == [["dense3", 1], ["dense3", 2]]


def test_a_line_through_depths(module):
    start, slope, fit = module(BENCHMARKS / "scaling.py").line((8, 14, 20), [9.0, 15.0, 21.0])
    assert (start, slope, fit) == pytest.approx((1.0, 1.0, 1.0))


def test_the_page_shows_what_was_recorded(module):
    tables = module(DOCS / "benchmarks" / "tables.py")
    page = (DOCS / "benchmarks.md").read_text()
    assert tables.fill(page, tables.stored()) == page, "run python docs/benchmarks/tables.py"


def test_a_record_without_a_place_is_refused(module):
    tables = module(DOCS / "benchmarks" / "tables.py")
    record = {"title": "T", "columns": ["a"], "rows": [[1]], "environment": {}}
    assert "**T**" in tables.fill("<!-- new.json -->\n<!-- end -->", {"new": record})
    with pytest.raises(SystemExit, match=r"no place for new\.json"):
        tables.fill("no marks", {"new": record})


def test_a_folder_is_streamed_by_threads_and_workers(module, tmp_path):
    script = module(BENCHMARKS / "streaming.py")
    script.main(replace(script.SMOKE, out=tmp_path))
    rows = json.loads((tmp_path / "streaming.json").read_text())["rows"]
    assert [row[0] for row in rows] == ["1 thread", "2 threads", "1 worker", "(the step of resnet8)"]
