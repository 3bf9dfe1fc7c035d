"""Deeper or wider at equal parameters, at equal MACs, at equal memory and at equal time? The same depths four times.

Question: does the answer hang on what is held equal? A deeper net of as many parameters needs more memory and time.
Runtime: 368 s on two cores of an AMD EPYC, 297 runs.
Expected: deeper minus wider, in points: +5.6 at equal parameters, +6.3 at equal memory, both wider; +8.0 at equal MACs
and +10.9 at equal time, both inconclusive, because one run in nine of the deepest net fails.
The budgets are what the residual net of depth 14 with 27,000 parameters costs; seconds are those of the machine below.
"""

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from deep_vs_wide import SMOKE as ONCE
from deep_vs_wide import Config as MainJob

from jaxcnn.cli import launch
from jaxcnn.spec import BUDGETS
from jaxcnn.study import StudyResult, run_study, show_report, write_joined


@dataclass(frozen=True)
class Config(MainJob):
    """One study for each kind of budget, joined in one report.

    Args:
        skips: With shortcuts (True), without (False), or both.
        clock: Tolerance of a budget in seconds, which is met by whole widths and up to the clock's noise.
        out: Folder of the results.
    """

    macs: tuple[int, ...] = (250_000,)
    activations: tuple[int, ...] = (3_152,)
    seconds: tuple[float, ...] = (0.0115,)
    skips: tuple[bool, ...] = (True,)
    clock: float = 0.25
    out: Path = Path("runs/matched_budgets")


SMOKE = Config(**{**vars(ONCE), "macs": (20_000,), "skips": (True,), "out": Config.out})


def study(config: Config, skip: bool, kind: str) -> StudyResult:
    model = replace(config.base.model, options={**config.base.model.options, "skip": skip})
    tolerance = config.clock if kind == "seconds" else config.tolerance
    budget = dict.fromkeys(BUDGETS, ()) | {kind: getattr(config, kind), "tolerance": tolerance}
    out = config.out / f"{'residual' if skip else 'plain'}_{kind}"
    result = run_study(replace(config, base=replace(config.base, model=model), **budget), out=out)
    show_report(result, out)
    return result


def main(config: Config) -> None:
    kinds = [kind for kind in BUDGETS if getattr(config, kind)]
    results = [study(config, skip, kind) for skip, kind in product(config.skips, kinds)]
    print(f"joined: {write_joined(results, config.out)}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
