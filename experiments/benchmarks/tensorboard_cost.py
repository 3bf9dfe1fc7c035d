"""Question: what does `--tensorboard` cost, with histograms of weights, updates and gradients every epoch?

Method: one run whose calls of the writer are timed, with the predictions, gradients and pictures that they need and the
compiling of these; the time of an epoch is that of training and validation without the writer. Pictures are drawn in
epochs 1, 2, 4, 8 and the last.
Runtime: about two minutes on two cores of an AMD EPYC.
Expected: printed, and in tensorboard_cost.json; the aim is less than 5 % in epochs without pictures.
Needs MNIST: `jaxcnn data prepare mnist`.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxcnn.cli import launch
from jaxcnn.models import named
from jaxcnn.run import run
from jaxcnn.runtime.environment import environment
from jaxcnn.spec import DataConfig, OptimizerConfig, RunConfig
from jaxcnn.train.tensorboard import TensorBoard
from table import Watch, write


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    run: RunConfig = field(
        default_factory=lambda: RunConfig(
            named("lenet5"), DataConfig("mnist"), OptimizerConfig(learning_rate=0.05), epochs=12
        )
    )
    out: Path = Path("runs/benchmarks")


SMOKE = Config(RunConfig(named("lenet5"), DataConfig("digits", size=28), OptimizerConfig(learning_rate=0.02), epochs=3))


def main(config: Config) -> None:
    spent, watch = list[float](), Watch()

    def timed(write: Callable[..., None]) -> Callable[..., None]:
        def measured(*arguments: Any) -> None:
            started = time.perf_counter()
            write(*arguments)
            spent.append(time.perf_counter() - started)

        return measured

    TensorBoard.write = timed(TensorBoard.write)
    with tempfile.TemporaryDirectory() as folder:
        result = run(config.run, out=Path(folder) / "run", tensorboard=True)
    epochs = [record["seconds"] for record in result.history]
    last = len(epochs)
    drawn = {epoch for epoch in range(1, last + 1) if epoch & (epoch - 1) == 0 or epoch == last}
    kinds = {
        "with histograms": [n for n in range(1, last + 1) if n not in drawn],
        "with pictures, too": sorted(drawn),
        "all": list(range(1, last + 1)),
    }

    def row(name: str, numbers: list[int]) -> list[Any]:
        writer, training = (sum(each[n - 1] for n in numbers) for each in (spent, epochs))
        return [name, len(numbers), training / len(numbers), writer / len(numbers), 100 * writer / training]

    record = {
        "title": f"TensorBoard: {config.run.model.family}, {result.params:,} parameters, {config.run.data.name}",
        "columns": ["epochs", "count", "training, s an epoch", "writer, s an epoch", "writer, % of training"],
        "rows": [row(name, numbers) for name, numbers in kinds.items() if numbers],
        "notes": [f"{result.data['sizes']['train']:,} training images, batch {config.run.batch_size}."],
        "environment": environment() | watch.read(),
        "rounds": {"writer_seconds": spent, "epoch_seconds": epochs},
    }
    write(config.out, "tensorboard_cost", record)


if __name__ == "__main__":
    launch(main, Config, SMOKE)
