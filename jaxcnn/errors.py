"""The one error a user causes: what the CLI turns into a sentence and exit code 2."""

import difflib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class InputError(ValueError):
    """Bad input from the caller.

    The message is one sentence that names the argument, its value and the remedy. Anything else that is raised is a bug
    and keeps its traceback.
    """


def require(holds: bool, name: str, value: object, remedy: str) -> None:
    """Refuse an argument unless a condition holds.

    Raises:
        InputError: It does not; the message is "name=value: remedy".

    >>> require(2 > 0, "epochs", 2, "must be at least 1")
    """
    if not holds:
        raise InputError(f"{name}={value}: {remedy}")


def did_you_mean(names: Sequence[str]) -> str:
    """Return suggestions as the end of a message, empty if there are none.

    >>> did_you_mean(["digits", "glyphs"])
    '; did you mean digits or glyphs?'
    """
    return f"; did you mean {' or '.join(names)}?" if names else ""


def similar_paths(path: Path) -> str:
    """Return the paths beside a missing one whose names are similar, as `did_you_mean` words them."""
    near: list[str] = []
    with suppress(OSError):
        near = [] if path.exists() else difflib.get_close_matches(path.name, os.listdir(path.parent), n=3)
    return did_you_mean([str(path.parent / name) for name in near])


def missing_extra(argument: str, package: str, extra: str) -> InputError:
    """Return the error for a package of an extra that is not installed; jaxcnn is installed from a clone."""
    return InputError(
        f"{argument}: {package} is not installed; run pip install -c constraints.txt -e '.[{extra}]' in your clone of "
        "jaxcnn"
    )


def printable(text: str) -> str:
    r"""Return text as one printable line; control characters and undecodable bytes of file names are escaped.

    >>> printable("a\nb.png")
    'a\\nb.png'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
