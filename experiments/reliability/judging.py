"""How a command met an input: refused in one sentence, accepted without harm, or one of the faults there can be."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from finals import plain as unclocked
from scenes import Input, Scene, plain

from jaxcnn.cli import entry

REFUSED, PARSER, ACCEPTED, WORKING = "refused", "refused by the parser", "accepted", "still working"
WARNED = "accepted with a warning"
OUTCOMES = (REFUSED, PARSER, ACCEPTED, WARNED, WORKING)
"""Every other outcome is a fault, in words."""

DIVERGED: int = getattr(entry, "DIVERGED", 3)
TRACEBACK = "Traceback (most recent call last)"
# A sentence that names a remedy holds one of these, whatever else it says.
REMEDY = re.compile(
    r"\b(choose|give|set|use|save|write|check|run|train|add|leave|move|call|name|put|free|number|needs?|must|restore|"
    r"delete|remove|replace|install|between|at least|did you mean|nearest|expected|sort|keep|make|begin|export|point|"
    r"try|one is|lower|raise|reduce|rename|copy)\b"
)


def snapshot(folder: Path) -> dict[str, str]:
    """Everything below a folder by name: what it is and, of a file, the SHA-256 of its content."""
    found = {}
    for here, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(here, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                with open(path, "rb") as file:
                    what = hashlib.sha256(file.read()).hexdigest()
            else:
                what = os.readlink(path) if stat.S_ISLNK(mode) else oct(stat.S_IFMT(mode))
            found[os.path.relpath(path, folder).replace(os.sep, "/")] = what
    return found


def judge(asked: Input, scene: Scene, code: int, said: tuple[str, str], before: Mapping[str, str]) -> str:
    """One of `OUTCOMES`, or a fault.

    Args:
        asked: The input.
        scene: Where it was tried.
        code: The exit code.
        said: What was printed: (stdout, stderr).
        before: `snapshot` of the scene before.
    """
    out, error = said
    if TRACEBACK in error or TRACEBACK in out:
        return f"a traceback: {error.strip().splitlines()[-1][:200]}" if error.strip() else "a traceback"
    diverged = code == DIVERGED and "diverged" in error
    if code not in (0, 2) and not diverged:
        return f"exit code {code}"
    if fault := harm(before, snapshot(scene.root), () if code == 2 else asked.may):
        return fault
    if diverged:
        return ACCEPTED  # A rate so large is no error of the input, and the training said what came of it.
    if code == 0:
        return accepted(asked, scene, out, error)
    if fault := litter(before, scene.root):
        return fault
    return refused(asked, error)


def refused(asked: Input, error: str) -> str:
    """Whether a refusal is one sentence that names what and how to mend it."""
    lines = [line for line in error.splitlines() if line.strip()]
    named = any(name and name in error for name in asked.names)
    if not any(line.startswith("jaxcnn: ") for line in lines):
        if not any(mark in error for mark in ("╭", "Parsing error", "Unrecognized", "Required options")):
            return "no sentence"
        unknown = any(f"Unrecognized options: {word} " in error for word in asked.argv)  # however short the word
        return PARSER if named or unknown else "the parser names nothing"
    if not lines[-1].startswith("jaxcnn: ") or sum(line.startswith("jaxcnn: ") for line in lines) > 1:
        return "more than one line"
    if not named:
        return "the sentence names nothing that was given"
    return REFUSED if REMEDY.search(lines[-1]) else "the sentence has no remedy"


def accepted(asked: Input, scene: Scene, out: str, error: str) -> str:
    """Whether it may be accepted, and gave what an undamaged one gives; else a warning must say that it did not."""
    if asked.must:
        return "accepted what cannot be"
    if asked.equal == "run":
        folder = scene.root / asked.may[0]
        return ACCEPTED if _result(folder) == _result(scene.templates / "run") else "accepted, with another result"
    if asked.equal is not None:
        folder = scene.root / asked.equal.split()[1]
        if plain(out, folder) == scene.expected[asked.equal]:
            return ACCEPTED
        warned = "Warning: " in error and any(name in error for name in asked.names)
        return WARNED if warned else "accepted, with other numbers"
    return ACCEPTED


def harm(before: Mapping[str, str], after: Mapping[str, str], may: tuple[str, ...]) -> str:
    """A file that was there and is gone, elsewhere or another, in words; empty where there is none."""
    new = {what for name, what in after.items() if name not in before}
    for name, what in before.items():
        if after.get(name) != what and not any(name.startswith(start) or f"{name}/" == start for start in may):
            return f"{'changed' if name in after else 'moved' if what in new else 'lost'} {name}"
    return ""


def litter(before: Mapping[str, str], root: Path) -> str:
    """A run or study that a refusal left behind, so that the command, once mended, finds its folder taken."""
    for file in (*root.rglob("config.json"), *root.rglob("plan.json")):
        name = file.relative_to(root).as_posix()
        if name not in before and not any(known.endswith(("/plan.json", "/config.json")) for known in before):
            return f"refused, and left {name}"
    return ""


def _result(folder: Path) -> tuple[object, dict[str, bytes]]:
    record = json.loads((folder / "result.json").read_text())
    with np.load(folder / "predictions.npz", allow_pickle=False) as arrays:
        return unclocked(record), {name: arrays[name].tobytes() for name in arrays.files}
