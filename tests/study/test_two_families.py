"""Two user-defined families against each other at equal cost: one verdict, with resume, report and verification."""

import json
import subprocess
import sys

import pytest

from jaxcnn.errors import InputError
from jaxcnn.spec import Seeds, StudyConfig, Tuning
from jaxcnn.study import analyse, load_study, make_plan, match_width, match_widths, write_joined, write_report
from jaxcnn.study.report.page import show_report
from jaxcnn.study.rule import RETUNED_FAMILIES
from jaxcnn.study.verify import verify
from tests.study.families import other, rows, stack
from tests.study.small import BASE, ROOT, SHAPE, environment, files, finished_runs, outcome, small_study

pytestmark = pytest.mark.slow

QUICK = {"seeds": Seeds(2, 2), "tuning": Tuning((0.05, 0.2), (1e-4,), extensions=0), "margin": 0.05}


def arms(*families, depths=(3, 3), budget=2000):
    return [
        match_width(family, depth, params=budget, tolerance=0.05, **SHAPE)
        for family, depth in zip(families, depths, strict=True)
    ]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("two") / "study"
    small_study(out, among=arms(rows, stack), family=(rows, stack), **QUICK)
    write_report(load_study(out), out)
    return out


def test_the_verdict_names_a_family(study):
    findings = analyse(load_study(study))
    assert findings.decision == "stack"
    assert findings.contrasts[0].sides == ("rows", "stack")
    assert findings.contrasts[0].population.estimate > 0.1  # error of rows minus that of stack
    assert findings.sentence.startswith("stack at 2,000 parameters: ")
    assert "stack of depth 3" in findings.sentence
    assert "makes fewer errors than rows of depth 3" in findings.sentence
    assert "rows minus stack is +" in findings.sentence


def test_the_plan_says_what_is_compared_before_the_first_run(study):
    plan = json.loads((study / "plan.json").read_text())
    assert plan["rule"] == RETUNED_FAMILIES
    assert plan["measure"] == "test error of the last epoch, rows minus stack"
    assert plan["study"]["hypothesis"].endswith(": rows and stack differ in test error.")
    (ends,) = plan["contrasts"].values()
    assert ends["deeper"].startswith("params2000_rows_depth3")
    assert ends["wider"].startswith("params2000_stack_depth3")
    assert [arm["family"] for arm in plan["arms"]] == ["tests.study.families:rows", "tests.study.families:stack"]


def test_the_report_speaks_of_families_and_not_of_depth(study):
    text = (study / "report.md").read_text()
    assert text.startswith("# rows or stack? digits at 2,000 parameters")
    for words in (
        "**rows minus stack, by budget",
        "P(a rows run errs less)",
        "rows / stack",
        "stack arm",
        "two families are compared",
    ):
        assert words in text
    prose = text.split("## Protocol checklist")[0]
    for words in ("deeper", "wider", "deepest", "widest"):
        assert words not in prose.lower(), words
    page = (study / "report.html").read_text()
    assert "rows errs less" in page or "figures/contrasts" in text


def test_the_console_names_them(study, tmp_path, capsys):
    show_report(load_study(study), tmp_path)
    assert "rows or stack?" in capsys.readouterr().out


def test_it_is_verified(study):
    checks = verify(study)
    assert [check.name for check in checks if check.equal != check.numbers] == []
    assert {check.name for check in checks} >= {"verdict over all budgets", "decision of every budget"}
    analysis = json.loads((study / "analysis.json").read_text())
    analysis["decision"] = "rows"
    (study / "analysis.json").write_text(json.dumps(analysis))
    try:
        assert "verdict over all budgets" in [check.name for check in verify(study) if check.equal != check.numbers]
    finally:
        write_report(load_study(study), study)


@pytest.mark.slow
def test_the_command_line_reports_and_verifies_it(study):
    for command in (("report",), ("verify",)):
        done = subprocess.run(
            [sys.executable, "-m", "jaxcnn", *command, str(study)], cwd=ROOT, env=environment(), check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


def test_the_same_call_resumes_it_and_an_edited_family_is_refused(study, monkeypatch):
    before, unchanged = finished_runs(study), files(study)
    again = small_study(study, among=arms(rows, stack), family=(rows, stack), **QUICK)
    assert finished_runs(study) == before
    assert again.plan.rule == RETUNED_FAMILIES
    with pytest.raises(InputError, match=r"family=tests.study.families:rows: the arms were solved for .*:stack; give"):
        small_study(study, among=arms(rows, stack), family=rows, **QUICK)
    with pytest.raises(InputError, match="another plan"):
        small_study(study, among=arms(stack, rows), family=(stack, rows), **QUICK)
    edited = lambda depth, width: rows(depth, width + 1)  # noqa: E731
    edited.__module__, edited.__qualname__ = rows.__module__, rows.__qualname__
    with pytest.raises(InputError, match=r"another run than this study's \(model\.fields is"):
        small_study(study, among=arms(rows, stack), family=(edited, stack), **QUICK)
    assert files(study) == unchanged


@pytest.mark.slow
def test_workers_give_the_same_results(study, tmp_path):
    shared = small_study(tmp_path / "s", workers=2, among=arms(rows, stack), family=(rows, stack), **QUICK)
    assert outcome(shared.directory) == outcome(study)


def test_depths_are_those_of_the_families():
    config = StudyConfig(BASE, depths=(3, 4), params=(2000, 3000), tolerance=0.1)
    solved = match_widths(config, family=(rows, stack))
    assert [(arm.family.rpartition(":")[2], arm.depth, arm.budget) for arm in solved] == [
        ("rows", 3, 2000), ("stack", 4, 2000), ("rows", 3, 3000), ("stack", 4, 3000),
    ]  # fmt: skip
    one = match_widths(StudyConfig(BASE, depths=(3,), params=(2000,), tolerance=0.1), family=(rows, stack))
    assert [arm.depth for arm in one] == [3, 3]
    with pytest.raises(InputError, match=r"depths=\(2, 3, 4\) for 2 families: give two families"):
        match_widths(StudyConfig(BASE, depths=(2, 3, 4)), family=(rows, stack))
    plan = make_plan(config, solved)
    assert [[arm.name for arm in plan.contrast(budget)] for budget in plan.budgets] == [["rows", "stack"]] * 2


def test_families_of_jaxcnn_are_compared_too():
    mixed = [match_width("dense", 3, params=2000, tolerance=0.05, **SHAPE), *arms(rows, depths=(3,))]
    plan = make_plan(StudyConfig(BASE), mixed)
    assert plan.sides == ("dense", "rows")


def test_what_is_no_pair_of_families_is_refused(tmp_path):
    first, second = (lambda depth, width: stack(depth, width) for _ in range(2))  # two functions of one name
    with pytest.raises(InputError, match="more than once"):
        make_plan(StudyConfig(BASE), arms(first, second))
    three = [*arms(rows, stack), *arms(other, depths=(3,))]
    with pytest.raises(InputError, match="more than once"):
        make_plan(StudyConfig(BASE), three)
    four = [*arms(rows, rows, depths=(2, 3)), *arms(stack, stack, depths=(4, 5))]
    with pytest.raises(InputError, match="give one arm of each of the two families at every budget"):
        small_study(tmp_path / "s", among=four, family=(rows, stack), **QUICK)
    assert not (tmp_path / "s").exists()


def test_a_comparison_of_families_is_not_joined_with_others(study, tmp_path):
    with pytest.raises(InputError, match="results holds a comparison of two families"):
        write_joined([load_study(study), load_study(study)], tmp_path)
