"""The architecture page lists every file of jaxcnn, and every file, name and counted list on it exists."""

import re

from tests.docs.pages import DOCS, ROOT, blocks

PAGE = DOCS / "architecture.md"


def test_the_list_of_files_is_complete():
    text = PAGE.read_text().split("## Files\n")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `([\w/]+\.py)` \|", text, re.MULTILINE)
    package = ROOT / "jaxcnn"
    files = {file.relative_to(package).as_posix() for file in package.rglob("*.py") if not file.name.startswith("__")}
    assert len(listed) == len(set(listed)), "a file is listed twice"
    assert set(listed) == files


def test_every_file_that_the_page_names_exists():
    text = PAGE.read_text().split("## A walk")[0]
    for path in re.findall(r"`((?:[\w.]+/)*[\w.]+(?:\.py|/))`", text):
        places = (ROOT / path, ROOT / "jaxcnn" / path, ROOT / "jaxcnn" / "study" / "execution" / path)
        assert any(place.exists() for place in places), path


def test_every_function_that_the_page_names_exists():
    files = [*(ROOT / "jaxcnn").rglob("*.py"), ROOT / "tests" / "docs" / "task_sketches.py"]
    source = "\n".join(file.read_text() for file in files)
    text = PAGE.read_text().split("## A walk")[0]
    for fence in ("text", "python", "sh", "{literalinclude}"):
        for block in blocks(PAGE, fence):
            text = text.replace(block.text, "")
    for name in set(re.findall(r"`(?:\w+\.)*([A-Za-z_]\w+)(?:\([^`]*\))?`", text)):
        assert re.search(rf"\b{name}\b", source), name
