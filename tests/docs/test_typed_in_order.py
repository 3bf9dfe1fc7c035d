"""The README and the start page, typed from top to bottom in one folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.docs.pages import ROOT, blocks

LARGE = ("mnist", "cifar10", "fashion_mnist")
SMALL = {
    "train": ["--epochs", "1", "--data.train-size", "256"],
    "study": ["--model.family", "dense", "--depths", "2", "4", "--params", "27000", "--tolerance", "0.1",
              "--epochs", "1", "--data.train-size", "256", "--tuning.learning-rates", "0.1",
              "--tuning.weight-decays", "1e-4", "--seeds.pilot", "1", "--seeds.cap", "1"],
    "script": ["--smoke"],
}  # fmt: skip
"""What makes a long line short: the last of two equal flags counts."""
ELSEWHERE = ("pip", "pytest")
"""Commands about the installation, which the suite itself stands for."""


def shell_lines(text: str) -> list[list[str]]:
    """Return the commands of a shell block, each as its words."""
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [words for line in lines for part in line.split("&&") if (words := shlex.split(part, comments=True))]


def shortened(words: list[str]) -> list[str]:
    """Return a command as this Python runs it, with flags that make a long one short."""
    if words[0] == "python":
        return [sys.executable, *words[1:], *SMALL["script"]]
    assert words[0] == "jaxcnn", words
    long = words[2] != "status" if words[1] == "study" else words[1] == "train" and set(words) & set(LARGE)
    return [sys.executable, "-m", *words, *(SMALL[words[1]] if long else ())]


@pytest.mark.slow
@pytest.mark.real
def test_readme_and_start_run_when_typed_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is left out; those that take minutes get fewer images, epochs, arms and runs."""
    for name in ("docs", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    Image.open(ROOT / "docs" / "_static" / "seven.png").convert("RGB").save(tmp_path / "cat.jpg")
    monkeypatch.chdir(tmp_path)
    env, count = {**os.environ, "PYTHONPATH": str(ROOT)}, 0
    for page in (ROOT / "README.md", ROOT / "docs" / "start.md"):
        namespace: dict[str, Any] = {"__name__": "__main__"}
        for block in sorted([*blocks(page, "sh"), *blocks(page, "python")], key=lambda block: block.line):
            if block.info == "python":
                exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
                continue
            for words in shell_lines(block.text):
                if words[0] not in ELSEWHERE:
                    done = subprocess.run(shortened(words), env=env, capture_output=True, text=True, check=False)
                    assert done.returncode == 0, f"{page.name}: {shlex.join(words)}\n{done.stdout}{done.stderr}"
                    count += 1
    assert count >= 20
    for page in ("deep_vs_wide/joined", "study/report", "fashion/report"):
        assert (tmp_path / "runs" / f"{page}.html").is_file()
