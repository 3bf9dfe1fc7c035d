"""The one error a user causes: what the CLI turns into a sentence and exit code 2."""


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


def printable(text: str) -> str:
    r"""Return text as one printable line; control characters and undecodable bytes of file names are escaped.

    >>> printable("a\nb.png")
    'a\\nb.png'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
