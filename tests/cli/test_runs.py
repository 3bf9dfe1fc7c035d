"""`jaxcnn runs`: everything that was trained, as a table, CSV and JSON; what is damaged or unfinished is listed too."""

import csv
import io
import json
import shutil
import subprocess
import sys

import pytest

from tests.cli.calls import TINY, call, refused


@pytest.fixture(scope="module")
def trained_twice(tmp_path_factory, folder):
    """Two finished runs, an unfinished and a damaged one; one lies deeper, as those of studies do."""
    from jaxcnn.cli import main

    root = tmp_path_factory.mktemp("all")
    for name, seed in (("b", 0), ("study/runs/arm/lr0.1/seed1", 1)):
        main(["train", "--data", str(folder), *TINY, "--seed", str(seed), "--out", str(root / name)])
    shutil.copytree(root / "b", root / "c")
    (root / "c" / "result.json").unlink()
    shutil.copytree(root / "b", root / "d")
    (root / "d" / "result.json").write_text("{")
    return root


def rows(capsys, *arguments):
    code, out, _ = call(capsys, "runs", *arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_every_run_is_a_row_with_its_state_and_numbers(capsys, trained_twice, folder):
    found = {row["run"]: row for row in rows(capsys, trained_twice)}
    assert list(found) == ["b", "c", "d", "study/runs/arm/lr0.1/seed1"]
    assert [row["state"] for row in found.values()] == ["finished", "unfinished", "damaged", "finished"]
    stored = json.loads((trained_twice / "b" / "result.json").read_text())
    one = found["b"]
    assert one["test_accuracy"] == stored["metrics"]["test_accuracy"]
    assert (one["model"], one["data"], one["epochs"], one["of"]) == ("plain 3x4", str(folder), 1, 1)
    assert (one["params"], one["seed"], one["learning_rate"]) == (stored["params"], 0, 0.1)
    assert found["c"]["validation_accuracy"] == stored["metrics"]["validation_accuracy"]
    assert found["c"].get("seconds") is None


def test_rows_are_sorted_by_any_column_and_those_without_it_come_last(capsys, trained_twice):
    seeds = [row["seed"] for row in rows(capsys, trained_twice, "--sort", "seed", "--reverse")]
    assert seeds == [1, 0, 0, 0]
    assert [row["run"] for row in rows(capsys, trained_twice, "--sort", "params")][2:] == ["c", "d"]
    assert "choose one of run, state, model" in refused(capsys, "runs", trained_twice, "--sort", "speed")


def test_csv_is_one_header_and_a_line_per_run(capsys, trained_twice):
    out = call(capsys, "runs", trained_twice, "--csv")[1]
    table = list(csv.DictReader(io.StringIO(out)))
    assert len(table) == 4
    assert {"run", "learning_rate", "weight_decay", "train_loss", "test_accuracy", "seconds"} <= set(table[0])


def test_the_table_names_runs_and_an_empty_folder_says_so(capsys, trained_twice, tmp_path):
    out = call(capsys, "runs", trained_twice)[1]
    assert "study/runs/arm/lr0.1/seed1" in out
    assert "unfinished" in out
    assert call(capsys, "runs", tmp_path)[1] == f"no runs below {tmp_path}\n"
    assert "there is no such folder" in refused(capsys, "runs", tmp_path / "none")


def test_a_list_of_runs_needs_no_jax(trained_twice):
    code = "import sys; from jaxcnn.cli import main; main(sys.argv[1:]); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, "runs", str(trained_twice)], check=True, capture_output=True)


def test_files_of_other_programs_are_passed_over_and_odd_ones_are_no_crash(capsys, trained_twice, tmp_path):
    copied = shutil.copytree(trained_twice, tmp_path / "runs")
    (copied / "bert").mkdir()
    (copied / "bert" / "config.json").write_text('{"model": "bert", "data": "wiki"}')
    one = next(copied.rglob("result.json"))
    one.write_text(json.dumps(json.loads(one.read_text()) | {"seconds": 3, "finished": "2026-01-02T03:04:05Z"}))
    config = one.with_name("config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"seed": "x"}))
    rows = json.loads(call(capsys, "runs", copied, "--json", "--sort", "seed")[1])
    assert [row["run"] for row in rows if "bert" in row["run"]] == []
    assert rows[-1]["seed"] == "x"
    assert rows[-1]["finished"] == "2026-01-02 03:04"
    assert "choose one of --csv and --json" in refused(capsys, "runs", copied, "--csv", "--json")
