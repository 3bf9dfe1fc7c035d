"""Simulated worlds in which whole studies are made up: trials by the schedule, a choice, runs and their test images.

`python -m tests.study.retuning 1000` prints how often equal arms that are tuned anew are called different.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import NamedTuple
from unittest import mock

import numpy as np

from jaxcnn.spec import Seeds, StudyConfig, Tuning
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import Plan, make_plan
from jaxcnn.study.schedule import StudyRun, next_runs
from jaxcnn.study.statistics.population import Contrast, crossed
from jaxcnn.study.statistics.seeds import power
from jaxcnn.study.tuning import lowest, retuning, scores
from tests.study.planted import ARMS


@dataclass(frozen=True)
class World:
    """How errors follow from the setting, the seed and the image.

    Args:
        base: Error at the best setting.
        best: Its learning rate.
        curve: Growth of the error with the squared distance from it, in steps of 2.5 and units of `base`.
        cliff: Steps above the best rate where training fails.
        decay: Growth of the error with the smaller of two decays, in units of `base`.
        spread: Standard deviation over seeds, in units of the error.
        hardness: How even images are (Beta): small: few are hard.
        validation, test: Numbers of images.
        seeds: Runs per arm.
        shift: Relative change of the error of the first arm: a planted difference.
        folds: Number of folds, each tuned by itself, over all `test` images; seeds are runs per fold then.
    """

    base: float = 0.015
    best: float = 0.15
    curve: float = 0.1
    cliff: float = 2.2
    decay: float = 0.05
    spread: float = 0.15
    hardness: float = 0.3
    validation: int = 300
    test: int = 360
    seeds: int = 8
    shift: float = 0.0
    tuning: Tuning = field(default_factory=Tuning)
    folds: int | None = None

    @cached_property
    def plan(self) -> Plan:
        """A study of two arms."""
        config = StudyConfig(
            tuning=self.tuning,
            seeds=Seeds(self.seeds, self.seeds),
            folds=self.folds,
            repeats=self.seeds if self.folds else StudyConfig.repeats,
        )
        return make_plan(config, ARMS[:2])

    def error(self, arm: Arm, rate: float, decay: float) -> float:
        """Expected error of an arm at a setting."""
        steps = math.log(rate / self.best) / math.log(2.5)
        if steps > self.cliff:
            return 0.6
        shift = 1 + self.shift * (arm == ARMS[0])
        rank = math.log10(decay / 1e-3)
        return self.base * shift * (1 + self.curve * steps**2 + self.decay * rank**2)

    def study(self, number: int) -> Study:
        """Make up one study."""
        images = np.random.default_rng([number, 1]).beta(
            self.hardness, self.hardness * (1 / self.base - 1), self.test
        )  # fmt: skip
        images /= self.base

        def rate(item: StudyRun) -> tuple[float, np.random.Generator]:
            place = [round(1e6 * item.setting.learning_rate), round(1e9 * item.setting.weight_decay)]
            draw = np.random.default_rng([number, item.seed, item.arm.depth, *place])
            error = self.error(item.arm, *item.setting)
            return min(0.9, max(error * (1 + self.spread * draw.standard_normal()), 1e-4)), draw

        def read(item: StudyRun) -> dict[str, float]:
            error, draw = rate(item)
            wrong = draw.binomial(self.validation, error) / self.validation
            loss = math.nan if error > 0.5 else wrong
            metrics = {"train_loss": loss, "validation_loss": loss, "validation_accuracy": 1 - wrong}
            return metrics | {"validation_images": self.validation, "test_images": self.test}

        errors, variances, chosen, promised = [], [], [], []
        # The number of seeds is given: what more of them would not reduce need not be known to four digits.
        with mock.patch("jaxcnn.study.schedule.retuning", retuned := partial(retuning, draws=2000)):
            now = next_runs(self.plan, read)
        assert now.tuning is not None
        folds = np.arange(self.test) % (self.folds or 1)
        for arm in self.plan.arms:
            tuned = now.tuning.arms[arm.label]
            own = [tuned.at(fold) for fold in self.plan.parts]
            rows = [
                [rate(each)[0] for each in now.runs if (each.stage, each.arm, each.setting, each.fold) == key]
                for key in (("runs", arm, *part) for part in zip(own, self.plan.parts, strict=True))
            ]
            chances = np.minimum(images * np.transpose(rows)[:, folds], 1)
            errors.append(np.random.default_rng([number, arm.depth, 9]).random(chances.shape) < chances)
            again = retuned(tuned.trials)
            variances.append(again.variance)
            chosen.append(float(np.mean([self.error(arm, *setting) for setting in own])))
            smooth = self.tuning.method == "smooth"
            lowest_mean = scores(tuned.trials)[tuned.setting][0]
            promised.append(lowest(tuned.trials) + again.optimism if smooth else lowest_mean)
        return Study(errors, variances, chosen, promised, folds if self.folds else None)


class Study(NamedTuple):
    """A made-up study of two arms."""

    errors: list[np.ndarray]  #: (seeds, images) of each arm.
    variances: list[float]  #: Of each arm's tuning.
    chosen: list[float]  #: Expected error of each arm at the setting that tuning gave it.
    promised: list[float]  #: Validation error that its tuning promised.
    folds: np.ndarray | None = None  #: Number of the fold of each image.

    @property
    def curse(self) -> float:
        """How much more errors the runs of an arm make, in expectation, than its tuning promised."""
        return float(np.mean(self.chosen) - np.mean(self.promised))

    def contrast(self, *, tuned: bool = True) -> Contrast:
        """Compare the arms, with the variance of their tuning or without."""
        folds = None if self.folds is None else np.broadcast_to(self.folds, self.errors[0].shape)
        return crossed(*self.errors, tuning=self.variances if tuned else (), draws=0, folds=folds)


def power_promised(studies: list[Study]) -> float:
    """Return the power that a plan promises where it knows the difference, and the variances that studies have."""
    contrasts = [study.contrast() for study in studies]
    difference = float(np.mean([study.chosen[0] - study.chosen[1] for study in studies]))
    parts = [[each.standard_error**2 * share for share in each.parts.values()] for each in contrasts]
    by_name = dict(zip(contrasts[0].parts, np.mean(parts, axis=0), strict=True))
    seeds, floor = len(studies[0].errors[0]), math.sqrt(by_name["examples"] + by_name["tuning"])
    return float(power(difference, math.sqrt(by_name["seeds"] * seeds / 2), seeds, floor))


RATES = (0.02, 0.05, 0.125, 0.3125, 0.78125)
ONE_DECAY, ONE_ROUND = Tuning(RATES, (1e-3,)), Tuning(RATES, (1e-4, 1e-3), rounds=1)
ONE_DECAY_ROUND = replace(ONE_DECAY, rounds=1)
WORLDS = {
    "digits": World(),
    "digits, one decay": World(tuning=ONE_DECAY),
    "digits, one round": World(tuning=ONE_ROUND),
    "digits, folds": World(base=0.08, test=1797, seeds=3, folds=3, tuning=ONE_DECAY_ROUND),
    "digits, flat": World(curve=0.02, decay=0.02),
    "digits, steep": World(curve=0.4, cliff=1.2),
    "plain": World(base=0.15, curve=0.3, spread=0.2, cliff=1.4, seeds=5),
    "letters": World(base=0.09, curve=0.05, spread=0.05, validation=1300, test=2600, seeds=5),
    "fashion": World(base=0.11, curve=0.03, spread=0.03, validation=6000, test=10_000, seeds=5, hardness=0.5),
}
"""Two equal arms: small and large sets, seeds that differ little and much, flat and steep curves, failing rates."""
PLANTED = {
    "digits, twice as bad": (World(base=0.015, shift=1.0), 0.65),
    "letters, a fifth worse": (
        World(base=0.09, curve=0.05, spread=0.05, validation=1300, test=2600, seeds=5, shift=0.2),
        0.8,
    ),
}
"""Two arms that differ, and the least share of studies that find it."""


def row(name: str, count: int) -> str:
    """Return a line of a Markdown table: one world."""
    world, planted = (WORLDS[name], "equal") if name in WORLDS else (PLANTED[name][0], "planted")
    seeds = world.seeds * (world.folds or 1)
    before = replace(world, tuning=replace(world.tuning, method="grid"), folds=None, seeds=seeds)  # it knows no folds
    lowest_trial = [before.study(number) for number in range(count)]
    former = [each.contrast(tuned=False).p < 0.05 for each in lowest_trial]
    studies = [world.study(number) for number in range(count)]
    fixed, found = ([each.contrast(tuned=tuned) for each in studies] for tuned in (False, True))
    truth = float(np.mean([each.chosen[0] - each.chosen[1] for each in studies]))
    covered = np.mean([each.interval.low <= truth <= each.interval.high for each in found])
    wider = np.mean([b.standard_error / a.standard_error for a, b in zip(fixed, found, strict=True)])
    shares = [np.mean(former), np.mean([each.p < 0.05 for each in fixed]), np.mean([each.p < 0.05 for each in found])]
    percent = " | ".join(f"{100 * share:.1f}" for share in (*shares, covered))
    tuning = 100 * np.mean([each.parts["tuning"] for each in found])
    curses = " | ".join(f"{100 * np.mean([each.curse for each in some]):+.2f}" for some in (lowest_trial, studies))
    promised = f"{100 * power_promised(studies):.1f}" if planted == "planted" else ""
    return f"| {name} ({planted}) | {percent} | {promised} | {wider:.2f} | {tuning:.0f} | {curses} |"


if __name__ == "__main__":
    for each in (*WORLDS, *PLANTED):
        print(row(each, int(sys.argv[1])), flush=True)
