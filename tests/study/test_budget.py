import random

import pytest

from jaxcnn.analysis.complexity import count
from jaxcnn.errors import InputError
from jaxcnn.models import FAMILIES, build
from jaxcnn.spec import ModelSpec
from jaxcnn.study.budget import match_width

CIFAR = {"input_shape": (32, 32, 3), "num_classes": 10}


# He et al. 2015, option A, stage widths c, 2c, 4c; counts by the formulas of that paper.
@pytest.mark.parametrize(
    ("budget", "depth", "width", "params"),
    [
        (270_000, 14, 20, 268_910),
        (270_000, 20, 16, 269_722),
        (270_000, 56, 9, 271_171),
        (850_000, 8, 54, 845_056),
        (850_000, 56, 16, 853_018),
    ],
)
def test_published_arms_are_found(budget, depth, width, params):
    arm = match_width("resnet", depth, params=budget, **CIFAR)
    assert (arm.depth, arm.width, arm.params, arm.spec.stage_widths) == (depth, width, params, None)
    assert arm.mismatch == pytest.approx(params / budget - 1)
    assert arm.budget == budget


def test_counts_are_those_of_the_module():
    arm = match_width("resnet", 20, params=30_000, input_shape=(8, 8, 1), num_classes=10)
    cost = count(build(arm.spec, 10), (8, 8, 1))
    assert (arm.params, arm.macs) == (cost.params, cost.macs)
    assert arm.spec.num_classes is None
    assert arm.label == f"depth20_width{arm.width}"


def test_stages_leave_the_proportions_by_two_channels_at_most():
    arm = match_width("resnet", 14, params=3_000, input_shape=(8, 8, 1), num_classes=10)
    assert arm.spec.stage_widths is not None
    assert abs(arm.mismatch) <= 0.01
    assert arm.width == arm.spec.width == arm.spec.stage_widths[0]
    ideal = arm.spec.stage_widths[2] / 4
    assert all(abs(width - ideal * 2**stage) <= 3 for stage, width in enumerate(arm.spec.stage_widths))


def test_width_keeps_its_meaning():
    # wrn: the factor k, not channels; lenet: its dense layers hang on width too.
    wide = match_width("wrn", 10, params=120_000, input_shape=(8, 8, 1), num_classes=10)
    lenet = match_width("lenet", 5, params=70_000, input_shape=(28, 28, 1), num_classes=10)
    assert (wide.width, lenet.width) == (1, 6)
    assert wide.spec.stage_widths
    assert lenet.spec.stage_widths


@pytest.mark.parametrize(
    ("family", "depths", "shape"),
    [
        ("resnet", (8, 14, 20), (8, 8, 1)),
        ("plain", (3, 5, 8), (8, 8, 1)),
        ("wrn", (10, 16), (8, 8, 1)),
        ("lenet", (4, 5, 7), (28, 28, 1)),
        ("vgg", (5, 8), (8, 8, 1)),
        ("resnet_imagenet", (10, 18), (32, 32, 3)),
    ],
)
def test_random_budgets_are_met_or_refused_with_the_nearest(family, depths, shape):
    assert family in FAMILIES
    draw = random.Random(family)
    for _ in range(3):
        budget, depth = round(10 ** draw.uniform(3.5, 5.5)), draw.choice(depths)
        outcome = attempt(family, depth, params=budget, input_shape=shape, num_classes=10)
        if isinstance(outcome, str):
            assert f"params={budget:,}" in outcome
            assert "the nearest has" in outcome
        else:
            assert abs(outcome.mismatch) <= 0.01
            assert outcome.params == pytest.approx(budget * (1 + outcome.mismatch))


def attempt(*args, **kwargs):
    """The arm, or the words in which it was refused."""
    try:
        return match_width(*args, **kwargs)
    except InputError as error:
        return str(error)


def test_the_base_keeps_everything_but_depth_and_width():
    base = ModelSpec("resnet", skip=False, shortcut="B")
    arm = match_width(base, 8, params=50_000, input_shape=(8, 8, 1), num_classes=10)
    assert (arm.spec.skip, arm.spec.shortcut, arm.spec.depth) == (False, "B", 8)


def test_budgets_that_cannot_be():
    with pytest.raises(InputError, match=r"params=100: no resnet of depth 8 .* the nearest has [\d,]+ \(width 1\)"):
        match_width("resnet", 8, params=100, input_shape=(8, 8, 1), num_classes=10)
    with pytest.raises(InputError, match=r"depth=9: resnet needs 6n\+2"):
        match_width("resnet", 9, params=30_000, input_shape=(8, 8, 1), num_classes=10)
    with pytest.raises(InputError, match="no such family"):
        match_width("resnett", 8, params=30_000, input_shape=(8, 8, 1), num_classes=10)
    with pytest.raises(InputError, match="positive"):
        match_width("resnet", 8, params=0, input_shape=(8, 8, 1), num_classes=10)
    spec = ModelSpec("resnet", stage_widths=(4, 8, 16))
    with pytest.raises(InputError, match="stage_widths"):
        match_width(spec, 8, params=30_000, input_shape=(8, 8, 1), num_classes=10)
