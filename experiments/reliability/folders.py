"""Generated damage to what jaxcnn wrote itself: runs and their checkpoints, configurations, studies."""

import random
import re
from pathlib import Path

from damage import damage_bytes, damage_json
from scenes import READERS, STUDY, TINY, Input, Scene

DRAWN = re.compile(r"[0-9a-f]{32}")
RECORDS = ("plan.json", "tuning.json", "pilot.json", "runs.json", "costs.json")
PAGES = ("study/report.", "study/analysis.json", "study/figures/", "study/claims/")
"""What `report` writes anew."""


def run(rng: random.Random, scene: Scene) -> Input:
    """A run, finished or not, of which one file is damaged; then measured, used or trained on."""
    name = rng.choice(("run", "half"))
    folder = scene.copy(name)
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=_place)
    kept = [file for file in files if "checkpoints" in file.parts]
    # There are many more files in a checkpoint than beside it.
    file = rng.choice(rng.choice((kept, [file for file in files if file not in kept])))
    how = damage_bytes(rng, file, rng.choice([other for other in files if other != file]))
    return _of_run(rng, scene, name, f"{_short(file, folder)}: {how}", file, check=True)


def config(rng: random.Random, scene: Scene) -> Input:
    """A run with another value in one of its JSON files; then measured, used or trained on."""
    name = rng.choice(("run", "half"))
    folder = scene.copy(name)
    choices = (
        "config.json",
        "config.json",
        "config.json",
        "data.json",
        "environment.json",
        *["result.json"] * (name == "run"),
    )
    file = folder / rng.choice(choices)
    how = damage_json(rng, file, sealed=file.name == "result.json" and rng.random() < 0.5)
    # Without a result nothing says what the configuration was: other numbers are then no wonder.
    check = name == "run" and "sealed" not in how
    found = _of_run(rng, scene, name, f"{name}/{file.name}, {how}", file, check=check)
    return found._replace(names=(*found.names, how.partition(":")[0]))  # the field says enough


def _of_run(rng: random.Random, scene: Scene, name: str, about: str, file: Path, *, check: bool) -> Input:
    command, folder = rng.choice(("evaluate", "predict", "train")), scene.root / name
    if command == "train":
        argv, may, equal = ("train", *TINY, "--out", str(folder)), (f"{name}/",), "run"
    else:
        argv = tuple(word.replace("{image}", str(scene.image)) for word in READERS[command](folder))
        may, equal = (), f"{command} {name}"
    return Input(argv, _names(file, folder), f"{command}: {about}", equal=equal if check else None, may=may)


def study(rng: random.Random, scene: Scene) -> Input:
    """A study of which one file is damaged or holds another value; then reported, looked at or gone on with."""
    folder = scene.copy("study")
    if rng.random() < 0.5:
        file, sealed = folder / rng.choice(RECORDS), rng.random() < 0.6
        how, whole = damage_json(rng, file, sealed=sealed), not sealed
    else:
        inner = [file for file in sorted(folder.glob("*/*/*/seed*/*")) if file.is_file()]
        file = rng.choice(
            (*(folder / each for each in (*RECORDS, "predictions.npz", "journal.jsonl")), rng.choice(inner))
        )
        other = folder / rng.choice([name for name in RECORDS if name != file.name])
        how, whole = damage_bytes(rng, file, other), True
    command = rng.choice(("report", "report", "status", "study"))
    argv = {
        "report": READERS["report"](folder),
        "status": ("study", "status", str(folder)),
        "study": ("study", *STUDY, "--out", str(folder)),
    }[command]
    may = {"report": PAGES, "status": (), "study": ("study/",)}[command]
    # Without costs the same is reported, less a column.
    equal = "report study" if command == "report" and whole and file.name != "costs.json" else None
    return Input(argv, _names(file, folder), f"{command}: {_short(file, folder)}: {how}", equal=equal, may=may)


def _names(file: Path, folder: Path) -> tuple[str, ...]:
    """What a sentence may call a damaged file: by its name, the run it is in, or as a checkpoint."""
    inner = [part for part in file.relative_to(folder).parts[:-1] if part.startswith(("seed", "checkpoint"))]
    return (file.name, str(folder), *inner, file.stem)


def _place(file: Path) -> tuple[str, int]:
    """An order that is the same for equal runs: orbax draws the names of some files."""
    return str(file.with_name("drawn") if DRAWN.fullmatch(file.name) else file), file.stat().st_size


def _short(file: Path, folder: Path) -> str:
    return DRAWN.sub("DRAWN", f"{folder.name}/{file.relative_to(folder).as_posix()}")
