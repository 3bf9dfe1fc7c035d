"""Real training with a known answer: an arm against itself, and an arm whose width was quartered."""

from dataclasses import replace

import numpy as np
import pytest

from jaxcnn.spec import DataConfig, Seeds, Tuning
from jaxcnn.study.budget.match import match_width
from jaxcnn.study.verdict.analyse import analyse
from tests.study.families import twin
from tests.study.small import BASE, SHAPE, small_study

REAL = replace(BASE, data=DataConfig("digits"), epochs=6, batch_size=64, checkpoint_every=6)
DECLARED = {"margin": 0.02, "tuning": Tuning((0.1,), (1e-4,))}


@pytest.mark.slow
def test_an_arm_against_itself_is_equivalent_or_inconclusive(tmp_path):
    """Two depths of one network, which differ in where they start only."""
    arms = [match_width(twin, depth, params=2000, tolerance=0.05, **SHAPE) for depth in (2, 3)]
    assert arms[0].width == arms[1].width
    result = small_study(tmp_path / "s", base=REAL, among=arms, family=twin, **DECLARED, seeds=Seeds(6, 6))
    errors = [result.errors(arm) for arm in arms]
    assert (errors[0] != errors[1]).any(axis=1).all(), "other seeds, other errors"
    found = analyse(result)
    assert found.decision in ("equivalent", "inconclusive")
    assert found.contrasts[0].population.low < 0 < found.contrasts[0].population.high
    # The same network again, its twelve runs dealt to the two sides in another way.
    both = [np.concatenate(errors)[list(rows)] for rows in ((0, 1, 2, 6, 7, 8), (3, 4, 5, 9, 10, 11))]
    assert analyse(relabelled(result, both)).decision in ("equivalent", "inconclusive")


def relabelled(result, errors):
    """The study with each arm's errors exchanged for others."""
    wrong = np.concatenate(errors)
    predictions = np.where(wrong == 1, (result.arrays["labels"] + 1) % 10, result.arrays["labels"])
    return replace(result, arrays={**result.arrays, "predictions": predictions.astype(np.uint8)})


@pytest.mark.slow
@pytest.mark.parametrize(("handicapped", "verdict"), [(4, "wider"), (2, "deeper")])
def test_a_quartered_width_loses(tmp_path, handicapped, verdict):
    """Tuned like the other, on the same budget by name."""
    arms = [match_width("dense", depth, params=1000, tolerance=0.05, **SHAPE) for depth in (2, 4)]
    for place, arm in enumerate(arms):
        if arm.depth == handicapped:
            width = arm.width // 4
            spec = replace(arm.spec, width=width, stage_widths=None)
            arms[place] = arm._replace(spec=spec, width=width)
    tuning = Tuning((0.05, 0.2), (1e-4,), extensions=0)
    result = small_study(tmp_path / "s", base=REAL, among=arms, margin=0.01, tuning=tuning, seeds=Seeds(8, 8))
    found = analyse(result)
    assert (found.decision, found.scope) == (verdict, "population"), found.sentence
    assert found.sentence.startswith(f"{verdict.capitalize()} at 1,000 parameters")
    # At one shared setting, too, where that was run.
    assert {contrast.decision for contrast in found.shared} <= {verdict}
