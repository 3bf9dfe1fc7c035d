"""Simulated worlds in which whole studies are made up: trials by the schedule, a choice, runs and their test images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from jaxcnn.spec import Seeds, StudyConfig, Tuning
from jaxcnn.study.arm import Arm
from jaxcnn.study.plan import Plan, make_plan
from jaxcnn.study.schedule import StudyRun, next_runs
from jaxcnn.study.statistics.population import Contrast, crossed
from jaxcnn.study.statistics.smoothing import retune
from jaxcnn.study.tuning import surface
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

    @cached_property
    def plan(self) -> Plan:
        """A study of two arms."""
        config = StudyConfig(tuning=self.tuning, seeds=Seeds(self.seeds, self.seeds))
        return make_plan(config, ARMS[:2])

    def error(self, arm: Arm, rate: float, decay: float) -> float:
        """Expected error of an arm at a setting."""
        steps = math.log(rate / self.best) / math.log(2.5)
        if steps > self.cliff:
            return 0.6
        shift = 1 + self.shift * (arm == ARMS[0])
        rank = math.log10(decay / 1e-3)
        return self.base * shift * (1 + self.curve * steps**2 + self.decay * rank**2)

    def study(self, number: int, *, tuned: bool = True) -> tuple[Contrast, list[float]]:
        """Make up one study: its contrast, and each arm's expected error at the setting that tuning gave it."""
        rng = np.random.default_rng([number, 1])
        images = rng.beta(self.hardness, self.hardness * (1 / self.base - 1), self.test)
        images /= self.base

        def rate(item: StudyRun) -> float:
            draw = np.random.default_rng([number, item.seed, item.arm.depth])
            error = self.error(item.arm, *item.setting)
            return min(0.9, max(error * (1 + self.spread * draw.standard_normal()), 1e-4))

        def read(item: StudyRun) -> dict[str, float]:
            draw = np.random.default_rng([number, item.seed, item.arm.depth, 5])
            wrong = draw.binomial(self.validation, rate(item)) / self.validation
            loss = math.nan if rate(item) > 0.5 else wrong
            metrics = {"train_loss": loss, "validation_loss": loss, "validation_accuracy": 1 - wrong}
            return metrics | {"validation_images": self.validation}

        now = next_runs(self.plan, read)
        errors, variances, chosen = [], [], []
        for arm in self.plan.arms:
            own = [each for each in now.runs if each.stage == "runs" and each.arm == arm]
            setting = now.tuning.arms[arm.label].setting
            rows = [item for item in own if item.setting == setting]
            draws = np.random.default_rng([number, arm.depth, 9])
            chances = np.minimum(images * np.array([[rate(item)] for item in rows]), 1)
            errors.append(draws.random(chances.shape) < chances)
            chosen.append(self.error(arm, *setting))
            trials = now.tuning.arms[arm.label].trials
            variances.append(retune(surface(trials), draws=2000).variance)
        return crossed(*errors, tuning=variances if tuned else (), draws=0), chosen


RATES = (0.02, 0.05, 0.125, 0.3125, 0.78125)
ONE_DECAY, ONE_ROUND = Tuning(RATES, (1e-3,)), Tuning(RATES, (1e-4, 1e-3), rounds=1)
WORLDS = {
    "digits": World(),
    "digits, one decay": World(tuning=ONE_DECAY),
    "digits, one round": World(tuning=ONE_ROUND),
    "digits, flat": World(curve=0.02, decay=0.02),
    "digits, steep": World(curve=0.4, cliff=1.2),
    "plain": World(base=0.15, curve=0.3, spread=0.2, cliff=1.4, seeds=5),
    "letters": World(base=0.09, curve=0.05, spread=0.05, validation=1300, test=2600, seeds=5),
    "fashion": World(base=0.11, curve=0.03, spread=0.03, validation=6000, test=10_000, seeds=5, hardness=0.5),
}
"""Two equal arms: small and large sets, seeds that differ little and much, flat and steep curves, failing rates."""
PLANTED = {
    "digits": (World(base=0.015, shift=1.0), 0.8),
    "letters": (World(base=0.09, curve=0.05, spread=0.05, validation=1300, test=2600, seeds=5, shift=0.2), 0.8),
}
"""Two arms that differ, and the least share of studies that find it."""


def studies(world: World, count: int, *, tuned: bool = True) -> Iterator[tuple[Contrast, list[float]]]:
    """Make up many studies."""
    return (world.study(number, tuned=tuned) for number in range(count))
