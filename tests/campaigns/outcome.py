"""Judge how a command treated an input: refused in one sentence, accepted without harm, or a fault."""

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcnn.cli.entry import DIVERGED
from tests.campaigns.compare import without_times
from tests.campaigns.scene import Input, Scene, plain_text

REFUSED, PARSER, ACCEPTED, WORKING = "refused", "refused by the parser", "accepted", "still working"
WARNED = "accepted with a warning"
OUTCOMES = (REFUSED, PARSER, ACCEPTED, WARNED, WORKING)
"""Every other outcome describes a fault."""

TRACEBACK = "Traceback (most recent call last)"
# A sentence that says what to do holds one of these words.
REMEDY = re.compile(
    r"\b(choose|give|set|use|save|write|check|run|train|add|leave|move|call|name|put|free|number|needs?|must|restore|"
    r"delete|remove|replace|install|between|at least|did you mean|nearest|expected|sort|keep|make|begin|export|point|"
    r"try|one is|lower|raise|reduce|rename|copy|resume|start|fix)\b"
)


def snapshot(folder: Path) -> dict[str, str]:
    """Return everything below a folder by path: the SHA-256 of a file, a link's target, another file's type."""
    found = {}
    for here, folders, names in os.walk(folder):
        for path in (Path(here, name) for name in (*folders, *names)):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                content = os.readlink(path) if stat.S_ISLNK(mode) else oct(stat.S_IFMT(mode))
            found[path.relative_to(folder).as_posix()] = content
    return found


def judge(given: Input, scene: Scene, code: int, out: str, error: str, before: Mapping[str, str]) -> str:
    """Return one of `OUTCOMES`, or a fault.

    Args:
        given: The input.
        scene: Where it was tried.
        code: The exit code.
        out: Text on stdout.
        error: Text on stderr.
        before: `snapshot` of the scene before the command.
    """
    if TRACEBACK in error or TRACEBACK in out:
        return f"a traceback: {error.strip().splitlines()[-1][:200]}" if error.strip() else "a traceback"
    diverged = code == DIVERGED and "diverged" in error
    if code not in (0, 2) and not diverged:
        return f"exit code {code}"
    if fault := damage(before, snapshot(scene.root), () if code == 2 else given.writable):
        return fault
    if diverged:
        return ACCEPTED  # a learning rate that large is valid, and the command reported what came of it
    if code == 0:
        return acceptance(given, scene, out, error)
    return leftover(before, scene.root) or refusal(given, error)


def refusal(given: Input, error: str) -> str:
    """Judge whether a refusal is one sentence that names the input and says what to do."""
    lines = [line for line in error.splitlines() if line.strip()]
    named = any(name and name in error for name in given.names)
    sentences = sum(line.startswith("jaxcnn: ") for line in lines)
    if not sentences:
        if not any(mark in error for mark in ("╭", "Parsing error", "Unrecognized", "Required options")):
            return "no sentence"
        unknown = any(f"Unrecognized options: {word} " in error for word in given.argv)
        return PARSER if named or unknown else "the parser names nothing"
    if sentences > 1 or not lines[-1].startswith("jaxcnn: "):
        return "more than one line"
    if not named:
        return "the sentence names nothing that was given"
    return REFUSED if REMEDY.search(lines[-1]) else "the sentence has no remedy"


def acceptance(given: Input, scene: Scene, out: str, error: str) -> str:
    """Judge whether an accepted input is valid and gives the result of the undamaged one, or warns that it does not."""
    if given.invalid:
        return "accepted an invalid input"
    if given.reference is None:
        return ACCEPTED
    if given.reference == "run":
        same = _result(scene.root / given.writable[0]) == _result(scene.templates / "run")
        return ACCEPTED if same else "accepted, with another result"
    if plain_text(out, scene.root / given.reference.split()[1]) == scene.expected[given.reference]:
        return ACCEPTED
    warned = "Warning: " in error and any(name in error for name in given.names)
    return WARNED if warned else "accepted, with other numbers"


def damage(before: Mapping[str, str], after: Mapping[str, str], writable: tuple[str, ...]) -> str:
    """Name a file that was lost, moved or changed though it is not writable; return "" where there is none."""
    new = {content for name, content in after.items() if name not in before}
    for name, content in before.items():
        if after.get(name) != content and not any(name.startswith(start) or f"{name}/" == start for start in writable):
            return f"{'changed' if name in after else 'moved' if content in new else 'lost'} {name}"
    return ""


def leftover(before: Mapping[str, str], root: Path) -> str:
    """Name a run or study that a refused command left behind, which would block the corrected command."""
    for file in (*root.rglob("config.json"), *root.rglob("plan.json")):
        name = file.relative_to(root).as_posix()
        if name not in before and not any(known.endswith(("/plan.json", "/config.json")) for known in before):
            return f"refused, and left {name}"
    return ""


def _result(run: Path) -> tuple[object, dict[str, bytes]]:
    record = json.loads((run / "result.json").read_text())
    with np.load(run / "predictions.npz", allow_pickle=False) as arrays:
        return without_times(record), {name: arrays[name].tobytes() for name in arrays.files}
