"""Logits of one batch by ours, by PyTorch, and by onnxruntime from our exported file: equal networks, in turns.

Question: how many images a second does a trained network classify?
Runtime: about 2 minutes on two cores.
Expected: docs/benchmarks.md. Rivals that are not installed are named and left out
(`pip install -c constraints.txt -e '.[benchmarks]'` installs them).
"""

from dataclasses import dataclass

import train_step
from jaxcnn.cli import launch


@dataclass(frozen=True)
class Config(train_step.Config):
    """Batches of logits in turns.

    Args:
        rivals: Rivals of ours.
    """

    rivals: tuple[str, ...] = ("torch_eager", "torch_compile", "onnxruntime")


SMOKE = Config(("lenet5",), batch_size=8, rounds=2, seconds=0.02)


def main(config: Config) -> None:
    train_step.compare(config, "inference", "Inference", "inference")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
