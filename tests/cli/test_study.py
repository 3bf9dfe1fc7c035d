"""`jaxcnn study`, `study status` and `report` on studies of seconds; bad input is one sentence and exit code 2."""

import json
import re
import shutil
import subprocess
import sys
import time

import pytest

from jaxcnn.cli import main
from jaxcnn.run import cost
from jaxcnn.runtime.files import PARTIAL
from jaxcnn.study.budget import match as budget
from jaxcnn.study.execution import estimate as estimates
from jaxcnn.study.execution.probe import Probe, RunTimes
from jaxcnn.study.plan import load_plan
from tests.cli.calls import call, refused

FLAGS = [
    "study", "--model.family", "dense", "--depths", "2", "4", "--tolerance", "0.05", "--epochs", "1", "--workers", "1",
    "--data.train-size", "96", "--batch-size", "32", "--parallel", "jit", "--margin", "0.05",
    "--tuning.learning-rates", "0.05", "0.2", "--tuning.weight-decays", "1e-4", "--tuning.extensions", "0",
    "--tuning.rounds", "1",
    "--seeds.pilot", "2", "--seeds.cap", "2",
]  # fmt: skip
STUDY = [*FLAGS, "--params", "2000"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Measure costs for a moment only."""
    monkeypatch.setattr(cost, "TURN_SECONDS", 0.001)


@pytest.fixture
def unreported(monkeypatch):
    """Leave out the report, whose figures take seconds."""
    import jaxcnn.study

    monkeypatch.setattr(jaxcnn.study, "show_report", lambda result, out: print(f"report: {out}"), raising=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "TURN_SECONDS", 0.001)
        main([*STUDY, "--out", str(out)])
    return out


def content(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_study_writes_its_report_and_report_rebuilds_it(study, capsys):
    page = (study / "report.html").read_bytes()
    (study / "report.html").unlink()
    code, out, error = call(capsys, "report", study)
    assert code == 0, error
    assert (study / "report.html").read_bytes() == page
    assert "report.html" in out


@pytest.mark.slow
def test_a_report_in_another_folder_leaves_the_study_as_it_is(study, tmp_path, capsys):
    """So the report of a study that cannot be written can be rebuilt."""
    before = content(study)
    code, out, error = call(capsys, "report", study, "--out", tmp_path / "r")
    assert code == 0, error
    assert (tmp_path / "r" / "report.html").read_bytes() == (study / "report.html").read_bytes()
    assert str(tmp_path / "r" / "report.html") in "".join(out.split())
    assert content(study) == before


def test_a_report_of_a_study_that_cannot_be_written_needs_a_folder(study, capsys, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert "such as --out report" in refused(capsys, "report", study)


@pytest.mark.slow
def test_two_processes_at_one_study_both_end_with_its_report(tmp_path):
    command = [sys.executable, "-m", "jaxcnn", *STUDY, "--out", str(tmp_path / "s")]
    for _ in range(3):  # Trained together, then only reported.
        both = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)
        ]
        errors = [process.communicate(timeout=600)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0], errors
    assert (tmp_path / "s" / "report.html").read_text().count("<svg") >= 5
    assert not [file for file in (tmp_path / "s").rglob("*") if file.suffix == PARTIAL]


def test_the_same_command_again_trains_nothing(study, capsys, unreported):
    before = {path: path.stat().st_mtime_ns for path in (study / "runs").rglob("*")}
    code, out, _ = call(capsys, *STUDY, "--out", study)
    assert code == 0
    assert "report:" in out
    assert {path: path.stat().st_mtime_ns for path in (study / "runs").rglob("*")} == before


def test_another_study_in_the_same_folder_is_refused(study, capsys):
    before = content(study)
    assert str(study) in refused(capsys, *FLAGS, "--params", "3000", "--out", study)
    assert "margin" in refused(capsys, *STUDY, "--margin", "0.06", "--out", study)
    assert content(study) == before


def test_a_dry_run_shows_arms_and_time_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")
    code, out, error = call(capsys, *FLAGS, "--params", "2000", "--macs", "3000", "--dry-run", "--out", tmp_path / "s")
    assert code == 0, error
    for part in ("2,000 parameters", "3,000 MACs", "ms/step"):
        assert part in out
    # Four arms of 2 trials and 2 seeds, and the two contrasts' arms at the shared setting.
    assert "4 arms, about 24 runs of 1 epochs (3 steps each): about" in " ".join(out.split())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def slow_steps(monkeypatch):
    """A step takes a second here, as far as the estimate knows."""

    def probe(plan, dataset, family, count, before):
        calls.append(plan)
        return Probe({arm.label: RunTimes(0.0, 0.0, 0.0, 1.0, 0.0) for arm in plan.arms}, 0.0)

    calls = []
    monkeypatch.setattr(estimates, "probe", probe)
    monkeypatch.setattr(time, "process_time", lambda: 1.0)  # This process is older than one of the command line.
    return calls


@pytest.mark.slow
def test_a_study_fitted_into_a_time_says_what_it_chose_and_why(tmp_path, capsys, monkeypatch, unreported, slow_steps):
    """The plan's command gives the same study without a measurement, and the same command resumes it."""
    typed = [*STUDY, "--epochs", "8", "--seeds.cap", "4", "--fit-into", "2m", "--out", str(tmp_path / "s")]
    monkeypatch.setattr(sys, "argv", ["jaxcnn", *typed])
    code, out, error = call(capsys, *typed)
    assert code == 0, error
    # 12 runs of two arms, 4 trials, 4 runs and 4 at the shared setting, of 2 epochs of 3 steps: 72 seconds and others.
    shown = " ".join(out.split())
    assert "--fit-into 2m: 2 epochs instead of 8 and 2 seeds instead of 4, about " in shown
    assert "the cap on seeds is lowered first, then the epochs" in shown
    plan = load_plan(tmp_path / "s")
    assert (plan.base.epochs, plan.seeds.cap, plan.seeds.pilot) == (2, 2, 2)
    left = [word for word in typed if word not in ("--fit-into", "2m")]
    words = [*left, "--epochs", "2", "--seeds.cap", "2"]
    assert plan.command == f"jaxcnn {' '.join(words)}  # chosen by --fit-into 2m"
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    for again in (typed, words):
        code, out, error = call(capsys, *again)
        assert code == 0, error
    assert {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()} == before
    assert "give a time such as 90s" in refused(capsys, *["soon" if word == "2m" else word for word in typed])
    assert len(slow_steps) == 1
    code, out, error = call(capsys, *[*typed[:-1], str(tmp_path / "new")], "--dry-run")
    assert "2 epochs instead of 8" in " ".join(out.split())
    assert "of 2 epochs (3 steps each): about" in " ".join(out.split())
    assert not (tmp_path / "new").exists()


def test_a_study_that_fits_is_left_as_it_is_and_one_that_cannot_is_refused(tmp_path, capsys, slow_steps):
    words = [*STUDY, "--out", tmp_path / "s", "--dry-run", "--fit-into"]
    code, out, error = call(capsys, *words, "1h")
    assert code == 0, error
    assert "--fit-into 1h: 1 epochs and 2 seeds, about " in " ".join(out.split())
    assert "nothing was lowered" in " ".join(out.split())
    assert "--fit-into 20 seconds: 12 runs of 1 epoch need about " in refused(capsys, *words, "20s")
    assert "--fit-into soon: give a time such as 90s, 30m, 2h or 1h30m" in refused(capsys, *words, "soon")
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_several_budgets_are_one_study(tmp_path, capsys, unreported):
    code, _, error = call(
        capsys, *FLAGS, "--params", "2000", "--macs", "3000", "--tuning.learning-rates", "0.1", "--seeds.pilot", "1",
        "--seeds.cap", "1", "--out", tmp_path / "s",
    )  # fmt: skip
    assert code == 0, error
    plan = load_plan(tmp_path / "s")
    assert plan.budgets == ("2,000 parameters", "3,000 MACs")
    assert {abs(arm.mismatch) <= 0.05 for arm in plan.arms} == {True}
    assert len(list((tmp_path / "s" / "runs").rglob("result.json"))) == 4


@pytest.mark.slow
def test_a_budget_in_seconds_goes_on_with_the_widths_it_began_with(tmp_path, capsys, monkeypatch, unreported):
    """Measured again, the same budget may give other widths, which would be another study."""
    widths = iter((20, 12))
    real = budget.match_width

    def measured(base, depth, *, seconds, **options):
        arm = real(base, depth, params=2000, **options | {"tolerance": 0.5})
        spec = arm.spec.__class__(**{**arm.spec.__dict__, "width": next(widths), "stage_widths": None})
        return arm._replace(kind="seconds", budget=seconds, width=spec.width, spec=spec, seconds=0.01)

    monkeypatch.setattr(budget, "match_width", measured)
    flags = [*FLAGS, "--tuning.learning-rates", "0.1", "--seeds.pilot", "1", "--seeds.cap", "1", "--seconds", "0.01"]
    for _ in range(2):
        code, _, error = call(capsys, *flags, "--out", tmp_path / "s")
        assert code == 0, error
    assert [arm.width for arm in load_plan(tmp_path / "s").arms] == [20, 12]


def test_status_at_every_stage(study, tmp_path, capsys):
    def lines(stage, *parts):
        code, out, error = call(capsys, "study", "status", copy)
        assert code == 0, error
        assert f"stage: {stage};" in out
        for part in parts:
            assert part in out

    copy = shutil.copytree(study, tmp_path / "copy")
    lines("reported", "0 diverged", f"report: jaxcnn report {copy}")
    (copy / "report.html").unlink()
    lines("done", f"report: jaxcnn report {copy}")
    (copy / "runs.json").unlink()
    lines("costs", "all runs are finished")
    last = max((copy / "runs").rglob("result.json"))
    last.unlink()
    _, out, _ = call(capsys, "study", "status", copy)
    assert re.search(r"stage: (pilot|runs); \d+ of about \d+ runs finished", out)
    assert f"{last.parent.relative_to(copy)}: 1/1 epochs" in out
    shutil.rmtree(copy / "runs")
    lines("pilot", "4 of about")
    shutil.rmtree(copy / "tuning")
    lines("tuning", "0 of about")


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--margin", "0"], "--margin 0"),
        (["--seeds.pilot", "3", "--seeds.cap", "2"], "pilot <= cap"),
        (["--tuning.learning-rates", "0.2", "0.1"], "--tuning.learning-rates 0.2 0.1"),
        (["--tuning.learning-rates", "0", "0.1"], "learning rates must be positive"),
        (["--tuning.seeds", "0"], "--tuning.seeds 0"),
        (["--workers", "0"], "--workers 0"),
        (["--depths", "2"], "deeper against wider needs two depths or more"),
        (["--repeats", "7"], "--repeats 7: it is for cross-validation; give folds, too"),
        (["--folds", "5000"], "--folds 5000, --repeats 3: 15,000 runs per arm"),
        (["--depths", "2", "2"], "--depths 2 2: give each depth once"),
        (["--params", "2000", "2000"], "--params 2000 2000: give each budget once"),
        (["--depths", "1", "4"], "--depths 1"),
        (["--model.family", "resnet", "--depths", "8", "9"], "--depths 9"),
        (["--model.family", "resnext"], "resnext"),
        (["--params", "20"], "--params 20"),
        (["--params", "-5"], "--params -5"),
        (["--params", "1" + 400 * "0"], "--params 1000"),
        (["--seeds.cap", "1000000000000"], "cap <= 10000"),
        (["--data", "glyphs", "--data.classes", "-1"], "--data.classes -1: must be at least 2"),
        (["--data", "glyphs", "--data.images", "-1"], "--data.images -1: must be from 20"),
        (["--tolerance", "0"], "--tolerance 0"),
        (["--epochs", "0"], "--epochs 0"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--optimizer.momentum", "2"], "--optimizer.momentum 2"),
        (["--data", "no_such_set"], "no_such_set"),
        (["--data.validation", "2"], "--data.validation 2"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_values_are_one_sentence_and_leave_nothing(tmp_path, capsys, flags, part):
    assert part in refused(capsys, *STUDY, *flags, "--out", tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_budget_that_cannot_be_met_names_the_nearest(tmp_path, capsys):
    error = refused(capsys, *FLAGS, "--params", "20", "--out", tmp_path / "s")
    assert "nearest" in error
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "name", ["plan.json", "tuning.json", "pilot.json", "runs.json", "costs.json", "predictions.npz"]
)
def test_damaged_files_are_one_sentence_and_stay_as_they_are(study, tmp_path, capsys, name):
    copy = shutil.copytree(study, tmp_path / "copy")
    file = copy / name
    file.write_bytes(file.read_bytes()[:-40])
    before = content(copy)
    assert name in refused(capsys, "report", copy)
    assert name in refused(capsys, *STUDY, "--out", copy)
    if name == "plan.json":
        refused(capsys, "study", "status", copy)
    assert content(copy) == before


def test_status_and_report_of_what_is_no_study(tmp_path, capsys):
    assert "nowhere" in refused(capsys, "study", "status", tmp_path / "nowhere")
    assert "plan.json" in refused(capsys, "study", "status", tmp_path)
    assert "plan.json" in refused(capsys, "report", tmp_path)
    assert json.dumps(list(tmp_path.iterdir())) == "[]"
