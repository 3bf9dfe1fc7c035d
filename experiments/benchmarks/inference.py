"""Logits of one batch by ours, by PyTorch, and by onnxruntime from our exported file: equal networks, in turns.

Question: how many images a second does a trained network classify?
Runtime: about 2 minutes on two cores.
Expected: docs/benchmarks.md. Rivals that are not installed are named and left out
(`pip install -c constraints.txt -e '.[benchmarks,export]'` installs them).
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jaxcnn.cli import launch
from train_step import compare


@dataclass(frozen=True)
class Config:
    """Batches of logits in turns.

    Args:
        networks: lenet5 (28x28x1), resnet20 and wrn_16_4 (32x32x3).
        rivals: Rivals of ours.
        batch_size: Images, on the device throughout.
        dtype: bfloat16: activations (autocast in PyTorch); parameters stay float32. For accelerators.
        rounds: Number of measurements of each rival.
        seconds: Approximate length of one turn.
        python: Interpreter for the PyTorch rivals.
        out: Folder for the JSON.
    """

    networks: tuple[str, ...] = ("lenet5", "resnet20", "wrn_16_4")
    rivals: tuple[str, ...] = ("torch_eager", "torch_compile", "onnxruntime")
    batch_size: int = 128
    dtype: Literal["float32", "bfloat16"] = "float32"
    rounds: int = 7
    seconds: float = 1.0
    python: str = sys.executable
    out: Path = Path("runs/benchmarks")


SMOKE = Config(("lenet5",), batch_size=8, rounds=2, seconds=0.02)


def main(config: Config) -> None:
    compare(config, "inference", "Inference", "inference")


if __name__ == "__main__":
    launch(main, Config, SMOKE)
