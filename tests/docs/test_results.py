"""What docs/results holds can be made again by whoever reads it."""

import json
import runpy
import shlex
from pathlib import Path
from statistics import mean

import pytest

from jaxcnn.run import load_result
from jaxcnn.study.verify import verify

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PLANS = sorted(RESULTS.rglob("plan.json"))
SUMMARIES = sorted(RESULTS.rglob("summary.json"))
TABLES = runpy.run_path(str(RESULTS / "tables.py"))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: str(plan.parent.relative_to(ROOT / "docs" / "results")))
def test_the_command_of_a_study_is_one_of_this_repository(plan):
    """No path of the machine that it ran on: a script here, with folders below the one it is started in."""
    words = shlex.split(json.loads(plan.read_text())["command"])
    if words[0] == "python":
        assert words[1].startswith("experiments/")
        assert (ROOT / words[1]).is_file()
    else:
        assert words[0] == "jaxcnn"
    assert not [word for word in words if word.startswith(("/", "~", ".."))]


@pytest.mark.parametrize("file", SUMMARIES, ids=lambda file: str(file.parent.relative_to(RESULTS)))
def test_every_single_network_ships_its_runs_and_they_agree_with_the_summary(file):
    """Configs, the code's revision and predictions by example lie beside each number of a table."""
    summary, folders = json.loads(file.read_text()), sorted(path.parent for path in file.parent.glob("*/config.json"))
    runs = {result.config.seed: result for result in map(load_result, folders)}
    assert list(runs) == summary["seeds"]
    for name, values in summary["metrics"].items():
        assert values["runs"] == [result.metrics[name] for result in runs.values()]
        assert values["mean"] == pytest.approx(mean(values["runs"]))
    for folder, result in zip(folders, runs.values(), strict=True):
        checks = verify(folder, data=False)
        assert [check for check in checks if check.equal < check.numbers] == []
        measure = {"classification": "test accuracy", "instances": "instance AP and PQ"}[result.config.task.kind]
        assert measure in [check.name for check in checks]
        assert len(result.predictions["labels"]) == result.data["sizes"]["test"]
        assert result.environment["revision"]
        assert "dirty" not in result.environment["revision"]


def test_the_tables_of_the_page_are_those_of_the_files():
    page = (RESULTS / "index.md").read_text()
    assert TABLES["fill"](page) == page, "run python docs/results/tables.py"
    assert {path.parent.relative_to(RESULTS).parts[0] for path in SUMMARIES} >= {*TABLES["NAMES"], "nuclei"}
