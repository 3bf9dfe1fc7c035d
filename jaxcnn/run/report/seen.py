"""What a page of a run is made from: its result, and images and network as far as they are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jaxcnn.data import Split
from jaxcnn.errors import InputError
from jaxcnn.run.folder import RunFolder, RunResult, load_result
from jaxcnn.run.predict import run_data, run_split
from jaxcnn.run.show import Inside, look_inside


@dataclass(frozen=True)
class Seen:
    """What there is to see of a finished run.

    Args:
        result: The run.
        folder: Its folder, as it was named.
        names: Names of the classes.
        split: Arrays of the test split. None: the data cannot be loaded, or the test split was not read.
        inside: The network. None: there is no checkpoint.
        absent: Why images or network are not there, a sentence each.
    """

    result: RunResult
    folder: Path
    names: tuple[str, ...]
    split: Split | None
    inside: Inside | None
    absent: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        """Name of the task; empty for a user-defined one."""
        return self.result.config.task.kind


def see(directory: Path | str, *, data: str | None = None, data_dir: str | None = None) -> Seen:
    """Read a finished run, and load its images and weights if they are there.

    Args:
        directory: The run's folder.
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if they have moved.

    Raises:
        InputError: No finished run, or no data where `data` or `data_dir` say.

    >>> see("runs/first").result.metrics["test_accuracy"]  # doctest: +SKIP
    """
    folder, result = RunFolder(Path(directory)), load_result(directory)
    split, inside, absent = None, None, []
    if result.config.evaluate_test:
        try:
            dataset = run_data(folder, result.config, data=data, data_dir=data_dir)
            split = run_split(folder, dataset, "test")
        except InputError as error:
            if data is not None or data_dir is not None:
                raise
            absent.append(f"No images are shown: {error}")
    else:
        absent.append("The test split was not read (evaluate_test is off), so no images of it are shown.")
    try:
        inside = look_inside(directory)
    except InputError as error:
        absent.append(f"Nothing is shown of the network's inside: {error}")
    return Seen(result, Path(directory), tuple(result.data["class_names"]), split, inside, tuple(absent))
