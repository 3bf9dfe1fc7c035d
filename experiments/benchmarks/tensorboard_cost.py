"""Question: what does `--tensorboard` cost, with histograms of all weights and updates every epoch?

Method: one run whose calls of the writer are timed, its pictures and the predictions that they need included; their
share of all epochs' time, validation included.
Runtime: about a minute on two cores of an AMD EPYC.
Expected: printed, and in tensorboard_cost.json; the aim is less than 5 % of the time of training.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxcnn.cli import launch
from jaxcnn.models import named
from jaxcnn.run import run
from jaxcnn.runtime.environment import environment
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import DataConfig, OptimizerConfig, RunConfig
from jaxcnn.train.tensorboard import TensorBoard


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    run: RunConfig = field(
        default_factory=lambda: RunConfig(
            named("lenet5"), DataConfig("mnist", train_size=20_000), OptimizerConfig(learning_rate=0.05), epochs=8
        )
    )
    out: Path = Path("runs/tensorboard_cost")


SMOKE = Config(RunConfig(named("lenet5"), DataConfig("digits", size=28), OptimizerConfig(learning_rate=0.02), epochs=2))


def main(config: Config) -> None:
    spent: list[float] = []

    def timed(write: Callable[..., None]) -> Callable[..., None]:
        def measured(*arguments: Any) -> None:
            started = time.perf_counter()
            write(*arguments)
            spent.append(time.perf_counter() - started)

        return measured

    TensorBoard.write = timed(TensorBoard.write)
    result = run(config.run, out=config.out / "run", tensorboard=True)
    epochs = [record["seconds"] for record in result.history]
    share = sum(spent) / sum(epochs)
    about = {"share": share, "writer_seconds": spent, "epoch_seconds": epochs, "params": result.params}
    write_json(config.out / "tensorboard_cost.json", {**about, "environment": environment()})
    print(f"writer: {sum(spent):.2f} s beside {sum(epochs):.2f} s of training, {100 * share:.1f} %")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
