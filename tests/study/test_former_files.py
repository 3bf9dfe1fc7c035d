"""Studies written by earlier versions stay readable: the published ones, and a frozen one of each format."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from jaxcnn.errors import InputError
from jaxcnn.records import as_record
from jaxcnn.runtime.files import write_sealed
from jaxcnn.study.plan import load_plan, store_plan, study_identity
from jaxcnn.study.report.page import write_report
from jaxcnn.study.result import load_study, store_stages
from jaxcnn.study.rule import RULES
from jaxcnn.study.schedule import Schedule
from jaxcnn.study.verdict.analyse import analyse
from jaxcnn.study.verify import verify
from tests.study.small import BASE, files, finished_runs, small_study

ROOT = Path(__file__).parents[2]
FROZEN = ROOT / "tests" / "fixtures" / "study_format2"
# The study of tests/study/small.py, begun by commit e9109f1 and killed in its fourth run, between two checkpoints.
BEGUN = ROOT / "tests" / "fixtures" / "study_begun_format2"
PUBLISHED = sorted(path.parent for path in (ROOT / "docs" / "results").rglob("plan.json"))
# Plans of the first formats hold the text of their rule where later ones name it.
FORMER = [FROZEN, *(each for each in PUBLISHED if "rule_text" not in json.loads((each / "plan.json").read_text()))]


@pytest.mark.parametrize("directory", FORMER, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_former_study_is_read_as_it_was_written(directory):
    def read(name):
        return json.loads((directory / name).read_text())

    written, result = read("plan.json"), load_study(directory)
    plan = result.plan
    for arm, record in zip(plan.arms, written["arms"], strict=True):
        assert arm.label == record["label"]
        spec, options = as_record(arm.spec), as_record(arm.spec.options)
        assert as_record(arm) == {**{k: record[k] for k in arm._fields if k != "name"}, "spec": spec, "name": ""}
        given = {name: value for name, value in record["spec"].items() if value is False or value not in (None, 0.0)}
        assert options == {name: value for name, value in given.items() if name not in spec}
        assert spec == {**{name: record["spec"].get(name) for name in spec}, "options": options}
    assert as_record(plan.tuning) == {**written["tuning"], "method": "grid", "rounds": 3}
    assert as_record(plan.seeds) == written["seeds"]
    assert (plan.hypothesis, plan.margin, plan.command) == (
        written["hypothesis"], written["margin"], written["command"],
    )  # fmt: skip
    assert (RULES[plan.rule].text, plan.base.task.kind) == (written["rule"], "classification")
    assert (plan.base.epochs, plan.base.data.name) == (written["base"]["epochs"], written["base"]["data"]["name"])
    assert plan.params == tuple(dict.fromkeys(arm["budget"] for arm in written["arms"]))
    tuning, runs = read("tuning.json"), read("runs.json")["runs"]
    assert study_identity(directory) == tuning["plan"]
    assert list(result.tuning.shared) == tuning["shared"]
    for label, arm in tuning["arms"].items():
        assert list(result.tuning.arms[label].setting) == arm["setting"]
        assert [trial.validation_error for trial in result.tuning.arms[label].trials] == [
            trial["validation_error"] for trial in arm["trials"]
        ]
    assert [(run.arm, run.seed, run.metrics["test_accuracy"]) for run in result.runs] == [
        (run["arm"], run["seed"], run["metrics"]["test_accuracy"]) for run in runs
    ]


@pytest.mark.parametrize("directory", PUBLISHED, ids=lambda path: str(path.relative_to(ROOT)))
def test_published_numbers_do_not_move(directory):
    """Intervals and decisions of every committed analysis.json, from its predictions."""
    written, findings = json.loads((directory / "analysis.json").read_text()), analyse(load_study(directory))
    assert (findings.decision, findings.scope) == (written["decision"], written["scope"])
    for each, record in zip(findings.arms, written["arms"], strict=True):
        assert each.test_error._asdict() == pytest.approx(record["test_error"], abs=1e-9)
    for each, record in zip(findings.contrasts, written["contrasts"], strict=True):
        for name in ("population", "population90", "fixed"):
            assert getattr(each, name)._asdict() == pytest.approx(record[name], abs=1e-9)


def test_a_former_study_keeps_its_missing_numbers():
    result = load_study(FROZEN)
    assert [run.diverged for run in result.runs] == [False, False, False, True, False, False]
    assert math.isnan(result.runs[3].metrics["train_loss"])
    assert [arm.edge for arm in result.tuning.arms.values()] == [True, True]
    arm = result.plan.arms[0]
    accuracies = [run.metrics["test_accuracy"] for run in result.of(arm)]
    assert [1 - row.mean() for row in result.errors(arm)] == pytest.approx(accuracies)
    assert {cost.compile for cost in result.costs.values()} == {6.5}


def test_a_former_study_is_gone_on_with_and_never_rewritten(tmp_path):
    copy = shutil.copytree(FROZEN, tmp_path / "copy")
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    result = load_study(copy)
    assert store_plan(result.plan, copy) == result.plan
    store_stages(copy, Schedule("done", (), (), result.tuning, result.pilot))
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_a_former_plan_with_an_unknown_rule_is_refused(tmp_path):
    copy = shutil.copytree(FROZEN, tmp_path / "copy")
    write_sealed(copy / "plan.json", json.loads((copy / "plan.json").read_text()) | {"rule": "Toss a coin."})
    with pytest.raises(InputError, match=r"rule='Toss a coin\.': unknown; choose one of"):
        load_plan(copy)


@pytest.mark.slow
def test_a_study_begun_before_an_upgrade_goes_on(tmp_path):
    """Its plan and finished runs stay byte for byte; the run that was killed keeps the epochs of its checkpoint."""
    copy = shutil.copytree(BEGUN, tmp_path / "study", copy_function=shutil.copy2)
    plan, finished = (copy / "plan.json").read_bytes(), finished_runs(copy)
    (killed,) = (path.parent for path in copy.rglob("metrics.jsonl") if not (path.parent / "result.json").exists())
    first_epoch = (killed / "metrics.jsonl").read_text().splitlines()[0]
    result = small_study(copy, base=replace(BASE, batches="full"))
    assert len(result.runs) == sum("/runs/" in str(path) for path in copy.rglob("result.json")) == 6
    assert (copy / "plan.json").read_bytes() == plan
    assert finished.items() <= finished_runs(copy).items()
    assert (killed / "metrics.jsonl").read_text().splitlines()[0] == first_epoch
    write_report(result, copy)
    assert [check for check in verify(copy) if check.equal < check.numbers] == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "base.batches is 'full', not 'even'"),  # what the same command says since the upgrade
        ({"base": replace(BASE, batches="full", epochs=4)}, "base.epochs is 3, not 4"),
        ({"base": replace(BASE, batches="full"), "margin": 0.01}, "margin is 0.05, not 0.01"),
    ],
)
def test_a_study_begun_before_an_upgrade_is_refused_with_what_changed(tmp_path, changes, named):
    copy = shutil.copytree(BEGUN, tmp_path / "study")
    before = files(copy)
    with pytest.raises(InputError, match=rf"another plan \({named}\)"):
        small_study(copy, **changes)
    assert files(copy) == before


@pytest.mark.parametrize("directory", PUBLISHED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_published_report_is_the_one_that_its_files_give(directory, tmp_path, monkeypatch):
    """Its text and table of runs; not figures, which take long, nor the bootstrap, which follows NumPy's version."""

    def lines(path):
        return [line for line in path.read_text().splitlines() if "bootstrap: 95 %" not in line]

    monkeypatch.setattr("jaxcnn.study.report.page.write_figure", lambda *_: "<svg></svg>")
    write_report(load_study(directory), tmp_path)
    for name in ("report.md", "runs.csv"):
        assert lines(tmp_path / name) == lines(directory / name), f"run jaxcnn report {directory}"
