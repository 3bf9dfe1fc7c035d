"""kill -9 in the middle, started again: the same parameters and metrics, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

COMMAND = [sys.executable, "-m", "jaxcnn", "train", "--quiet", "--epochs", "6"]
SCENES = "--data.images 160 --data.size 32 --data.classes 2 --data.augment zoom --batch-size 8 --optimizer.name adam"
RUNS = {
    "classifier": "--batch-size 64 --data.augment crop --model.family plain --model.depth 4 --model.width 8 "
    "--model.dropout 0.2",
    "segmenter": f"--model unet --data glyph_masks --model.depth 8 --model.width 4 --model.levels 2 {SCENES}",
    "detector": f"--model ssd --data glyph_scenes --model.family plain --model.depth 4 --model.width 4 {SCENES}",
    "instances": f"--model mask_rcnn --data glyph_scenes --model.family plain --model.depth 4 --model.width 4 "
    f"--model.head-proposals 8 --model.head-mask-size 4 {SCENES}",
}


def start(out, kind):
    environment = {**os.environ, "XLA_FLAGS": ""}
    return subprocess.Popen(
        [*COMMAND, *RUNS[kind].split(), "--out", str(out)], env=environment, stdout=subprocess.DEVNULL
    )


def state(out):
    with ocp.training.Checkpointer(out / "checkpoints") as checkpoints:
        step = checkpoints.latest.step
        return step, jax.tree.leaves(checkpoints.load(step))


def epochs(out):
    file = out / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def metrics(out):
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "steps_timed")} for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_killed_run_ends_as_the_one_that_was_never_killed(kind, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, kind).wait(timeout=240) == 0
    for after in (1, 3):
        process = start(killed, kind)
        deadline = time.monotonic() + 240
        while epochs(killed) <= after and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=60) == -signal.SIGKILL, "it ended before it could be killed"
        assert not (killed / "result.json").exists()
    assert start(killed, kind).wait(timeout=240) == 0

    (step_a, a), (step_b, b) = state(whole), state(killed)
    assert step_a == step_b == 6 * (-(-1137 // 64) if kind == "classifier" else 15)
    assert len(a) == len(b) > 10
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))
    assert metrics(killed) == metrics(whole)
    results = [json.loads((out / "result.json").read_text())["metrics"] for out in (whole, killed)]
    assert results[0] == results[1]
    with np.load(whole / "predictions.npz") as p, np.load(killed / "predictions.npz") as q:
        for name in p.files:
            np.testing.assert_array_equal(p[name], q[name])
