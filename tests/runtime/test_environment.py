"""The record of software and hardware."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax

from jaxcnn.runtime import environment as environment_module
from jaxcnn.runtime import onednn
from jaxcnn.runtime.environment import cores, environment, versions


def test_the_record_names_versions_devices_and_flags():
    record = environment()
    assert json.loads(json.dumps(record)) == record
    assert record["versions"] == versions()
    assert record["versions"]["jax"] == jax.__version__
    assert len(record["devices"]) == jax.device_count()
    assert record["platform"] == "cpu"
    assert 1 <= record["cores"] == cores() <= os.cpu_count()
    assert record["xla_flags"] == os.environ["XLA_FLAGS"]
    assert record["convolutions"] == onednn.status()[0]


def test_the_revision_is_the_commit_and_says_if_files_differ(tmp_path: Path) -> None:
    """A clone with one commit; then with an edited file; then without its history."""
    room = tmp_path / "jaxcnn" / "runtime"
    room.mkdir(parents=True)
    shutil.copy(environment_module.__file__, room / "environment.py")
    code = "import sys; sys.path.insert(0, 'jaxcnn/runtime'); import environment; print(environment.revision())"

    def revision() -> str:
        return subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True).stdout.strip()

    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *words]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    commit = git("rev-parse", "HEAD")
    assert revision() == commit
    (room / "environment.py").write_text((room / "environment.py").read_text() + "\n")
    assert revision() == f"{commit}-dirty"
    shutil.rmtree(tmp_path / ".git")
    assert revision() == ""
