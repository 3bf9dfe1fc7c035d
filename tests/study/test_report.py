import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from jaxcnn.errors import InputError
from jaxcnn.study import load_study, rebuild, verdict_table, write_report
from jaxcnn.study.document import Code, Facts, Paragraph, Table, to_html, to_markdown
from tests.study.planted import planted_study

ERRORS = {8: (0.03, 0.025, 0.028), 14: (0.02, 0.022, 0.019), 20: (0.015, 0.012, 0.017)}
FILES = (
    "report.md",
    "report.html",
    "report.json",
    "figures/error_vs_depth.svg",
    "figures/error_vs_depth.png",
    "figures/learning_curves.svg",
    "figures/learning_curves.png",
)


class Page(HTMLParser):
    """Collects what a page would load, and checks that its elements close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)

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


def test_rebuilt_from_disk_it_is_the_same_to_the_byte(tmp_path):
    page = write_report(planted_study(tmp_path, ERRORS), tmp_path)
    assert page == tmp_path / "report.html"
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    for name in FILES:
        (tmp_path / name).unlink()
    assert rebuild(tmp_path) == page
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before


def test_the_page_is_whole_and_loads_nothing(tmp_path):
    text = write_report(planted_study(tmp_path, ERRORS), tmp_path).read_text()
    page = Page(text)
    assert page.open == []
    assert all(target.startswith("#") for target in page.loads)
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.loads} <= set(page.ids)
    assert page.tags.count("svg") == 2
    assert "script" not in page.tags
    assert not re.search(r"@import|url\((?!#)", text)
    assert 'name="viewport"' in text


def test_the_verdict_comes_first_and_the_numbers_follow(tmp_path):
    write_report(planted_study(tmp_path, ERRORS), tmp_path)
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        order = [text.index(part) for part in ("Deeper: at 30,000", "30,100", "How it was done", "Do it again")]
        assert order == sorted(order)
        for part in ("+0.33", "500,000", "1,137 train", "abab", "learning rate 0.1", "python study.py --epochs 4"):
            assert part in text
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["verdict"] == "deeper"
    assert record["arms"][0]["params"] == 30_100
    assert record["arms"][0]["test_errors"] == pytest.approx(ERRORS[8])


def test_names_are_escaped(tmp_path, capsys):
    name = "<script>alert(1)</script>|a`b[red]"
    write_report(planted_study(tmp_path, ERRORS, name=name), tmp_path)
    html, markdown = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    assert "<script" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<b>bold" not in html
    assert r"\<script\>" in markdown
    assert re.search(r"(?<!\\)<", markdown) is None
    Page(html)
    Console(width=100).print(verdict_table(load_study(tmp_path)))
    assert name in capsys.readouterr().out


def test_one_seed_is_reported_without_an_interval(tmp_path):
    text = write_report(planted_study(tmp_path, {8: (0.1,), 20: (0.2,)}), tmp_path).read_text()
    assert "one seed" in text
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["contrast"]["low"] is None


def test_the_terminals_table_fits_eighty_columns(tmp_path, capsys):
    result = planted_study(tmp_path, ERRORS)
    Console(width=80).print(verdict_table(result))
    shown = capsys.readouterr().out
    assert "…" not in shown
    for part in ("10-20-39", "30,100", "500,000", "4.0", "Deeper: at"):
        assert part in shown


def test_folders_without_a_study(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        rebuild(tmp_path / "none")
    with pytest.raises(InputError, match=r"study\.json does not exist"):
        rebuild(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "cannot be read as JSON"),
        (lambda text: text.replace("study results 1", "study results 0"), "is not a 'jaxcnn study results 1' file"),
        (lambda text: text.replace('"seed": 0', '"seed": 7'), r"does not hold the runs of its study\.json"),
        (lambda text: text.replace('"test_accuracy"', '"accuracy"'), "incomplete"),
        (lambda text: "{}", "is not a"),
    ],
)
def test_damaged_results(tmp_path, change, message):
    planted_study(tmp_path, ERRORS)
    path = tmp_path / "results.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=message):
        load_study(tmp_path)


def test_an_unfinished_study_says_so(tmp_path):
    planted_study(tmp_path, ERRORS)
    (tmp_path / "results.json").unlink()
    with pytest.raises(InputError, match="holds no finished study"):
        load_study(tmp_path)


def test_blocks_in_both_forms():
    blocks = [
        Paragraph("a *b*", lead=True),
        Table(("x", "y"), [("1|2", "3")]),
        Facts([("k", "v")]),
        Code("run ```"),
    ]
    markdown = to_markdown("T", blocks)
    assert r"**a \*b\***" in markdown
    assert r"| 1\|2 | 3 |" in markdown
    assert "````\nrun ```\n````" in markdown
    assert '<p class="lead">a *b*</p>' in to_html("T", blocks)
