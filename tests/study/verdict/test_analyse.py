"""The analysis against arithmetic done by hand, with SciPy as the reference for the distributions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from jaxcnn.spec import Seeds, StepCost, StudyConfig, Tuning
from jaxcnn.study.plan import make_plan
from jaxcnn.study.result import RunRecord, StudyResult
from jaxcnn.study.schedule import Pilot
from jaxcnn.study.tuning import ArmTuning, Setting, Trial, TuningResult
from jaxcnn.study.verdict.analyse import analyse
from tests.study.planted import ARMS, family_arms, planted_study, rich_study

OWN, SHARED = Setting(0.1, 1e-4), Setting(0.2, 1e-4)
# Two seeds on six images of two classes: 1 is an error.
DEEPER = np.array([[1, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 0]])
WIDER = np.array([[0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0]])


def tiny(deeper=DEEPER, wider=WIDER, margin=0.05):
    """A result of two arms with just these errors."""
    arms = (ARMS[0], ARMS[2])
    plan = make_plan(
        StudyConfig(margin=margin, tuning=Tuning((0.1, 0.2), (1e-4,), method="grid"), seeds=Seeds(2, 2)), arms
    )
    labels = np.array([0, 0, 0, 1, 1, 1], np.uint8)
    wrong = np.concatenate([wider, deeper])
    metrics = {f"{split}_{kind}": 0.5 for split in ("train", "validation", "test") for kind in ("loss", "accuracy")}
    seconds = {"compile": 1.0, "train": 1.0, "step": 0.01, "total": 2.0}
    runs = [RunRecord(arm.label, OWN, seed, metrics, (), seconds) for arm in arms for seed in (0, 1)]
    trials = tuple(Trial(each, 1000, 0.5, 1.0, False) for each in (OWN, SHARED))
    return StudyResult(
        plan=plan,
        tuning=TuningResult(OWN, {arm.label: ArmTuning(OWN, edge=True, trials=trials) for arm in arms}),
        pilot=Pilot(0.01, 2, (0, 1)),
        runs=tuple(runs),
        arrays={"labels": labels, "predictions": np.where(wrong == 1, 1 - labels, labels).astype(np.uint8)},
        costs={arm.label: StepCost(1000 * arm.depth, 0.001 * arm.depth, 0.0, 1.0) for arm in arms},
        data={"name": "tiny", "class_names": ["a", "b"], "sizes": {"train": 9, "validation": 3, "test": 6}},
        environments=({},),
        directory=Path("nowhere"),
    )


def test_a_contrast_by_hand():
    found = analyse(tiny()).contrasts[0]
    assert (found.deeper, found.wider, found.seeds) == (ARMS[2], ARMS[0], 2)
    # Errors by seed: deeper 3/6, 3/6; wider 1/6, 1/6.
    assert found.population.estimate == found.fixed.estimate == pytest.approx(1 / 3)
    # By image, deeper minus wider: 1, 0, 0, 1/2, 1/2, 0; their variance / 6. Seeds agree, so they add nothing.
    by_image = np.array([1, 0, 0, 0.5, 0.5, 0])
    error = by_image.var(ddof=1) / 6
    # Residual mean squares, rows equal: deeper (6 - 12/4 - 2)/5 ... by the definition, image means 1, .5, 0, .5, 1, 0.
    residual = [(DEEPER - DEEPER.mean(0)).var() * 12 / 5, (WIDER - WIDER.mean(0)).var() * 12 / 5]
    spread = error**2 / 5 + sum((each**2 / 5) / 12**2 for each in residual)
    freedom = error**2 / spread
    assert found.parts == pytest.approx({"seeds": 0.0, "examples": 1.0})
    t = (1 / 3) / np.sqrt(error)
    assert found.population_p == pytest.approx(2 * stats.t.sf(t, freedom))
    assert found.population.high - 1 / 3 == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(error))
    assert found.population90.high - 1 / 3 == pytest.approx(stats.t.ppf(0.95, freedom) * np.sqrt(error))
    assert found.tost == pytest.approx(stats.t.sf((0.05 - 1 / 3) / np.sqrt(error), freedom))
    assert found.population_holm == found.population_p, "one budget: nothing to correct"
    assert found.superiority.estimate == 0.0, "no deeper run errs less than a wider one"


def test_the_fixed_test_set_is_welch_on_error_rates():
    deeper = np.array([[1, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 0]])
    found = analyse(tiny(deeper=deeper)).contrasts[0]
    # The wider arm's seeds agree to the image: their spread is taken as a rounding's, (1/6)^2 / 12.
    floor, variance = (1 / 6) ** 2 / 12, np.var([3 / 6, 5 / 6], ddof=1)
    error = (variance + floor) / 2
    freedom = error**2 / ((variance / 2) ** 2 + (floor / 2) ** 2)
    assert found.fixed.estimate == pytest.approx(4 / 6 - 1 / 6)
    assert found.fixed_p == pytest.approx(2 * stats.t.sf(0.5 / np.sqrt(error), freedom))


def test_classes_by_hand():
    found = analyse(tiny()).contrasts[0].classes
    assert [(each.name, each.images) for each in found] == [("a", 3), ("b", 3)]
    assert [each.difference.estimate for each in found] == pytest.approx([1 / 3, 1 / 3])
    # Benjamini and Hochberg over two: the smaller doubled or the larger, whichever is less; the larger as it is.
    p = sorted(each.p for each in found)
    assert sorted(each.q for each in found) == pytest.approx([min(2 * p[0], p[1]), p[1]])


def test_a_class_of_one_image_is_left_out():
    result = tiny()
    labels = np.array([0, 0, 0, 0, 0, 1], np.uint8)
    lonely = replace(result, arrays={**result.arrays, "labels": labels})
    assert [each.name for each in analyse(lonely).contrasts[0].classes] == ["a"]


def test_arms_by_hand():
    wide, deep = analyse(tiny()).arms
    assert (wide.test_errors, deep.test_errors) == (pytest.approx((1 / 6, 1 / 6)), pytest.approx((0.5, 0.5)))
    assert (deep.test_error.estimate, deep.train_error, deep.step) == (pytest.approx(0.5), 0.5, 0.01)
    assert (deep.setting, deep.edge, deep.tuning_error) == (OWN, True, 0.5)
    assert deep.expected_best == pytest.approx((0.5, 0.5))
    # Seeds of the wider arm: right together on 4 of 6, never wrong together: kappa = (4/6 - 26/36) / (1 - 26/36).
    assert wide.seed_consistency == pytest.approx((4 / 6 - 26 / 36) / (1 - 26 / 36))


def test_fronts_by_hand():
    fronts = {front.resource: front.front for front in analyse(tiny()).fronts}
    assert fronts == dict.fromkeys(("params", "macs", "memory", "time"), (ARMS[0].label,)), "better and cheaper"
    without = analyse(replace(tiny(), costs={}))
    assert [front.resource for front in without.fronts] == ["params", "macs"]


def test_holm_over_budgets(tmp_path):
    def error(arm, seed):
        gap = {15_000: 0.004, 60_000: 0.012, 240_000: 0.03}[arm.budget] * (arm.depth == 32)
        return 0.1 + gap + 0.003 * ((seed * 7) % 3 - 1)

    found = analyse(planted_study(tmp_path, error, arms=family_arms(), seeds=5, images=1000)).contrasts
    for name in ("population", "fixed"):
        p = np.array([getattr(each, f"{name}_p") for each in found])
        corrected = [getattr(each, f"{name}_holm") for each in found]
        order, wanted, running = np.argsort(p), np.empty(3), 0.0
        for place, index in enumerate(order):
            running = max(running, min(1.0, (3 - place) * p[index]))
            wanted[index] = running
        assert corrected == pytest.approx(wanted)


def test_the_same_at_the_shared_setting(tmp_path):
    result = rich_study(tmp_path)
    found = analyse(result)
    assert len(found.shared) == len(found.contrasts) == 3
    for own, shared in zip(found.contrasts, found.shared, strict=True):
        assert set(shared.settings) == {result.tuning.shared}
        assert own.settings == tuple(result.tuning.arms[arm.label].setting for arm in (own.deeper, own.wider))
    assert analyse(tiny()).shared == (), "every arm has the shared setting as its own"


def test_equal_records_give_equal_findings(tmp_path):
    result = planted_study(tmp_path, {8: (0.1, 0.2), 14: (0.1, 0.15), 20: (0.2, 0.3)})
    assert repr(analyse(result)) == repr(analyse(result))


def test_a_trend_needs_three_depths(tmp_path):
    two = analyse(planted_study(tmp_path / "two", {8: (0.1, 0.2), 20: (0.2, 0.3)}))
    three = analyse(planted_study(tmp_path / "three", {8: (0.1, 0.2), 14: (0.1, 0.15), 20: (0.2, 0.3)}))
    assert [trend.fit for trend in two.trends] == [None]
    assert three.trends[0].fit is not None
