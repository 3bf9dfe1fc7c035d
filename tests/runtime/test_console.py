"""What is printed fits the console: columns go by importance, and no number is cut."""

import io

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcnn.cli import output
from jaxcnn.runtime import console as consoles
from jaxcnn.runtime.console import print_fitting
from jaxcnn.train.log import Bar

NUMBERS = {"depth": "26", "width": "16-32-64-128-128", "parameters": "27,021,123", "MACs": "1,234,567,890", "runs": "8"}


def table(without):
    made = Table()
    names = [name for name in NUMBERS if name not in without]
    for name in names:
        made.add_column(name, no_wrap=True, min_width=len(NUMBERS[name]))
    made.add_row(*(Text(NUMBERS[name]) for name in names))
    return made


def printed(width, terminal, drop=("runs", "MACs", "parameters")):
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_fitting(table, drop, console)
    return console.file.getvalue()


def test_a_wide_terminal_and_a_pipe_show_everything():
    for text in (printed(120, True), printed(20, False)):
        assert all(value in text for value in NUMBERS.values())
        assert "…" not in text


GONE = ["runs", "MACs", "parameters"]


@pytest.mark.parametrize(("width", "gone"), [(62, GONE[:1]), (50, GONE[:2]), (40, GONE)])
def test_a_narrow_terminal_leaves_columns_out_and_says_which(width, gone):
    lines = printed(width, True).splitlines()
    assert lines[-1] == f"a wider terminal shows: {', '.join(gone)}"
    assert max(map(len, lines[:-1])) <= width
    for name in NUMBERS:
        assert any(name in line for line in lines[:-1]) == (name not in gone)


def test_what_cannot_be_left_out_is_not_cut():
    assert "16-32-64-128-128" in printed(15, True)


def test_tables_of_commands_are_whole_when_piped(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    output.print_table([("a" * 60, "1,234,567", "words " * 20)], ("name", "number", "meaning"), drop=("number",))
    text = capsys.readouterr().out
    assert "a" * 60 in text
    assert "1,234,567" in text
    assert text.count("words") == 20


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("name", ["digits seed 0", "a data set of a long name seed 12"])
def test_a_progress_bar_stays_on_one_line_with_whole_numbers(width, name):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with Bar(12_000, 0, name, console=console) as bar:
        bar.show(3456, {"loss": 1.2345, "accuracy": 0.9876}, 12_345)
        bar.refresh()
        line = bar.make_tasks_table(bar.tasks)
        assert consoles.measured(console, line).maximum <= width
    text = console.file.getvalue()
    assert "…" not in text
    assert "3456/12000" in text
    assert "loss 1.2345  acc 0.9876" in text
    assert ("12,345 im/s" in text) == (width > 120)


def test_a_narrow_terminal_wraps_words_and_cuts_none(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "44")
    monkeypatch.setenv("FORCE_COLOR", "1")
    rows = [("unfinished", "resnet of 20 layers", "20/3000", "0.9233"), ("finished", "plain 3x4", "12/24", "0.8533")]
    output.print_table(rows, ("state", "model", "epochs", "valid acc"), drop=("epochs",))
    text = capsys.readouterr().out
    for part in ("unfinished", "resnet", "layers", "0.9233", "a wider terminal shows: epochs"):
        assert part in text
    assert "…" not in text
