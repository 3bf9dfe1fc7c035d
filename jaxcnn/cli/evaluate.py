"""`jaxcnn evaluate`: metrics of a run's checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from jaxcnn.cli.output import print_json, print_table


def evaluate(
    run: Positional[Path],
    split: str = "test",
    checkpoint: Literal["last", "best"] = "last",
    data_dir: str | None = None,
    json: bool = False,
) -> None:
    """Measure a run's checkpoint on a split of its data.

    Args:
        run: Folder of the run.
        split: test, validation or train.
        checkpoint: last, or best (lowest validation loss).
        data_dir: Folder of TFDS sets, if they have moved.
        json: Print JSON.
    """
    from jaxcnn.run import evaluate_run

    metrics = evaluate_run(run, split=split, data_dir=data_dir, checkpoint=checkpoint)
    if json:
        print_json({"split": split, **metrics})
    else:
        print_table((f"{split} {name}", f"{value:.4f}") for name, value in metrics.items())
