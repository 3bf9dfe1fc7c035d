"""Messages of reading a data set: a progress bar, and errors worded once for loading, streaming and checking."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from jaxcnn.data.dataset import BadImage
from jaxcnn.errors import InputError, printable


@contextmanager
def progress_bar(label: str, total: int, show: bool = True) -> Iterator[Callable[[], object]]:
    """Yield a function to call after each of `total` examples; it advances a progress bar if `show` is set."""
    if not show:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from jaxcnn.runtime.console import FittingProgress

    console, bar = Console(stderr=True), BarColumn(30)
    columns = (TextColumn("{task.description}"), bar, TaskProgressColumn(), TimeRemainingColumn())
    with FittingProgress(columns, (bar,), console, off=not console.is_terminal, transient=True) as bars:
        task = bars.add_task(label, total=total)
        yield lambda: bars.advance(task)


def one_line(error: Exception) -> str:
    """Return the message of an error as one line, or the name of its class if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def bad_image(source: str, name: str, reason: BadImage) -> InputError:
    """Return the error for an image that cannot be decoded."""
    return InputError(
        f"{printable(name)} in data set {source!r} cannot be used: {reason}; remove or replace it, "
        f"or set on_bad='skip' to skip such files with a warning"
    )


def no_images(source: str, split: str) -> InputError:
    """Return the error for a split without a single image that can be decoded."""
    return InputError(f"the {split} split of data set {source!r} has no image that can be decoded; check its files")


def sizes_differ(source: str, first: str, shape: tuple[int, ...], name: str, other: tuple[int, ...]) -> InputError:
    """Return the error for two images with different shapes (H, W, C)."""
    return InputError(
        f"images of data set {source!r} differ in size (height x width: {printable(first)} is "
        f"{shape[0]}x{shape[1]}, {printable(name)} is {other[0]}x{other[1]} pixels); set size, such as "
        "size=64, to resize all images"
    )


def check_labels(source: str, split: str, labels: np.ndarray, class_names: tuple[str, ...]) -> None:
    """Raise InputError if labels int (N,) are out of range, or those of "train" are all equal."""
    classes = len(class_names)
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise InputError(
            f"the {split} labels of data set {source!r} contain {int(wrong[0])}, outside 0..{classes - 1} for its "
            f"{classes} classes; number the classes from 0"
        )
    if split == "train" and len(np.unique(labels)) == 1:
        raise InputError(
            f"data set {source!r} has a single class in its training images ({class_names[int(labels[0])]!r}); "
            f"classification needs at least two"
        )


def check_masks(source: str, masks: np.ndarray, class_names: tuple[str, ...]) -> None:
    """Raise InputError if training masks uint8 (N, H, W) have fewer than two classes; 255 is none."""
    found = 0
    for k in range(len(class_names)):
        found += bool((masks == k).any())
        if found == 2:
            return
    raise too_few_classes(source, found)


def too_few_classes(source: str, found: int) -> InputError:
    """Return the error for training masks with one class or none."""
    return InputError(
        f"data set {source!r} has {'a single class' if found else 'no class'} in its training masks; segmentation "
        "needs at least two"
    )
