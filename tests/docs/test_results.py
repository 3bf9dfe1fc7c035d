"""What docs/results holds can be made again by whoever reads it."""

import json
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLANS = sorted((ROOT / "docs" / "results").rglob("plan.json"))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: str(plan.parent.relative_to(ROOT / "docs" / "results")))
def test_the_command_of_a_study_is_one_of_this_repository(plan):
    """No path of the machine that it ran on: a script here, with folders below the one it is started in."""
    words = shlex.split(json.loads(plan.read_text())["command"])
    if words[0] == "python":
        assert words[1].startswith("experiments/")
        assert (ROOT / words[1]).is_file()
    else:
        assert words[0] == "jaxcnn"
    assert not [word for word in words if word.startswith(("/", "~", ".."))]
