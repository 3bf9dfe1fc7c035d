import csv
import html
import io
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from jaxcnn.errors import InputError
from jaxcnn.study import analyse, load_study, verdict_table, write_report
from jaxcnn.study.plan import study_identity
from jaxcnn.study.rule import RULES
from jaxcnn.study.statistics.seeds import Interval
from jaxcnn.study.verdict.formatting import decimals, detected, effect, percent, plural, probability, signed, span, text
from tests.study.planted import ARMS, TEN_SETTINGS, planted_study, rich_study

ERRORS = {8: (0.03, 0.025, 0.0275), 14: (0.02, 0.0225, 0.0175), 20: (0.015, 0.0125, 0.0175)}
SECTIONS = (
    "Test error against depth",
    "The arms",
    "Costs of the arms",
    "Tuning",
    "Training and test error: optimisation or generalisation?",
    "Error against cost",
    "By class (exploratory)",
    "Statistics of the contrasts",
    "Protocol checklist",
    "Limits",
    "How to repeat this study",
)


class Page(HTMLParser):
    """Collects what a page would load, and checks that its elements close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data", "action", "srcset"):
                self.loads.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag not in ("meta", "link", "br", "img"):
            assert self.open.pop() == tag


def files(folder: Path) -> dict[str, bytes]:
    written = [folder / name for name in ("report.html", "report.md", "analysis.json", "runs.csv")]
    return {path.name: path.read_bytes() for path in [*written, *sorted((folder / "figures").iterdir())]}


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """A whole study and its report."""
    result = rich_study(tmp_path_factory.mktemp("rich") / "study", seeds=2, epochs=6, images=400)
    write_report(result, result.directory)
    return result


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """Two arms, one seed, nothing tuned or measured, one run diverged."""
    directory = tmp_path_factory.mktemp("single")
    result = planted_study(directory, {8: (0.1,), 20: (0.2,)}, costs=False, diverged={(20, 0)})
    write_report(result, directory)
    return result


@pytest.fixture
def undrawn(monkeypatch):
    """Reports without their figures, which take most of the time."""
    monkeypatch.setattr("jaxcnn.study.report.page.write_figure", lambda figure, folder, name: "<svg></svg>")


@pytest.mark.slow
def test_rebuilt_from_disk_it_is_the_same_to_the_byte(tmp_path):
    result = planted_study(tmp_path, ERRORS, images=400)
    page = write_report(result, tmp_path)
    assert page == tmp_path / "report.html"
    before = files(tmp_path)
    assert write_report(load_study(tmp_path), tmp_path) == page
    assert files(tmp_path) == before
    write_report(result, tmp_path / "elsewhere")
    assert files(tmp_path / "elsewhere") == before


def test_the_page_is_whole_and_loads_nothing(rich):
    content = (rich.directory / "report.html").read_text()
    page = Page(content)
    assert page.open == []
    assert all(target.startswith("#") for target in page.loads)
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.loads} <= set(page.ids)
    assert "script" not in page.tags
    assert not re.search(r"@import|url\((?!#)", content)
    assert not re.search(r'(?:src|href)="?https?:', content)
    assert 'name="viewport"' in content
    pictures = {path.stem for path in (rich.directory / "figures").glob("*.svg")}
    assert page.tags.count("svg") == len(pictures) == 15
    assert pictures == {path.stem for path in (rich.directory / "figures").glob("*.png")}


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_the_verdict_comes_first_then_every_section_in_order(rich, name):
    findings = analyse(rich)
    content = (rich.directory / name).read_text()
    heads = [f"## {title}" if name.endswith("md") else f">{title}</h2>" for title in SECTIONS]
    order = [content.index(part) for part in (findings.sentence, findings.change, *heads)]
    assert order == sorted(order)


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_every_arm_and_number_is_there(rich, name):
    content = html.unescape((rich.directory / name).read_text())
    findings = analyse(rich)
    for finding in findings.arms:
        arm = finding.arm
        for part in (
            f"{arm.params:,}", f"{arm.macs:,}", f"{arm.activations:,}", f"{100 * arm.mismatch:+.2f}",
            percent(finding.test_error.estimate), span(finding.test_error),
            percent(finding.validation_error), percent(finding.train_error), f"{1000 * finding.cost.step:.2f}",
        ):  # fmt: skip
            assert part in content
    for contrast in (*findings.contrasts, *findings.shared):
        assert effect(contrast.population) in content
    for point in findings.protocol:
        assert point.evidence in content
    for part in ("python study.py --epochs 4", "ab" * 32, "python 3.12.0", "0, 1; tuning 1000", "predictions.npz"):
        assert part in content


def test_the_machine_form_is_plain_json_of_this_plan(rich, single):
    def refuse(name):
        raise AssertionError(name)

    record = json.loads((rich.directory / "analysis.json").read_text(), parse_constant=refuse)
    findings = analyse(rich)
    assert record["format"] == "jaxcnn study analysis 2"
    assert (record["rule"], record["rule_text"]) == ("ends-holm-1", RULES["ends-holm-1"].text)
    assert record["plan"] == study_identity(rich.directory)
    assert record["command"] == "python study.py --epochs 4"
    assert record["data"]["validation_hash"] == "ab" * 32
    assert record["environments"][0]["versions"]["jax"] == "0.12.0"
    assert record["sentence"] == findings.sentence
    assert [arm["arm"]["label"] for arm in record["arms"]] == [arm.label for arm in rich.plan.arms]
    assert record["contrasts"][0]["population"]["low"] == findings.contrasts[0].population.low
    lost = json.loads((single.directory / "analysis.json").read_text(), parse_constant=refuse)
    assert lost["contrasts"][0]["population"] == {"estimate": pytest.approx(0.1), "low": None, "high": None}


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_one_seed_without_tuning_costs_or_luck(single, name):
    content = (single.directory / name).read_text()
    for part in (
        "no interval", "Nothing was tuned", "were not measured", "1 (1 diverged)", "shows no spread",
        "no trend is fitted", "Some runs diverged",
    ):  # fmt: skip
        assert part in content
    assert not re.search(r"\b(nan|inf|None)\b", re.sub(r"<svg.*?</svg>", "", content, flags=re.S))


def test_three_depths_and_an_end_of_the_range_are_said(tmp_path, undrawn):
    content = write_report(planted_study(tmp_path, ERRORS, images=400), tmp_path).read_text()
    assert "passes through every mean" in content
    assert "an end of the studied range" in content


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_arms_without_any_error_draw(tmp_path):
    never = dict.fromkeys((8, 14, 20), (0.0, 0.0))
    assert "0.00" in write_report(planted_study(tmp_path, never, tuning=TEN_SETTINGS), tmp_path).read_text()


def test_names_are_escaped(tmp_path, capsys):
    name = "<script>alert(1)</script>|a`b[red]$x$"
    classes = ["<i>0</i>", "a|b", "$x$", "[red]"]
    write_report(planted_study(tmp_path, ERRORS, name=name, classes=classes, images=400), tmp_path)
    page, markdown = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "&lt;script&gt;alert(1)" in page
    for part in ("<script", "<b>bold", "<i>"):
        assert part not in page
    assert r"\<script\>" in markdown
    prose = re.sub(r"```.*?```", "", markdown, flags=re.S)
    assert re.search(r"(?<!\\)<", prose) is None
    Page(page)
    Console(width=200).print(verdict_table(load_study(tmp_path)))
    assert name in capsys.readouterr().out


def test_a_family_of_the_users_own(tmp_path, undrawn):
    arms = [arm._replace(spec=None, family="towers:tower") for arm in ARMS]
    content = write_report(planted_study(tmp_path, ERRORS, arms=arms, images=400), tmp_path).read_text()
    assert "towers:tower; only depth and width differ" in content


def test_tuning_that_gave_all_the_same_setting_says_so(tmp_path, undrawn):
    same = planted_study(tmp_path, ERRORS, tuning=TEN_SETTINGS, best_rate=lambda arm: 0.125, images=400)
    assert "there is nothing to compare" in write_report(same, tmp_path).read_text()


def test_the_terminals_table_fits_a_hundred_columns(rich, single, capsys):
    Console(width=100).print(verdict_table(rich))
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 100
    findings = analyse(rich)
    for finding in findings.arms:
        for part in (f"{finding.arm.params:,}", percent(finding.test_error.estimate)):
            assert part in shown
    for part in ("35-70-139", "0.02!", "15,000 parameters", "240,000 parameters", "for new seeds", "! best at an edge"):
        assert part in shown
    Console(width=100).print(verdict_table(single))
    assert "10.00 [none]" in capsys.readouterr().out


def test_tables_of_words_stack_on_a_phone_and_pages_have_a_dark_and_a_print_form(single, rich):
    for study in (single, rich):
        content = (study.directory / "report.html").read_text()
        assert content.count(' data-name="difference, new seeds and images (points)"') == len(study.plan.budgets)
        for rule in (r"prefers-color-scheme: dark", r"@media print", r"attr\(data-name\)"):
            assert re.search(rule, content)


@pytest.mark.slow
def test_building_a_report_does_not_import_jax(tmp_path):
    planted_study(tmp_path / "a", ERRORS, images=400)
    code = (
        "import sys; from jaxcnn.study import load_study, write_report;"
        "write_report(load_study(sys.argv[1]), sys.argv[1]);"
        "assert not {'jax', 'flax', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], check=True, env={**os.environ, "COLUMNS": "100"})


def test_folders_without_a_study(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        load_study(tmp_path / "none")
    with pytest.raises(InputError, match=r"plan\.json"):
        load_study(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["tuning.json", "pilot.json", "runs.json", "predictions.npz"])
def test_unfinished_or_damaged_studies_are_refused_before_anything_is_written(tmp_path, name):
    planted_study(tmp_path, ERRORS, images=400)
    path = tmp_path / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=re.escape(name)):
        load_study(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match=re.escape(name)):
        load_study(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_numbers_in_words():
    endless = Interval(0.01, float("-inf"), float("inf"))
    assert (percent(0.01855), percent(float("nan"))) == ("1.85", "–")
    assert (signed(-0.00001), signed(0.0067)) == ("0.00", "+0.67")
    assert span(Interval(0.01, -0.002, 0.022).within(0, 1)) == "0.00 to 2.20"
    assert (span(endless), effect(endless)) == ("none", "+1.00 (no interval)")
    assert (detected(0.0123), detected(1.24)) == ("1.23 points", "no possible difference")
    assert effect(Interval(-0.01, -0.02, 0.0)) == "-1.00 (-2.00 to 0.00)"
    assert (decimals(None), decimals(1234.5, 1), probability(0.0002)) == ("–", "1,234.5", "< 0.001")
    assert (plural(1, "run"), plural(1200, "run")) == ("1 run", "1,200 runs")
    assert text({"a_b": [1, 2.5], "c": True, "d": None, "e": 12_000}) == "a b 1, 2.5, c on, d none, e 12,000"


def test_a_tidy_table_has_a_row_per_run_and_trial(rich, single):
    rows = list(csv.DictReader(io.StringIO((rich.directory / "runs.csv").read_text())))
    trials = sum(len(arm.trials) for arm in rich.tuning.arms.values())
    assert [row["stage"] for row in rows] == ["tuning"] * trials + ["runs"] * len(rich.runs)
    for row, run, predicted in zip(rows[trials:], rich.runs, rich.arrays["predictions"], strict=True):
        assert (row["arm"], int(row["seed"])) == (run.arm, run.seed)
        assert (float(row["learning_rate"]), float(row["weight_decay"])) == tuple(run.setting)
        assert float(row["test_accuracy"]) == pytest.approx((predicted == rich.arrays["labels"]).mean())
        assert row["own_setting"] == str(run.setting == rich.tuning.arms[run.arm].setting)
    assert {row["widths"] for row in rows} == {arm.widths for arm in rich.plan.arms}
    lost = list(csv.DictReader(io.StringIO((single.directory / "runs.csv").read_text())))
    assert [row["train_loss"] == "" for row in lost] == [row["diverged"] == "True" for row in lost]
