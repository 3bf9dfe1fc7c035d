"""What can happen to a file: cut off, bits turned, emptied, gone, swapped; and to a value inside a JSON file."""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcnn.runtime.files import seal

# Values where another was: of every type that JSON has, and a few that it should not have.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 3, 2**40, 10**25, 0.5, -0.25, 1e308, float("nan"), float("inf"), "", " ", "abc", "1",
    "ü\u202e💥", "x" * 2000, [], [1, 2], ["a"], [[[[]]]], {}, {"a": 1}, {"": None}, [None], "../../etc", "nan",
)  # fmt: skip


def damage_bytes(rng: random.Random, file: Path, other: Path | None = None) -> str:
    """Damage a file as disks, copies and hands do, and say how.

    Args:
        rng: Chooses.
        file: Changed where it lies.
        other: A file whose content may take its place.
    """
    held = file.read_bytes()
    ways = ["cut", "flip", "empty", "gone", "zeros", "text", "folder", "tail"] + ["swapped"] * (other is not None)
    way = rng.choice(ways if held else ["gone", "text", "folder"])
    if way in ("gone", "folder"):
        file.unlink()
        if way == "folder":
            file.mkdir()
    elif way == "swapped" and other is not None:
        shutil.copyfile(other, file)
    else:
        file.write_bytes(_changed(rng, way, held))
    return way


def _changed(rng: random.Random, way: str, held: bytes) -> bytes:
    if way == "cut":
        return held[: rng.randrange(len(held))]
    if way == "flip":
        turned = bytearray(held)
        for _ in range(rng.choice((1, 1, 8, 64))):
            turned[rng.randrange(len(turned))] ^= 1 << rng.randrange(8)
        return bytes(turned)
    if way == "zeros":
        start = rng.randrange(len(held))
        length = min(len(held) - start, rng.choice((16, 512, 4096)))
        return held[:start] + bytes(length) + held[start + length :]
    if way == "tail":
        return held + rng.randbytes(rng.choice((1, 100)))
    return {"empty": b"", "text": "kein JSON, kein Bild: ü\n".encode()}[way]


def damage_json(rng: random.Random, file: Path, *, sealed: bool) -> str:
    """Put another value into a JSON file, or take or add one, and say what.

    Args:
        rng: Chooses.
        file: Changed where it lies.
        sealed: Write the seal anew, as no accident does but another program might.
    """
    record = json.loads(file.read_text())
    if rng.random() < 0.08:
        record, said = rng.choice(VALUES), "all of it"
    else:
        place, key = rng.choice([(p, k) for p, k in places(record) if k != "seal"])
        way = rng.choice(("value", "value", "value", "gone", "more"))
        said = f"{key}: {way}"
        if way == "value":
            place[key] = rng.choice([value for value in VALUES if not _same(value, place[key])])
        elif way == "gone":
            del place[key]
        elif isinstance(place, dict):
            place[rng.choice(("new", "Epochs", "", "ü"))] = rng.choice(VALUES)
        else:
            place.append(rng.choice(VALUES))
    if sealed and isinstance(record, dict):
        record["seal"] = seal(record)
        said += ", sealed anew"
    file.write_text(json.dumps(record, indent=1))
    return said


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key or index) of a JSON value."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from places(value)


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def odd_place(rng: random.Random, folder: Path) -> tuple[str, Path]:
    """Something at a path that is not what a command looks for there: (what it is, the path)."""
    kind = rng.choice(("missing", "file", "empty file", "empty folder", "foreign", "dangling", "loop", "fifo", "device",
                       "below a file", "nowhere", "long", "odd name", "read only"))  # fmt: skip
    path = folder / rng.choice(("thing", "a b", "ünïcode-💥", "-thing", "x" * 80))
    if kind in ("file", "below a file"):
        path.write_text("mine\n")
        path = path / "below" if kind == "below a file" else path
    elif kind == "empty file":
        path.touch()
    elif kind in ("empty folder", "foreign"):
        path.mkdir()
        if kind == "foreign":
            (path / "letters.txt").write_text("mine\n")
    elif kind in ("dangling", "loop"):
        path.symlink_to(path if kind == "loop" else folder / "nothing here")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "read only":
        path.mkdir(mode=0o500)  # The superuser may write there all the same.
    elif kind == "odd name":
        path = folder / "new\nline \t'quoted' \"twice\" {x} %s"
    special = {"device": "/dev/null", "nowhere": "/proc/nothing/here", "long": f"{folder}/{'long' * 80}"}
    return kind, Path(special.get(kind, path))
