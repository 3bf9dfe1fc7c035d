"""A family of the user's own, (depth, width) -> Flax module, through a whole study and its report."""

import subprocess
import sys
from functools import partial

import pytest
from flax import linen

from jaxcnn.errors import InputError
from jaxcnn.spec import Seeds
from jaxcnn.study import match_width, write_report
from jaxcnn.study.execution.given import importable
from jaxcnn.study.result import load_study
from tests.study import families
from tests.study.families import stack
from tests.study.small import ROOT, SHAPE, environment, files, finished_runs, journal, outcome, small_study

ONE = {"seeds": Seeds(2, 2)}


def solved(family):
    return [match_width(family, depth, params=2000, tolerance=0.05, **SHAPE) for depth in (2, 4)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Folder of a finished study, trained in this process."""
    out = tmp_path_factory.mktemp("own") / "study"
    small_study(out, among=solved(stack), family=stack, **ONE)
    return out


@pytest.mark.slow
def test_its_arms_name_the_function(study):
    assert {arm.family for arm in load_study(study).plan.arms} == {"tests.study.families:stack"}
    assert sorted(journal(study)) == sorted(finished_runs(study))


@pytest.mark.slow
def test_workers_import_it_and_give_the_same_results(study, tmp_path):
    shared = small_study(tmp_path / "shared", workers=2, among=solved(stack), family=stack, **ONE)
    assert sorted(journal(shared.directory)) == sorted(finished_runs(shared.directory))
    assert outcome(shared.directory) == outcome(study)


@pytest.mark.slow
def test_it_is_reported(study, tmp_path):
    page = write_report(load_study(study), tmp_path / "report")
    assert "families:stack" in page.read_text()


@pytest.mark.slow
def test_another_function_is_refused(study):
    before = files(study)
    for family, message in (
        (families.other, "family=tests.study.families:other: the arms were solved for tests.study.families:stack"),
        (None, "family=None: the arms are of tests.study.families:stack"),
    ):
        with pytest.raises(InputError, match=message):
            small_study(study, among=solved(stack), family=family, **ONE)
    with pytest.raises(InputError, match="another plan"):
        small_study(study, among=solved(families.other), family=families.other, **ONE)
    assert files(study) == before


@pytest.mark.slow
def test_a_function_that_was_edited_since_is_refused(study, monkeypatch):
    """Same name, other modules: what is finished would not be what the function makes."""

    def edited(depth, width):
        return families.Stack(depth, width + 1)

    edited.__module__, edited.__qualname__ = stack.__module__, stack.__qualname__
    before, among = files(study), solved(stack)
    with pytest.raises(InputError, match=r"another run than this study's \(model\.fields is"):
        small_study(study, among=among, family=edited, **ONE)
    assert files(study) == before


@pytest.mark.slow
def test_a_module_that_was_edited_since_is_refused(study, monkeypatch):
    """Same class, same fields, another activation: only what it computes tells."""

    class Stack(families.Stack):
        @linen.compact
        def __call__(self, x):
            x = x.reshape(len(x), -1)
            for number in range(self.depth - 1):
                x = linen.tanh(linen.Dense(self.width, name=f"Dense_{number}")(x))
            return linen.Dense(10, name=f"Dense_{self.depth - 1}")(x)

    Stack.__module__, Stack.__qualname__ = families.Stack.__module__, families.Stack.__qualname__
    before, among = files(study), solved(stack)
    monkeypatch.setattr(families, "Stack", Stack)
    with pytest.raises(InputError, match=r"another run than this study's \(model\.computation\.training is"):
        small_study(study, among=among, family=stack, **ONE)
    assert files(study) == before


@pytest.mark.slow
def test_what_workers_cannot_import_is_refused_with_several_and_runs_with_one(tmp_path):
    anonymous = lambda depth, width: families.Stack(depth, width)  # noqa: E731
    among = solved(anonymous)
    with pytest.raises(InputError, match="worker processes cannot import it; define it at the top of a script"):
        small_study(tmp_path / "s", workers=2, among=among, family=anonymous, **ONE)
    assert not (tmp_path / "s").exists()
    # Where no number of workers was asked for, it gets the one that it can have.
    result = small_study(tmp_path / "s", workers=None, among=among, family=anonymous, **ONE)
    assert len(result.of(result.plan.arms[0])) == 2


def test_what_is_importable():
    assert importable(None)
    assert importable(stack)
    assert not importable(lambda depth, width: None)
    assert not importable(partial(stack))
    assert not importable(families.Stack(2, 3))

    def inner(depth, width):
        return None

    assert not importable(inner)


SCRIPT = """
from pathlib import Path
from jaxcnn.study import Tuning, match_width
from tests.study.families import Stack
from tests.study.small import SHAPE, small_study

def mine(depth, width):
    return Stack(depth, width)

FAMILY = {family}
{guard}
    arms = [match_width(FAMILY or "dense", depth, params=2000, tolerance=0.05, **SHAPE) for depth in (2, 4)]
    result = small_study(Path({out!r}), workers=2, among=arms, family=FAMILY, tuning=Tuning((0.1,), (1e-4,)))
    print(len(result.runs))
"""


def script(tmp_path, family, guard):
    file = tmp_path / "mine.py"
    file.write_text(SCRIPT.format(family=family, guard=guard, out=str(tmp_path / "study")))
    environs = {**environment(), "JAX_PLATFORMS": "cpu"}
    return subprocess.run(
        [sys.executable, str(file)], cwd=ROOT, env=environs, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
def test_a_family_in_a_script_needs_a_guard(tmp_path):
    """Workers import the script; without a guard, they would begin the study again."""
    done = script(tmp_path, "mine", "if True:")
    assert done.returncode == 1
    assert 'put the study under if __name__ == "__main__"' in done.stderr


@pytest.mark.slow
def test_a_script_without_a_family_needs_none(tmp_path):
    """Beginners' scripts have no `if __name__ == "__main__"`: the workers do not import them."""
    done = script(tmp_path, None, "if True:")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0
    assert done.stderr == ""
