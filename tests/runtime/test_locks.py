"""Advisory locks."""

import os
import subprocess
import sys

from jaxcnn.runtime.files import locked

TRY = """
import sys
from pathlib import Path
from jaxcnn.runtime.files import locked
with locked(Path(sys.argv[1])) as acquired:
    print(acquired)
"""


def acquired_elsewhere(path):
    done = subprocess.run([sys.executable, "-c", TRY, str(path)], capture_output=True, text=True, check=True)
    return done.stdout == "True\n"


def test_one_holder_at_a_time(tmp_path):
    with locked(tmp_path) as first, locked(tmp_path) as second:
        assert (first, second) == (True, False)
        assert not acquired_elsewhere(tmp_path)
    assert acquired_elsewhere(tmp_path)


def test_a_lock_file_is_made(tmp_path):
    with locked(tmp_path / "a.lock", os.O_RDWR | os.O_CREAT) as acquired:
        assert acquired
    assert (tmp_path / "a.lock").exists()
