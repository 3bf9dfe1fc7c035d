"""What a study may declare: what is refused before anything is written, and the contrast that follows."""

import math
from dataclasses import replace

import pytest

from jaxcnn.errors import InputError
from jaxcnn.spec import DataConfig, OptimizerConfig, RunConfig, Seeds, StudyConfig, Tuning
from jaxcnn.study.plan import check_plan, make_plan
from tests.study.planted import ARMS, family_arms

CONFIG = StudyConfig(RunConfig(data=DataConfig("digits", augment=("crop",)), epochs=3))


def test_the_contrast_is_deepest_against_shallowest_and_widest():
    wide = ARMS[0]._replace(width=12)
    plan = make_plan(CONFIG, [ARMS[2], ARMS[0], wide])
    assert plan.budgets == ("30,000 parameters",)
    assert plan.contrast(plan.budgets[0]) == (ARMS[2], wide)
    # Of two deepest the narrower one: the arms that differ most.
    narrow = ARMS[2]._replace(width=3)
    assert make_plan(CONFIG, [*ARMS, narrow]).contrast(plan.budgets[0]) == (narrow, ARMS[0])


def test_every_budget_has_its_contrast():
    plan = make_plan(CONFIG, family_arms())
    assert plan.budgets == ("15,000 parameters", "60,000 parameters", "240,000 parameters")
    for budget in plan.budgets:
        deeper, wider = plan.contrast(budget)
        assert (deeper.depth, wider.depth) == (32, 8)
        assert deeper.budget_label == wider.budget_label == budget
        assert [arm.depth for arm in plan.of(budget)] == [8, 14, 20, 32]


def test_the_hypothesis_is_the_projects_question_where_none_is_given():
    assert "digits, resnet networks of 30,000 parameters" in make_plan(CONFIG, ARMS).hypothesis
    assert make_plan(replace(CONFIG, hypothesis="mine"), ARMS).hypothesis == "mine"


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (ARMS[:1], r"depths=\[8\]: .* of arms of 30,000 parameters"),
        ([], r"arms=\(\)"),
        ([ARMS[0], ARMS[0], ARMS[1]], "params30000_depth8_width10 more than once"),
        ([*ARMS, ARMS[0]._replace(budget=9_000)], "depths=\\[8\\]: .* of arms of 9,000 parameters"),
    ],
)
def test_arms_that_cannot_be_compared(arms, message):
    with pytest.raises(InputError, match=message):
        make_plan(CONFIG, arms)


@pytest.mark.parametrize("margin", [0, 1, -0.1, math.nan, math.inf])
def test_margins(margin):
    with pytest.raises(InputError, match=f"margin={margin}: give a share"):
        make_plan(replace(CONFIG, margin=margin), ARMS)


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rates": ()},
        {"learning_rates": (0.2, 0.1)},
        {"learning_rates": (0.1, 0.1)},
        {"learning_rates": (0.1, 0.10000001)},
        {"learning_rates": (0.0, 0.1)},
        {"learning_rates": (0.1, math.inf)},
        {"learning_rates": (math.nan,)},
        {"learning_rates": (0.1, math.nan)},
        {"weight_decays": (-1e-4,)},
        {"weight_decays": ()},
        {"seeds": ()},
        {"seeds": (-1,)},
        {"seeds": (5, 5)},
        {"seeds": (10**400,)},
        {"extensions": -1},
        {"extensions": 101},
    ],
    ids=str,
)
def test_tuning_that_cannot_be(changes):
    with pytest.raises(InputError, match=rf"tuning\.{next(iter(changes))}="):
        make_plan(replace(CONFIG, tuning=replace(Tuning(), **changes)), ARMS)


@pytest.mark.parametrize(
    "seeds",
    [
        Seeds(0, 3),
        Seeds(3, 2),
        Seeds(first=-1),
        Seeds(power=0.0),
        Seeds(power=1.0),
        Seeds(power=math.nan),
        Seeds(cap=2**40),
        Seeds(first=2**63),
    ],
    ids=str,
)
def test_seeds_that_cannot_be(seeds):
    with pytest.raises(InputError, match="seeds"):
        make_plan(replace(CONFIG, seeds=seeds), ARMS)


@pytest.mark.parametrize(
    "change",
    [{"kind": "joules"}, {"budget": 0}, {"budget": 10**400}, {"depth": 0}, {"width": -1}, {"params": -1}],
    ids=str,
)
def test_arms_that_cannot_be(change):
    with pytest.raises(InputError, match=r"arms holds .*(give a positive number|must be positive)"):
        make_plan(CONFIG, [ARMS[0]._replace(**change), *ARMS[1:]])


def test_tuning_has_seeds_of_its_own():
    with pytest.raises(InputError, match="4 is the seed of a reported run too"):
        make_plan(replace(CONFIG, tuning=Tuning(seeds=(4, 1000)), seeds=Seeds(2, 5)), ARMS)
    make_plan(replace(CONFIG, tuning=Tuning(seeds=(5,)), seeds=Seeds(2, 5)), ARMS)


def test_depths_and_budgets_are_those_of_the_arms():
    plan = make_plan(replace(CONFIG, depths=(3, 4), macs=(7,)), family_arms())
    assert (plan.depths, plan.params, plan.macs) == ((8, 14, 20, 32), (15_000, 60_000, 240_000), ())


def test_a_value_that_its_field_does_not_list_is_refused():
    with pytest.raises(InputError, match=r"place='moon': choose local or ray"):
        make_plan(replace(CONFIG, place="moon"), ARMS)
    base = replace(CONFIG.base, optimizer=OptimizerConfig(name="sdg"))
    with pytest.raises(InputError, match=r"base\.optimizer\.name='sdg': choose sgd or adam or muon"):
        make_plan(replace(CONFIG, base=base), ARMS)


def test_an_unknown_rule_is_refused():
    with pytest.raises(InputError, match="rule='coin': unknown; choose one of"):
        check_plan(replace(make_plan(CONFIG, ARMS), rule="coin"))


def test_the_default_rates_of_tuning_are_refused_with_adam_and_rates_for_it_are_named():
    adam = StudyConfig(RunConfig(optimizer=OptimizerConfig("adam")))
    with pytest.raises(InputError, match=r"tuning\.learning_rates=.* with adam give, say, 0\.0002 0\.0005"):
        make_plan(adam, ARMS)
    make_plan(replace(adam, tuning=Tuning(learning_rates=(0.001, 0.003))), ARMS)
