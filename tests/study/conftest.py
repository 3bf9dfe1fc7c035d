"""One small finished study that several files look at, each in a copy of its own where it changes something."""

import shutil

import pytest


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Folder of a finished study, trained once a session; never to be changed."""
    from tests.study.small import small_study

    out = tmp_path_factory.mktemp("small") / "study"
    small_study(out)
    return out


@pytest.fixture
def copied(small, tmp_path):
    """A copy of the finished study."""
    return shutil.copytree(small, tmp_path / "copy", copy_function=shutil.copy2)
