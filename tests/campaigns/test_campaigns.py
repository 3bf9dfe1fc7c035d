"""Both campaigns run to their end at a small size and find no fault, and their tables count what was done."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from jaxcnn.errors import InputError
from tests.campaigns import campaign, inputs, kills

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kills", "inputs"])
def test_a_small_campaign_finds_no_fault(name, tmp_path):
    command = [sys.executable, "-m", f"tests.campaigns.{name}", "--smoke", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / f"{name}.json").read_text())
    counts = dict(zip(record["columns"], record["rows"][-1], strict=True))
    if name == "kills":
        assert (counts["kills"], counts["bit-equal"], counts["wrong exits"]) == (2, counts["results"], 0)
    else:
        assert (counts["inputs"], counts["faults"]) == (10, 0)
        assert counts["refused in a sentence"] >= 2


def test_an_interrupted_campaign_resumes_and_is_not_mixed_with_another(tmp_path):
    assert campaign.open_campaign(tmp_path / "c", {"seed": 1}) == []
    campaign.append(tmp_path / "c", {"number": 0})
    with (tmp_path / "c" / "results.jsonl").open("a") as file:
        file.write('{"number": 1, "outc')  # cut by an interruption
    assert campaign.open_campaign(tmp_path / "c", {"seed": 1}) == [{"number": 0}]
    campaign.append(tmp_path / "c", {"number": 2})
    assert campaign.open_campaign(tmp_path / "c", {"seed": 1}) == [{"number": 0}, {"number": 2}]
    with pytest.raises(InputError, match="seed=1, not 2"):
        campaign.open_campaign(tmp_path / "c", {"seed": 2})


def test_the_table_of_inputs(tmp_path, capsys):
    row = {"kind": "paths", "about": "x", "separate": False, "argv": [], "output": []}
    results = [{**row, "number": 0, "outcome": "refused"}, {**row, "number": 1, "outcome": "lost a"}]
    with pytest.raises(SystemExit):
        inputs.report(replace(inputs.SMOKE, out=tmp_path), results, [])
    record = json.loads((tmp_path / "inputs.json").read_text())
    assert record["rows"][0] == ["paths", 2, 1, 0, 0, 0, 0, 1, 0, 1]
    assert record["faults"] == [results[1]]


def test_the_tables_of_kills(tmp_path, capsys):
    sent = [{"sent": True, "signal": "SIGKILL", "verdict": "killed", "phase": "training"}]
    results = [{"work": "train", "number": 0, "unkilled": None, "kills": sent, "faults": [], "differences": []}]
    kills.report(replace(kills.SMOKE, out=tmp_path), results, {"train": 1.0})
    assert json.loads((tmp_path / "kills.json").read_text())["rows"] == [["train", 1, 1, 1, 1, 0, 0, 0, 0]]
    assert json.loads((tmp_path / "kills_moments.json").read_text())["rows"] == [["training", 1]]
