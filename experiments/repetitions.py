"""The main job again and again, with other folds, seeds and tunings: how often is its verdict the same?

Runtime: about three minutes of processor time a study on an AMD EPYC; it goes on where it was interrupted.
Expected: wider in 19 of 20 studies with shortcuts (`--skips True`), in all 20 without (`--skips False`).
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from deep_vs_wide import SMOKE as ONCE
from deep_vs_wide import Config as MainJob

from jaxcnn.cli import launch
from jaxcnn.study import analyse, run_study, write_joined


@dataclass(frozen=True)
class Config(MainJob):
    """Repetitions of one study.

    Args:
        times: Number of repetitions, for each entry of skips.
        out: Folder of the results.
    """

    times: int = 20
    out: Path = Path("runs/repetitions")


SMOKE = Config(**{**vars(ONCE), "times": 2, "skips": (True,), "out": Config.out})


def main(config: Config) -> None:
    for skip in config.skips:
        model = replace(config.base.model, options={**config.base.model.options, "skip": skip})
        out, results = config.out / ("residual" if skip else "plain"), []
        for number in range(1, config.times + 1):
            seeds = replace(config.seeds, first=config.seeds.first + 100 * number)
            tuning = replace(config.tuning, seeds=(10_000 + number,))
            one = replace(config, base=replace(config.base, model=model), seeds=seeds, tuning=tuning)
            results.append(run_study(one, out=out / str(number)))
        write_joined(results, out)
        counts = Counter(analyse(result).decision for result in results)
        print(f"{out.name}: {', '.join(f'{decision} {count}' for decision, count in counts.most_common())}")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
