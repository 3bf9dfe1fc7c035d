"""Write recorded tables into docs/benchmarks.md and docs/reliability.md, between two marks that name the record.

python docs/tables.py                                    rewrite both pages from the records in docs/PAGE/
python docs/tables.py benchmarks runs/benchmarks         first store the records of a folder
python docs/tables.py reliability runs/kills runs/inputs
"""

import json
import re
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from experiments.benchmarks.table import markdown  # noqa: E402

PAGES = ("benchmarks", "reliability")
MARK = re.compile(r"<!-- (\w+)\.json -->\n(.*?)<!-- end -->", re.DOTALL)


def fill(page: str, records: dict[str, dict]) -> str:
    """Return the page with a table of its record between each pair of marks.

    Raises:
        SystemExit: The page has no marks for a record.
    """
    if missing := sorted(set(records) - {match[1] for match in MARK.finditer(page)}):
        sys.exit(
            f"{missing[0]}.json: the page has no place for it; add the marks <!-- {missing[0]}.json --> <!-- end -->"
        )

    def table(match: re.Match[str]) -> str:
        name, record = match[1], records.get(match[1])
        content = "Not measured yet." if record is None else f"**{record['title']}**\n\n{markdown(record)}"
        return f"<!-- {name}.json -->\n\n{content}\n\n<!-- end -->"

    return MARK.sub(table, page)


def read_records(folder: Path) -> dict[str, dict]:
    """Return the records of a folder by name: its JSON files that hold a table."""
    found = {file.stem: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    return {name: record for name, record in found.items() if "columns" in record}


def main() -> None:
    """Store the records that are named on the command line, then write both pages."""
    page, *folders = sys.argv[1:] or [""]
    if page and page not in PAGES:
        sys.exit(f"page {page!r}: unknown; choose one of {', '.join(PAGES)}")
    for folder in map(Path, folders):
        for name in read_records(folder):
            (DOCS / page / f"{name}.json").write_bytes((folder / f"{name}.json").read_bytes())
    for name in PAGES:
        file = DOCS / f"{name}.md"
        file.write_text(fill(file.read_text(), read_records(DOCS / name)))


if __name__ == "__main__":
    main()
