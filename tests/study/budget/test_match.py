"""Arms for a budget: published ones found, every family met or honestly refused, own families, measured time."""

import functools
import itertools
import json
import random
from pathlib import Path

import pytest
from flax import linen

from jaxcnn.analysis.complexity import count, count_params
from jaxcnn.errors import InputError
from jaxcnn.models import FAMILIES, build
from jaxcnn.records import as_record, from_record
from jaxcnn.spec import DataConfig, ModelSpec, RunConfig, StudyConfig
from jaxcnn.study.arm import Arm
from jaxcnn.study.budget.costs import Costs
from jaxcnn.study.budget.match import match_depth, match_width, match_widths
from jaxcnn.study.result import load_study

CIFAR = {"input_shape": (32, 32, 3), "num_classes": 10}
SMALL = {"input_shape": (8, 8, 1), "num_classes": 10}
KINDS = ("params", "macs", "activations")


# He et al. 2015, option A, stage widths c, 2c, 4c; counts by the formulas of that paper.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "depth", "width", "params"),
    [
        (270_000, 14, 20, 268_910),
        (270_000, 20, 16, 269_722),
        (850_000, 8, 54, 845_056),
        (850_000, 56, 16, 853_018),
    ],
)
def test_published_arms_are_found(budget, depth, width, params):
    arm = match_width("resnet", depth, params=budget, **CIFAR)
    assert (arm.depth, arm.width, arm.params, arm.spec.stage_widths) == (depth, width, params, None)
    assert arm.mismatch == pytest.approx(params / budget - 1)
    assert (arm.kind, arm.budget, arm.family, arm.seconds) == ("params", budget, "resnet", None)
    assert match_depth("resnet", width, params=budget, **CIFAR) == arm


def test_published_macs_are_found():
    arm = match_width(ModelSpec("resnet", options={"shortcut": "B"}), 20, macs=40_813_184, **CIFAR)
    assert (arm.width, arm.mismatch, arm.macs, arm.params) == (16, 0, 40_813_184, 272_474)
    assert match_width("wrn", 16, macs=1_548_145_664, **CIFAR).width == 8


def test_counts_are_those_of_the_module():
    for kind, budget in zip(KINDS, (30_000, 300_000, 6_000), strict=True):
        arm = match_width("resnet", 8, **{kind: budget}, **SMALL)
        cost = count(build(arm.spec, 10), (8, 8, 1))
        assert (arm.params, arm.macs, arm.activations) == cost[:3]
        assert arm.mismatch == (getattr(arm, kind) - budget) / budget
        assert arm.spec.num_classes is None


def test_an_arm_is_plain_values_and_has_names():
    arm = match_width("resnet", 8, params=27_000, **SMALL)
    assert from_record(Arm, json.loads(json.dumps(as_record(arm)))) == arm
    assert (arm.label, arm.budget_label) == (f"params27000_depth8_width{arm.width}", "27,000 parameters")
    for kind, budget, label, words in (
        ("macs", 40_813_184, "macs40813184", "40,813,184 MACs"),
        ("activations", 190_000.0, "activations190000", "190,000 activations"),
        ("seconds", 0.05, "seconds0p05", "50 ms a step"),
        ("seconds", 0.0000125, "seconds0p0000125", "0.0125 ms a step"),
        ("seconds", 2, "seconds2", "2000 ms a step"),
    ):
        named = arm._replace(kind=kind, budget=budget)
        assert (named.label, named.budget_label) == (f"{label}_depth8_width{arm.width}", words)


def test_stages_leave_the_proportions_by_two_channels_at_most():
    arm = match_width("resnet", 14, params=3_000, **SMALL)
    assert arm.spec.stage_widths is not None
    assert abs(arm.mismatch) <= 0.01
    assert arm.width == arm.spec.width == arm.spec.stage_widths[0]
    ideal = arm.spec.stage_widths[2] / 4
    assert all(abs(width - ideal * 2**stage) <= 3 for stage, width in enumerate(arm.spec.stage_widths))


