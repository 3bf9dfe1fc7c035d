"""List the functions of jaxcnn that one value passes through: `python docs/walk.py params`, `rate` or `batch`.

A profile hook looks at every call: is the value somewhere in the arguments, or does the function return a batch? With
PYTHONPATH the same script lists those of another commit: `PYTHONPATH=../before python docs/walk.py rate`.
"""

import contextlib
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

import jaxcnn
from jaxcnn.cli import main

ROOT = f"{Path(jaxcnn.__file__).parent}/"
PARAMS, RATE, BATCH = 3137, 0.0371, 37  # values that nothing else has
SMALL = ["--data", "digits", "--data.train-size", "100", "--data.augment", "crop", "--epochs", "1"]
TRAIN = ["train", *SMALL, "--quiet", "--model.depth", "8"]
COMMANDS = {
    "params": ["study", *SMALL, "--depths", "8", "14", "--params", str(PARAMS)],
    "rate": [*TRAIN, "--optimizer.learning-rate", str(RATE)],
    "batch": [*TRAIN, "--batch-size", str(BATCH)],
}
LAST = {"params": ("match_widths", 1), "rate": ("advance.<locals>.one", 2), "batch": ("advance.<locals>.one", 2)}
"""The walk ends with this return: the networks are known; the first step after compilation is done."""
DEEPEST, LONGEST = 7, 500


class Arrived(BaseException):
    """The value has reached the end of its walk."""


def holds(content: Any, value: float, depth: int = 0) -> bool:
    """Return whether a number is part of an argument: of a container, a record, a short array or a flag's text."""
    if depth > DEEPEST or isinstance(content, bool):
        return False
    if isinstance(content, int | float):
        return float(content) == value
    if isinstance(content, str):
        return content == str(value)
    if isinstance(content, list | tuple | set | dict):
        items = content.values() if isinstance(content, dict) else content
        return len(items) < LONGEST and any(holds(item, value, depth + 1) for item in items)
    if dataclasses.is_dataclass(content) or type(content).__module__.startswith("jaxcnn"):
        return (
            any(holds(item, value, depth + 1) for item in vars(content).values())
            if hasattr(content, "__dict__")
            else False
        )
    with contextlib.suppress(Exception):  # a traced array has no value
        return content.size < 5 and any(abs(float(number) - value) < 1e-6 for number in content.ravel())
    return False


def is_batch(content: Any, depth: int = 0) -> bool:
    """Return whether an argument contains an array of one batch."""
    if isinstance(shape := getattr(content, "shape", None), tuple):
        return BATCH in shape[:2]
    items = content.values() if isinstance(content, dict) else content if isinstance(content, list | tuple) else ()
    return depth < 5 and len(items) < 100 and any(is_batch(item, depth + 1) for item in items)


def walk(kind: str) -> list[tuple[str, str]]:
    """Return (file, function) in the order in which the value first enters them."""
    passed: dict[tuple[str, str], None] = {}
    end, left = LAST[kind]

    def look(frame: Any, event: str, result: Any) -> None:
        nonlocal left
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(ROOT):
            return
        name = code.co_qualname
        count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        given = [frame.f_locals.get(each) for each in (*code.co_varnames[:count], *code.co_freevars)]
        if kind == "batch":
            hit = is_batch(result) if event == "return" else is_batch(given)
        else:
            hit = event == "call" and holds(given, {"params": PARAMS, "rate": RATE}[kind])
        if hit and "<" not in name.rpartition(".")[2] and "make_eval_step" not in name:
            passed[code.co_filename.removeprefix(ROOT), name] = None
        if event == "return" and name == end:
            left -= 1
            if left == 0:
                raise Arrived

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Arrived):
        sys.setprofile(look)
        try:
            main([*COMMANDS[kind], "--out", f"{folder}/out"])
        finally:
            sys.setprofile(None)
    return list(passed)


if __name__ == "__main__":
    (chosen,) = sys.argv[1:] or ["rate"]
    found = walk(chosen)
    for number, (file, function) in enumerate(found, 1):
        print(f"{number:3} {file:32} {function}")
    print(f"{len({file for file, _ in found})} files, {len(found)} functions")
