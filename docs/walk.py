"""List the functions of jaxcnn that one value passes through: `python docs/walk.py KIND`.

KIND is params (a budget of `jaxcnn study --params`), rate (a learning rate of `jaxcnn train`), batch (the arrays of one
training batch) or run (all functions of jaxcnn.run and jaxcnn.train that one training calls). A profile hook looks at
every call: is the value somewhere in the arguments, in the object of a method or in a closure? With PYTHONPATH the
script lists the functions of another checkout: `PYTHONPATH=../before python docs/walk.py rate`.
"""

import contextlib
import dataclasses
import itertools
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxcnn
from jaxcnn.cli import main

ROOT = f"{Path(jaxcnn.__file__).parent}/"
PARAMS, RATE, BATCH = 3137, 0.0371, 37  # values that nothing else has
DATA = ["--data", "digits", "--data.train-size", "100", "--data.augment", "crop", "--epochs", "1"]
TRAIN = ["train", *DATA, "--quiet", "--model.depth", "8", "--optimizer.learning-rate", str(RATE)]
COMMANDS = {
    "params": ["study", *DATA, "--depths", "8", "14", "--params", str(PARAMS)],
    "rate": TRAIN,
    "batch": [*TRAIN, "--batch-size", str(BATCH)],
    "run": TRAIN,
}
FIRST_STEP = ("advance.<locals>.one", 2)
LAST = {"params": ("match_widths", 1), "rate": FIRST_STEP, "batch": FIRST_STEP, "run": ("", 1)}
"""The walk ends with this return of a function: all widths are known; the first step after compilation is done."""
DEEPEST, LONGEST = 7, 500


class Arrived(BaseException):
    """The value has reached the end of its walk."""


def holds(content: Any, value: float, depth: int = 0) -> bool:
    """Return whether a number is part of a value: of a container, a record, a short array or the text of a flag."""
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
        return any(holds(item, value, depth + 1) for item in getattr(content, "__dict__", {}).values())
    with contextlib.suppress(Exception):  # a traced array has no value
        return content.size < 5 and any(abs(float(number) - value) < 1e-6 for number in content.ravel())
    return False


def is_batch(content: Any, depth: int = 0) -> bool:
    """Return whether an array of one batch is part of a value."""
    if isinstance(shape := getattr(content, "shape", None), tuple):
        return BATCH in shape[:2]
    items = content.values() if isinstance(content, dict) else content if isinstance(content, list | tuple) else ()
    return depth < 5 and len(items) < 100 and any(is_batch(item, depth + 1) for item in items)


def is_passed(kind: str, file: str, event: str, given: Callable[[], list[Any]], result: Any) -> bool:
    """Return whether a call gets the value, or returns a batch."""
    if kind == "batch":
        return is_batch(result) if event == "return" else is_batch(given())
    if kind == "run":
        return file.startswith(("run/", "train/"))
    return event == "call" and holds(given(), PARAMS if kind == "params" else RATE)


def walk(kind: str) -> list[tuple[str, str]]:
    """Return (file, function) in the order in which the value first enters them."""
    passed: dict[tuple[str, str], None] = {}
    end, left = LAST[kind]

    def look(frame: Any, event: str, result: Any) -> None:
        nonlocal left
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(ROOT):
            return

        def given() -> list[Any]:
            count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
            return [frame.f_locals.get(each) for each in (*code.co_varnames[:count], *code.co_freevars)]

        file, name = code.co_filename.removeprefix(ROOT), code.co_qualname
        named = "<" not in name.rpartition(".")[2]  # no lambdas, no comprehensions
        if (
            named
            and not (kind == "batch" and _evaluates(frame))
            and (file, name) not in passed
            and is_passed(kind, file, event, given, result)
        ):
            passed[file, name] = None
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


def _evaluates(frame: Any) -> bool:
    """Return whether a call belongs to the evaluation step, which compiles before the first training step."""
    while frame is not None:
        if "make_eval_step.<locals>" in frame.f_code.co_qualname:
            return True
        frame = frame.f_back
    return False


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    if chosen not in COMMANDS:
        sys.exit(f"kind={chosen!r}: choose {', '.join(COMMANDS)}")
    steps = walk(chosen)
    for file, group in itertools.groupby(steps, key=lambda step: step[0]):
        functions = ", ".join(function.replace("<locals>.", "") for _, function in group)
        print(textwrap.fill(f"{file.removesuffix('.py'):28} {functions}", 120, subsequent_indent=" " * 29))
    print(f"{len({file for file, _ in steps})} files, {len(steps)} functions")
