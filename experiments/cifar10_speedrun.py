"""CIFAR-10 to 94 % as fast as one GPU can: Jordan 2024 (arXiv:2404.00498) in its Muon form, without its last tricks.

Left out: flips that alternate by epoch (here each is drawn), shifted test images, freezing the first bias; so 10 epochs
where the reference takes 8. Kernels are held in size by decay, not rescaled.
Runtime: not measured yet on a GPU (the reference: 2.6 s on an A100). `train` counts the training steps; compiling,
loading, the first look at 5,000 images and evaluation lie outside it. The reference counts the last two, but not
compiling.
Expected: not measured yet on a GPU; the reference reports 94.01 %. On two CPU cores, much reduced (5,000 images, width
16, 8 epochs, batches of 250, seed 0): 69.8 % test accuracy; with SGD 68.0 %; resnet8 after as many epochs 48.8 %.
Needs CIFAR-10: `jaxcnn data prepare cifar10`. Compilation is paid by the first run alone: --runs 200 is for means.
"""

from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from jaxcnn.cli import launch
from jaxcnn.models import named
from jaxcnn.run import run_seeds
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import DataConfig, ModelSpec, OptimizerConfig, RunConfig

TARGET = 0.94
MUON = OptimizerConfig(
    "muon", 0.24, momentum=0.6, weight_decay=0.12, decay="decoupled", schedule="linear", warmup_epochs=0.0,
    bias_scale=64.0, rest_scale=15.0, frozen=("whiten/kernel", "scale"),
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What to change: one line each."""

    run: RunConfig = field(
        default_factory=lambda: RunConfig(
            named("airbench94"), DataConfig("cifar10", validation=0.02, augment=("flip", "translate")), MUON,
            epochs=10, batch_size=2000, label_smoothing=0.2, compute_dtype="bfloat16", test_flips=True,
            checkpoint_every=10,
        )
    )  # fmt: skip
    runs: int = 5
    out: Path = Path("runs/cifar10_speedrun")


DIGITS = DataConfig("digits", size=16, augment=("translate",))
SMOKE = Config(RunConfig(ModelSpec("airbench", 8, 2), DIGITS, MUON, 1, label_smoothing=0.2, test_flips=True), runs=1)


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
