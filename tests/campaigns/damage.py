"""Damage files as disks, copies and people do, and put wrong values into JSON files."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jaxcnn.runtime.files import seal

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**40, 10**25, 0.5, -0.25, 1e308, float("nan"), float("inf"), "", " ", "abc", "1",
    "ü\u202e💥", "x" * 2000, [], [1, 2], ["a"], [[[[]]]], {}, {"a": 1}, {"": None}, [None], "../../etc", "nan",
)  # fmt: skip
"""Values that replace others: of every JSON type, and numbers that JSON does not have."""


def damage_bytes(rng: random.Random, file: Path, other: Path | None = None) -> str:
    """Damage a file in place and return how.

    Args:
        rng: Source of all choices.
        file: Changed in place.
        other: A file whose content may take its place.
    """
    content = file.read_bytes()
    ways = ["cut", "flip", "empty", "gone", "zeros", "text", "folder", "tail"] + ["swapped"] * (other is not None)
    way = rng.choice(ways if content else ["gone", "text", "folder"])
    if way in ("gone", "folder"):
        file.unlink()
        if way == "folder":
            file.mkdir()
    elif way == "swapped" and other is not None:
        shutil.copyfile(other, file)
    else:
        file.write_bytes(_changed(rng, way, content))
    return way


def _changed(rng: random.Random, way: str, content: bytes) -> bytes:
    if way == "cut":
        return content[: rng.randrange(len(content))]
    if way == "flip":
        return flip_bits(rng, content, rng.choice((1, 1, 8, 64)))
    if way == "zeros":
        start = rng.randrange(len(content))
        length = min(len(content) - start, rng.choice((16, 512, 4096)))
        return content[:start] + bytes(length) + content[start + length :]
    if way == "tail":
        return content + rng.randbytes(rng.choice((1, 100)))
    return {"empty": b"", "text": "kein JSON, kein Bild: ü\n".encode()}[way]


def flip_bits(rng: random.Random, content: bytes, count: int) -> bytes:
    """Return the content with some bits flipped."""
    flipped = bytearray(content)
    for _ in range(count):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def damage_json(rng: random.Random, file: Path, *, sealed: bool) -> str:
    """Replace, remove or add a value in a JSON file and return which.

    Args:
        rng: Source of all choices.
        file: Changed in place.
        sealed: Whether to write a seal that fits, as another program might.
    """
    record = json.loads(file.read_text())
    if rng.random() < 0.08:
        record, what = rng.choice(VALUES), "all of it"
    else:
        place, key = rng.choice([(p, k) for p, k in places(record) if k != "seal"])
        way = rng.choice(("value", "value", "value", "gone", "more"))
        what = f"{key}: {way}"
        if way == "value":
            old = place[key]
            place[key] = rng.choice([new for new in VALUES if type(new) is not type(old) or new != old])
        elif way == "gone":
            del place[key]
        elif isinstance(place, dict):
            place[rng.choice(("new", "Epochs", "", "ü"))] = rng.choice(VALUES)
        else:
            place.append(rng.choice(VALUES))
    if sealed and isinstance(record, dict):
        record["seal"] = seal(record)
        what += ", with a seal that fits"
    file.write_text(json.dumps(record, indent=1))
    return what


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key or index) of a JSON value."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from places(value)


def _linked(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def _written(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def _made(make: Callable[[Path], None], path: Path) -> Path:
    make(path)
    return path


ODD_PLACES: dict[str, Callable[[Path], Path]] = {
    "missing": lambda path: path,
    "file": lambda path: _written(path, "mine\n"),
    "empty file": lambda path: _written(path, ""),
    "empty folder": lambda path: _made(Path.mkdir, path),
    "foreign": lambda path: _written(path / "letters.txt", "mine\n").parent,
    "dangling": lambda path: _linked(path, path.with_name("nothing here")),
    "loop": lambda path: _linked(path, path),
    "fifo": lambda path: _made(os.mkfifo, path),
    "device": lambda path: Path("/dev/null"),
    "below a file": lambda path: _written(path, "mine\n") / "below",
    "nowhere": lambda path: Path("/proc/nothing/here"),
    "long": lambda path: path.with_name("long" * 80),
    "odd name": lambda path: path.with_name("new\nline \t'quoted' \"twice\" {x} %s"),
    "read only": lambda path: _made(lambda path: path.mkdir(mode=0o500), path),  # writable for the superuser
}
"""What is at a path -> create it, and return the path to use."""


def odd_place(rng: random.Random, folder: Path) -> tuple[str, Path]:
    """Create something unexpected below a folder, or nothing; return (what it is, its path)."""
    kind = rng.choice(sorted(ODD_PLACES))
    return kind, ODD_PLACES[kind](folder / rng.choice(("thing", "a b", "ünïcode-💥", "-thing", "x" * 80)))
