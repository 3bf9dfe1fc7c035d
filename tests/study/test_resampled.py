"""Studies whose runs have training images of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jaxcnn.data import load
from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study import analyse, load_study, write_report
from jaxcnn.study.plan import make_plan
from jaxcnn.study.rerun import rerun
from jaxcnn.study.schedule import next_runs, run_config
from jaxcnn.study.verify import verify
from tests.study.small import BASE, arms, small_study

TUNING = Tuning((0.05, 0.2), (1e-4,), extensions=0, rounds=1, shared=False)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"folds": 2, "repeats": 2}], ids=["test split", "folds"])
def test_the_verdict_is_for_new_choices_of_training_images(tmp_path: Path, changes: dict) -> None:
    """Each run has its own; the report says so, its numbers agree, and a run can be trained again."""
    out = tmp_path / "study"
    small_study(out, resample_train=True, tuning=TUNING, seeds=Seeds(3, 3), **changes)
    result = load_study(out)
    page = write_report(result, out).read_text()
    sentence = analyse(result).sentence
    assert "for new seeds, new choices of training images, new test images and new tuning" in sentence
    assert "% seeds with training images" in sentence
    assert "96, chosen anew for every run" in page
    train = {json.loads(path.read_text())["content"]["train"] for path in out.rglob("data.json")}
    assert len(train) == len(list(out.rglob("data.json")))
    assert [check for check in verify(out) if check.equal < check.numbers] == []
    equal, images = rerun(out, arm=result.plan.arms[-1].label, seed=result.runs[-1].seed, progress=False)
    assert equal == images > 0


def test_two_arms_have_different_training_images_and_trials_have_their_own() -> None:
    """Seeds, and settings, too: no two runs share them but by chance."""
    plan = make_plan(StudyConfig(BASE, resample_train=True, tuning=TUNING), arms())
    configs = [run_config(plan, each) for each in next_runs(plan, lambda run: None).runs]
    assert len({config.data.train_seed for config in configs}) == len(configs) == 4
    first, second = (load(config.data).train["images"] for config in configs[:2])
    assert not np.array_equal(first, second)


def test_what_does_not_go_with_it_is_refused(tmp_path: Path) -> None:
    """No size to choose, more than half of all, and a choice in the base."""
    whole = replace(BASE, data=DataConfig("digits"))
    with pytest.raises(InputError, match=r"resample_train=True: it chooses base.data.train_size"):
        make_plan(StudyConfig(whole, resample_train=True), arms())
    large = replace(BASE, data=DataConfig("digits", train_size=600))
    with pytest.raises(InputError, match="train_size=600: with resample_train at most half of the 1,137"):
        small_study(tmp_path / "study", base=large, resample_train=True, tuning=TUNING)
    assert not (tmp_path / "study").exists()
    chosen = replace(BASE, data=DataConfig("digits", train_size=96, train_seed=1))
    with pytest.raises(InputError, match=r"base.data.train_seed=1: .* give resample_train"):
        make_plan(StudyConfig(chosen), arms())