def test_width_keeps_its_meaning():
    # wrn: the factor k, not channels; lenet: its dense layers move with its stages, and then its width is the first's.
    wide = match_width("wrn", 10, params=120_000, **SMALL)
    lenet = match_width("lenet", 5, params=70_000, input_shape=(28, 28, 1), num_classes=10)
    assert wide.width == 1
    assert wide.spec.stage_widths
    assert lenet.width == lenet.spec.stage_widths[0]
    assert len(lenet.spec.options["units"]) == 2


# Small images and small budgets, to be quick; (depths, input shape, log10 of budgets by resource).
EVIDENCE = {
    "resnet": ((8, 14), (8, 8, 1), (3.5, 5.5), (5.5, 7.5), (3.5, 5.5)),
    "plain": ((3, 5, 8), (8, 8, 1), (3.5, 5.5), (5.5, 7.5), (3.5, 5.5)),
    "wrn": ((10,), (8, 8, 1), (4, 6.5), (5.5, 8), (3.5, 5.5)),
    "lenet": ((4, 5, 7), (28, 28, 1), (3.5, 5.5), (5.5, 7.5), (3.5, 5.5)),
    "vgg": ((5, 8), (32, 32, 3), (4, 6.5), (5.5, 7.5), (3.5, 5.5)),
    "resnet_imagenet": ((10,), (32, 32, 3), (3.5, 5.5), (5.5, 7.5), (3.5, 5.5)),
    "mobilenet": ((23,), (32, 32, 3), (5, 6.5), (5.5, 7.5), (4, 5.5)),
    "efficientnet_lite": ((23,), (32, 32, 3), (5, 6.5), (5.5, 7.5), (4, 5.5)),
    "airbench": ((3, 5, 8), (9, 9, 1), (3.5, 5.5), (5.5, 7.5), (3.5, 5.5)),
    "unet": ((11, 18), (32, 32, 1), (4, 5.5), (6, 7.5), (5, 6)),
    "dense": ((2, 3, 6), (8, 8, 1), (3.5, 5.5), (3.5, 5.5), None),
}


def test_every_family_has_its_evidence():
    large = {"ssd_vgg", "tiny_yolo", "inception"}  # at large sizes only
    assert {*EVIDENCE, *large} == set(FAMILIES)


def test_a_budget_counts_backbone_and_head():
    for model, depths in ((ModelSpec("unet", options={"levels": 2}), (5, 8)), (ModelSpec("resnet", head="ssd"), (8,))):
        data = DataConfig("glyph_masks" if model.head is None else "glyph_scenes", images=40)
        for arm in match_widths(StudyConfig(RunConfig(model, data), depths, params=(20_000,))):
            assert count_params(build(arm.spec, 11 if model.head is None else 10), (96, 96, 3)) == arm.params
            assert abs(arm.params - 20_000) <= 200


def test_a_study_of_boxes_of_single_objects_is_refused():
    with pytest.raises(InputError, match="task='localization': a study compares networks for"):
        match_widths(StudyConfig(RunConfig(ModelSpec("resnet", head="localizer")), params=(10_000,)))


MOBILE = {"mobilenet": 2, "efficientnet_lite": 2}
BUDGETS = dict.fromkeys((*MOBILE, "unet"), 2)
CASES = [
    (family, kind) for family, case in EVIDENCE.items() for kind, span in zip(KINDS, case[2:], strict=True) if span
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "kind", "budgets"),
    [(*case, 1) for case in CASES if case[1] == "params" and case[0] not in MOBILE]
    + [pytest.param(*case, BUDGETS.get(case[0], 4), marks=pytest.mark.slow) for case in CASES],
)
def test_random_budgets_are_met_or_refused_with_the_nearest(family, kind, budgets):
    depths, shape, *spans = EVIDENCE[family]
    draw = random.Random(family + kind)
    refused = []
    for _ in range(budgets):
        budget, depth = round(10 ** draw.uniform(*spans[KINDS.index(kind)])), draw.choice(depths)
        outcome = attempt(family, depth, **{kind: budget}, input_shape=shape, num_classes=10)
        if isinstance(outcome, str):
            refused.append((outcome, budget, depth))
            continue
        assert abs(outcome.mismatch) <= 0.01
        assert getattr(outcome, kind) == round(budget * (1 + outcome.mismatch))
    # A LeNet has few convolutions and coarse steps, and so have narrow phone networks, most of whose activations are
    # those of their first layers; budgets below a wrn's or vgg's narrowest net cannot be met at all.
    assert len(refused) <= {"lenet": 4, "wrn": 2, "vgg": 2, **MOBILE}.get(family, 0), refused
    for outcome, budget, depth in refused[:2]:
        assert outcome.startswith(f"{kind}={budget:,}: no {family} of depth {depth} comes within 1 %; the nearest has ")
        named = int(outcome.split("the nearest has ")[1].split()[0].replace(",", ""))
        costs, most = Costs(ModelSpec(family), shape, 10, {kind: budget}, 0.01), 4 * max(budget, named)
        scan = list(itertools.takewhile(lambda cost, most=most: cost < most, whole(costs, depth)))
        assert abs(named - budget) <= min((abs(cost - budget) for cost in scan), default=float("inf"))


