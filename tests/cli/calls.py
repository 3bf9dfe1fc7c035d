"""Commands called as a user types them, within this process."""

from jaxcnn.cli import main


def call(capsys, *arguments):
    """(exit code, stdout, stderr) of one command."""
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *arguments):
    """The sentence of a refused command."""
    code, _, error = call(capsys, *arguments)
    assert code == 2, error
    assert "Traceback" not in error
    assert error.startswith("jaxcnn: ")
    assert error.count("\n") == 1, error
    return error
