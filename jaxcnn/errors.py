"""The one error a user causes: what the CLI turns into a sentence and exit code 2."""


class InputError(ValueError):
    """Bad input from the caller.

    The message is one sentence that names the argument, its value and the remedy. Anything else that is raised is a bug
    and keeps its traceback.
    """