def whole(costs, depth):
    """Costs of the whole widths, the narrowest first."""
    return (costs.cost(costs.network(depth, width)) for width in itertools.count(1))


def attempt(*args, **kwargs):
    """The arm, or the words in which it was refused."""
    try:
        return match_width(*args, **kwargs)
    except InputError as error:
        return str(error)


@pytest.mark.slow
def test_published_studies_have_the_same_arms():
    """The arms of the main job, and of one whose stages were moved: 27,000 and 6,000 parameters on 8x8 images."""
    published = Path(__file__).parents[3] / "docs" / "results"
    for name, few in (("deep_vs_wide", 4), ("fashion_8x8/plain", 1), ("emnist_dense", 1), ("cifar10_12x12", 1)):
        result = load_study(published / name)
        shape = {"input_shape": result.data["image_shape"], "num_classes": len(result.data["class_names"])}
        for arm in result.plan.arms[:few]:
            assert match_width(result.plan.base.model, arm.depth, params=arm.budget, **shape) == arm


def test_equal_questions_have_equal_answers():
    for kind, budget in zip(KINDS, (11_111, 555_555, 7_777), strict=True):
        first, second = (match_width("plain", 4, **{kind: budget}, **SMALL) for _ in range(2))
        assert first == second


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "kind", "budget"), [(4, "params", 10_000), (6, "macs", 180_000), (3, "params", 3_700)]
)
def test_depth_is_solved_too(width, kind, budget):
    arm = match_depth("resnet", width, **{kind: budget}, **SMALL)
    assert abs(arm.mismatch) <= 0.01
    assert arm.depth in FAMILIES["resnet"].depths(100)
    assert abs(arm.width - width) <= 2


@pytest.mark.slow
def test_the_first_stage_moves_last():
    # 14 layers at width 12 have 69,0xx parameters or so; a little more goes to the later stages.
    whole = count(build(ModelSpec("resnet", 14, 12), 10), (8, 8, 1)).params
    arm = match_depth("resnet", 12, params=round(1.04 * whole), **SMALL)
    assert (arm.depth, arm.width, arm.spec.stage_widths[0]) == (14, 12, 12)


def test_depths_that_cannot_be():
    with pytest.raises(
        InputError, match=r"params=100: no resnet of width 16 .* nearest has [\d,]+ \(.*change the budget, the width"
    ):
        match_depth("resnet", 16, params=100, **SMALL)
    with pytest.raises(InputError, match="width=0"):
        match_depth("resnet", 0, params=100, **SMALL)
    with pytest.raises(InputError, match="stage_sizes"):
        match_depth(ModelSpec("resnet", stage_sizes=(1, 1, 1)), 4, params=100, **SMALL)


def test_a_study_without_depths_is_refused():
    with pytest.raises(InputError, match=r"depths=\(\): give two or more"):
        match_widths(StudyConfig(depths=(), params=(3000,)))


@pytest.mark.parametrize("depth", [-1, 0, 2.5])
def test_depths_of_a_study_are_refused_by_the_name_of_the_argument(depth):
    with pytest.raises(InputError, match=f"depths={depth}: give integers"):
        match_widths(StudyConfig(depths=(8, depth), params=(3000,)))


