"""Commands called as a user types them, within this process."""

from jaxcnn.cli import main

TINY = ["--model.family", "plain", "--model.depth", "3", "--model.width", "4", "--epochs", "1", "--quiet"]


def call(capsys, *arguments):
    """Return (exit code, stdout, stderr) of one command."""
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *arguments):
    """Return the sentence of a refused command."""
    code, _, error = call(capsys, *arguments)
    assert code == 2, error
    assert "Traceback" not in error
    assert error.startswith("jaxcnn: ")
    assert error.count("\n") == 1, error
    return error
