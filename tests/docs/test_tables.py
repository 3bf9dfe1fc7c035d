"""The pages of benchmarks and reliability show the tables of their records."""

import runpy

import pytest

from tests.docs.pages import DOCS

TABLES = runpy.run_path(str(DOCS / "tables.py"))


@pytest.mark.parametrize("page", TABLES["PAGES"])
def test_a_page_shows_its_records(page):
    text = (DOCS / f"{page}.md").read_text()
    assert TABLES["fill"](text, TABLES["read_records"](DOCS / page)) == text, "run python docs/tables.py"


def test_a_record_without_a_place_is_refused():
    record = {"title": "T", "columns": ["a"], "rows": [[1]], "environment": {}}
    assert "**T**" in TABLES["fill"]("<!-- new.json -->\n<!-- end -->", {"new": record})
    with pytest.raises(SystemExit, match=r"new\.json: the page has no place for it"):
        TABLES["fill"]("no marks", {"new": record})