class Tower(linen.Module):
    """A user's own family: depth - 1 convolutions of one width."""

    depth: int
    width: int
    classes: int = 10

    @linen.compact
    def __call__(self, x):
        for _ in range(self.depth - 1):
            x = linen.relu(linen.Conv(self.width, (3, 3))(x))
        return linen.Dense(self.classes)(x.mean((1, 2)))


def tower(depth, width):
    if depth % 2 or depth < 2:
        raise ValueError(f"{depth} layers are not even")
    return Tower(depth, width)


def test_a_family_of_ones_own():
    exact = count(Tower(4, 23), (8, 8, 1))
    arm = match_width(tower, 4, macs=exact.macs + 5, **SMALL)
    assert arm[:6] == (None, f"{__name__}:tower", 4, 23, "macs", exact.macs + 5)
    assert (arm.params, arm.macs, arm.activations) == exact[:3]
    deep = match_depth(tower, 23, params=count(Tower(18, 23), (8, 8, 1)).params, **SMALL)
    assert (deep.depth, deep.width, deep.mismatch) == (18, 23, 0)
    assert match_width(functools.partial(Tower, classes=10), 4, macs=exact.macs, **SMALL).family == f"{__name__}:Tower"


@pytest.mark.parametrize("budget", [0, -5, float("nan"), float("inf"), 10**20, 10**400])
def test_amounts_that_no_budget_has(budget):
    with pytest.raises(InputError, match=r"params=.* must both be positive, and the budget below 1e\+18"):
        match_width("resnet", 8, params=budget, **SMALL)


def test_a_budget_beyond_every_width_is_refused_with_a_remedy():
    with pytest.raises(InputError, match=r"activations=2,147,483,648: no plain of depth 3 .*; choose a smaller budget"):
        match_width("plain", 3, activations=2**31, **SMALL)


def test_what_is_wrong_with_a_family_of_ones_own():
    with pytest.raises(InputError, match=r"tower: depth=5, width=8 cannot be built: 5 layers are not even"):
        match_width(tower, 5, params=1000, **SMALL)
    with pytest.raises(InputError, match=r"logits have length 10 where num_classes=7"):
        match_width(tower, 4, params=1000, input_shape=(8, 8, 1), num_classes=7)
    with pytest.raises(InputError, match=r"logits have length 10 where num_classes=7"):
        match_depth(tower, 4, params=1000, input_shape=(8, 8, 1), num_classes=7)
    with pytest.raises(InputError, match=r"returned int for depth=4"):
        match_width(lambda depth, width: depth * width, 4, params=1000, **SMALL)
    with pytest.raises(InputError, match=r"a module has one size"):
        match_width(Tower(4, 8), 4, params=1000, **SMALL)
    with pytest.raises(InputError, match=r"choose a smaller budget, or a family whose cost grows with its width"):
        match_width(lambda depth, width: Tower(depth, 8), 4, params=1_000_000, **SMALL)
    with pytest.raises(InputError, match=r"params=1,100: no .*tower of depth 4 .* \(width 7\), -4.91 %"):
        match_width(tower, 4, params=1_100, **SMALL)
    with pytest.raises(InputError, match=r"no depth up to 64 .* width=4; .* returned NoneType"):
        match_depth(lambda depth, width: None, 4, params=1_000, **SMALL)


def watch(calls, slope=1e-3, noise=()):
    """A clock that says slope seconds a channel (or layer of an own family), and then what noise adds."""
    extra = itertools.cycle(noise or (0.0,))

    def measure(model):
        calls.append(model)
        size = model.width * model.depth if isinstance(model, ModelSpec | Tower) else 1
        return slope * size * (1 + next(extra))

    return measure


def test_a_budget_in_seconds_is_measured():
    calls = []
    arm = match_width("resnet", 8, seconds=0.1603, measure=watch(calls), **SMALL)
    assert (arm.width, arm.depth, arm.kind, arm.budget) == (20, 8, "seconds", 0.1603)
    assert arm.seconds == pytest.approx(0.16)
    assert arm.mismatch == pytest.approx(0.16 / 0.1603 - 1)
    assert arm.params == count(build(arm.spec, 10), (8, 8, 1)).params
    # The last two candidates were measured anew, in turns.
    assert [call.width for call in calls[-10:]] == [20, 21] * 5
    assert len(calls) < 25
    own = match_width(tower, 4, seconds=0.1, measure=watch([]), **SMALL)
    assert (own.width, own.spec, own.seconds) == (25, None, 0.1)
    deep = match_depth("resnet", 10, seconds=0.2, measure=watch([]), **SMALL)
    assert (deep.depth, deep.width) == (20, 10)


