"""CIFAR-10 to 94 % as fast as one GPU can: Jordan 2024 (arXiv:2404.00498) in its Muon form, without its last tricks.

Left out: flips that alternate by epoch (here each is random), shifted test images, freezing the first bias; so 10
epochs instead of the reference's 8. Weight decay limits the kernels' norms; the reference rescales them.
Runtime: not measured yet on a GPU (the reference: 2.6 s on an A100). `train` counts the training steps, without
compiling, loading, the statistics of the first 5,000 images and evaluation. The reference counts the last two.
Expected: not measured yet on a GPU; the reference reports 94.01 %.
Needs CIFAR-10: `jaxcnn data prepare cifar10`. Only the first run compiles; use --runs 200 for means.
"""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from jaxcnn.cli import launch
from jaxcnn.models import named
from jaxcnn.run import run_seeds
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import Classification, DataConfig, ModelSpec, OptimizerConfig, RunConfig

TARGET = 0.94
TASK = Classification(label_smoothing=0.2, test_flips=True)
MUON = OptimizerConfig(
    "muon", 0.24, momentum=0.6, weight_decay=0.12, decay="decoupled", schedule="linear", warmup_epochs=0.0,
    bias_scale=64.0, rest_scale=15.0, frozen=("whiten/kernel", "scale"),
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What to change, one line each."""

    run: RunConfig = field(
        default_factory=lambda: RunConfig(
            named("airbench94"), DataConfig("cifar10", validation=0.02, augment=("flip", "translate")), MUON,
            TASK, epochs=10, batch_size=2000, compute_dtype="bfloat16", checkpoint_every=10, batches="full",
        )
    )  # fmt: skip
    runs: int = 5
    out: Path = Path("runs/cifar10_speedrun")


DIGITS = DataConfig("digits", size=16, augment=("translate",))
SMOKE = Config(RunConfig(ModelSpec("airbench", 8, 2), DIGITS, MUON, TASK, epochs=1), runs=1)


def main(config: Config) -> None:
    results = run_seeds(config.run, range(config.runs), out=config.out)
    accuracies = [result.metrics["test_accuracy"] for result in results]
    seconds = {name: [result.seconds[name] for result in results] for name in ("train", "compile", "total")}
    reached = sum(accuracy >= TARGET for accuracy in accuracies)
    record = {"target": TARGET, "reached": reached, "test_accuracy": accuracies, "seconds": seconds}
    write_json(config.out / "speedrun.json", record)
    print(f"{reached} of {len(results)} runs reached {TARGET:.0%}; {mean(seconds['train']):.2f} s of training a run")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
