"""Damage what jaxcnn wrote itself: runs and their checkpoints, configurations, studies."""

import random
import re
from pathlib import Path

from tests.campaigns.damage import damage_bytes, damage_json
from tests.campaigns.scene import STUDY, TINY, Input, Scene, reader

RANDOM_NAME = re.compile(r"[0-9a-f]{32}")
RECORDS = ("plan.json", "tuning.json", "pilot.json", "runs.json", "costs.json")
REPORT_FILES = ("study/report.", "study/analysis.json", "study/runs.csv", "study/figures/", "study/claims/")
"""What `report` writes."""


def run(rng: random.Random, scene: Scene) -> Input:
    """Damage one file of a finished or unfinished run, then evaluate it, predict with it or resume it."""
    name = rng.choice(("run", "half"))
    folder = scene.copy(name)
    files = sorted((file for file in folder.rglob("*") if file.is_file()), key=_order)
    checkpoints = [file for file in files if "checkpoints" in file.parts]
    # A checkpoint has many more files than the rest of the run.
    file = rng.choice(rng.choice((checkpoints, [file for file in files if file not in checkpoints])))
    way = damage_bytes(rng, file, rng.choice([other for other in files if other != file]))
    return _use(rng, scene, name, f"{_short(file, folder)}: {way}", file, (), check=True)


def config(rng: random.Random, scene: Scene) -> Input:
    """Put another value into one of a run's JSON files, then evaluate it, predict with it or resume it."""
    name = rng.choice(("run", "half"))
    folder = scene.copy(name)
    names = ("config.json", "config.json", "config.json", "data.json", "environment.json")
    file = folder / rng.choice((*names, *["result.json"] * (name == "run")))
    what = damage_json(rng, file, sealed=file.name == "result.json" and rng.random() < 0.5)
    # Without a result nothing records what the configuration was, so that other numbers are right.
    check, field = name == "run" and "seal" not in what, what.partition(":")[0]
    return _use(rng, scene, name, f"{name}/{file.name}, {what}", file, (field,), check=check)


def _use(
    rng: random.Random, scene: Scene, name: str, about: str, file: Path, names: tuple[str, ...], *, check: bool
) -> Input:
    """Return a command that reads or resumes the damaged run; `check` holds it to the undamaged run's result."""
    command, folder = rng.choice(("evaluate", "predict", "train")), scene.root / name
    argv, reference, writable = reader("evaluate", folder, scene.image), f"{command} {name}", ()
    if command == "train":
        argv, reference, writable = ("train", *TINY, "--out", str(folder)), "run", (f"{name}/",)
    elif command == "predict":
        argv = reader("predict", folder, scene.image)
    names = (*_names(file, folder), *names)
    return Input(argv, names, f"{command}: {about}", reference=reference if check else None, writable=writable)


def study(rng: random.Random, scene: Scene) -> Input:
    """Damage one file of a study, or a value in it, then report it, look at it or resume it."""
    folder = scene.copy("study")
    if rng.random() < 0.5:
        file, sealed = folder / rng.choice(RECORDS), rng.random() < 0.6
        what, detectable = damage_json(rng, file, sealed=sealed), not sealed
    else:
        inner = [file for file in sorted(folder.glob("*/*/*/seed*/*")) if file.is_file()]
        outer = [folder / name for name in (*RECORDS, "predictions.npz", "journal.jsonl")]
        file = rng.choice((*outer, rng.choice(inner)))
        other = folder / rng.choice([name for name in RECORDS if name != file.name])
        what, detectable = damage_bytes(rng, file, other), True
    command = rng.choice(("report", "report", "status", "study"))
    argv, writable = {
        "report": (reader("report", folder, scene.image), REPORT_FILES),
        "status": (("study", "status", str(folder)), ()),
        "study": (("study", *STUDY, "--out", str(folder)), ("study/",)),
    }[command]
    # Without costs the report only lacks a column.
    reference = "report study" if command == "report" and detectable and file.name != "costs.json" else None
    about = f"{command}: {_short(file, folder)}: {what}"
    return Input(argv, _names(file, folder), about, reference=reference, writable=writable)


def _names(file: Path, folder: Path) -> tuple[str, ...]:
    """Return what a message may call a damaged file: its name, its run or its checkpoint."""
    inner = [part for part in file.relative_to(folder).parts[:-1] if part.startswith(("seed", "checkpoint"))]
    return (file.name, str(folder), *inner, file.stem)


def _order(file: Path) -> tuple[str, int]:
    """Return a sort key that is equal for equal runs: Orbax draws the names of some files."""
    return str(file.with_name("drawn") if RANDOM_NAME.fullmatch(file.name) else file), file.stat().st_size


def _short(file: Path, folder: Path) -> str:
    return RANDOM_NAME.sub("DRAWN", f"{folder.name}/{file.relative_to(folder).as_posix()}")
