"""Many runs side by side: the same results as one after another, and Ctrl-C ends them at once."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.errors import InputError
from jaxcnn.run.several import run_all
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig

CONFIG = RunConfig(
    model=ModelSpec("dense", depth=2, width=4), data=DataConfig("digits", train_size=64), epochs=1, batch_size=32
)

LONG = """
import sys
from dataclasses import replace
from pathlib import Path
from jaxcnn.run.several import run_all
from tests.run.test_several import CONFIG
if __name__ == "__main__":
    long = replace(CONFIG, epochs=100_000, checkpoint_every=100_000)
    run_all([(replace(long, seed=s), Path(sys.argv[1]) / str(s)) for s in range(6)], workers=2)
"""


def jobs(folder, count=3):
    return [(replace(CONFIG, seed=seed), folder / str(seed)) for seed in range(count)]


@pytest.mark.slow
def test_two_workers_give_what_one_gives_in_order(tmp_path):
    alone = run_all(jobs(tmp_path / "one"), progress=False)
    shared = run_all(jobs(tmp_path / "two"), workers=2, progress=False)
    assert [result.config.seed for result in shared] == [0, 1, 2]
    for a, b in zip(alone, shared, strict=True):
        assert a.metrics == b.metrics
        np.testing.assert_array_equal(a.predictions["predictions"], b.predictions["predictions"])


@pytest.mark.parametrize(("workers", "count", "name"), [(0, 1, "workers=0"), (2, 0, r"jobs=\(\)")])
def test_what_cannot_be_is_refused(tmp_path, workers, count, name):
    with pytest.raises(InputError, match=name):
        run_all(jobs(tmp_path, count), workers=workers)


@pytest.mark.slow
def test_ctrl_c_starts_nothing_more(tmp_path):
    """A signal to the whole group, as a terminal sends it, while two of six long runs are under way."""
    with subprocess.Popen(
        [sys.executable, "-c", LONG, str(tmp_path)], start_new_session=True, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("*/metrics.jsonl"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode != 0
    begun = sorted(path.parent.name for path in tmp_path.glob("*/config.json"))
    assert begun == ["0", "1"]
    assert all(json.loads((tmp_path / name / "config.json").read_text()) for name in begun)
