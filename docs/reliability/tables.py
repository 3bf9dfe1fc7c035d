"""Show the campaigns' records in docs/reliability.md: each table between two marks that name its file.

python docs/reliability/tables.py                             write the tables of the JSON files beside this script
python docs/reliability/tables.py runs/reliability/kills      take the records of that campaign first
"""

import json
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "reliability.md"
sys.path.insert(0, str(HERE.parents[1] / "experiments" / "benchmarks"))

from table import markdown  # noqa: E402

MARK = re.compile(r"<!-- (\w+)\.json -->\n(.*?)<!-- end -->", re.DOTALL)


def fill(page: str, records: dict[str, dict]) -> str:
    """The page with what stands between its marks replaced.

    Raises:
        SystemExit: A record that the page has no marks for.
    """
    if homeless := sorted(set(records) - {match[1] for match in MARK.finditer(page)}):
        sys.exit(f"docs/reliability.md has no place for {homeless[0]}.json; give it marks there")

    def table(match: re.Match[str]) -> str:
        name, record = match[1], records.get(match[1])
        content = "Not measured yet." if record is None else f"**{record['title']}**\n\n{markdown(record)}"
        return f"<!-- {name}.json -->\n\n{content}\n\n<!-- end -->"

    return MARK.sub(table, page)


def stored() -> dict[str, dict]:
    """Name -> record of every JSON file here."""
    return {file.stem: json.loads(file.read_text()) for file in sorted(HERE.glob("*.json"))}


def records_in(folder: Path) -> list[Path]:
    """A campaign's records: its JSON files that hold a table."""
    return [file for file in sorted(folder.glob("*.json")) if "columns" in json.loads(file.read_text())]


def main() -> None:
    """Take what is named, then write the page."""
    for folder in map(Path, sys.argv[1:]):
        for file in records_in(folder):
            shutil.copyfile(file, HERE / file.name)
    PAGE.write_text(fill(PAGE.read_text(), stored()))


if __name__ == "__main__":
    main()