def test_one_outlier_does_not_lead_astray():
    calls = []
    plain = watch(calls)
    # The fourth measurement comes out at a tenth: the search believes it and is put right by measuring again.
    arm = match_width(
        "resnet", 8, seconds=0.16, measure=lambda spec: plain(spec) * (0.1 if len(calls) == 4 else 1), **SMALL
    )
    assert (arm.width, arm.seconds) == (20, pytest.approx(0.16))


def test_below_the_noise_the_error_says_so():
    noisy = watch([], noise=(0.0, 0.0, 0.04, 0.04, -0.03, -0.03, 0.05, 0.05, 0.02, 0.02))
    with pytest.raises(
        InputError, match=r"seconds=0.0803: .* nearest takes 0\.08\d*, its 5 measurements [\d,.]+ % apart \(width 10\)"
    ):
        match_width("resnet", 8, seconds=0.0803, tolerance=1e-4, measure=noisy, **SMALL)


@pytest.mark.slow
def test_seconds_on_this_machine():
    """By the clock: no step takes a nanosecond, and one of the narrowest net comes nearest."""
    with pytest.raises(InputError, match=r"nearest takes [\d.e-]+, its 5 measurements [\d,.]+ % apart \(width \d\)"):
        match_width("dense", 2, seconds=1e-9, batch_size=4, **SMALL)


def test_the_base_keeps_everything_but_depth_and_width():
    base = ModelSpec("resnet", options={"skip": False, "shortcut": "B"})
    arm = match_width(base, 8, params=50_000, **SMALL)
    assert (arm.spec.options, arm.spec.depth) == (base.options, 8)


@pytest.mark.slow
def test_a_trunk_may_stay_and_the_dense_layers_vary():
    # The convolutions of a LeNet fixed by one spec, its dense layers by another: an own family of specs' modules.
    def family(depth, width):
        options = {"dense": depth - 2, "units": (width,) * (depth - 3)}
        spec = ModelSpec("lenet", depth, 6, stage_sizes=(1, 1), stage_widths=(6, 16), options=options)
        return build(spec, 10)

    arms = [match_width(family, depth, params=60_000, input_shape=(28, 28, 1), num_classes=10) for depth in (4, 6, 9)]
    assert [arm.activations for arm in arms] == [arms[0].activations] * 3
    assert all(abs(arm.mismatch) <= 0.01 for arm in arms)


def test_budgets_that_cannot_be():
    with pytest.raises(
        InputError, match=r"params=100: no resnet of depth 8 .* the nearest has [\d,]+ \(.*\), \+[\d.e+]+ %"
    ):
        match_width("resnet", 8, params=100, **SMALL)
    with pytest.raises(InputError, match=r"depth=9: resnet needs 6n\+2"):
        match_width("resnet", 9, params=30_000, **SMALL)
    for solve in (match_width, match_depth):
        with pytest.raises(InputError, match="family='resnett': unknown; the nearest are"):
            solve("resnett", 8, params=30_000, **SMALL)
        with pytest.raises(InputError, match="positive"):
            solve("resnet", 8, params=0, **SMALL)
        with pytest.raises(InputError, match="exactly one of params, macs, activations, seconds"):
            solve("resnet", 8, **SMALL)
        with pytest.raises(InputError, match="exactly one of params, macs, activations, seconds"):
            solve("resnet", 8, params=10_000, macs=10_000, **SMALL)
        with pytest.raises(InputError, match="stage_widths"):
            solve(ModelSpec("resnet", stage_widths=(4, 8, 16)), 8, params=30_000, **SMALL)
    with pytest.raises(InputError, match="dense of depth 3 has no activations"):
        match_width("dense", 3, activations=10_000, **SMALL)
