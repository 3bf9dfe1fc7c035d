"""A trained run in use: evaluated on a split, or shown new images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxcnn.analysis.scores.instance_masks import paste_masks
from jaxcnn.data import BadImage, Dataset, Split, decode_image, load
from jaxcnn.data.boxes import restore_boxes
from jaxcnn.data.decode import ordered_map, resize_array, upright_size
from jaxcnn.data.fit import restore_mask
from jaxcnn.data.splits import content_hash
from jaxcnn.errors import InputError, require, similar_paths
from jaxcnn.models import build
from jaxcnn.run.assemble import assemble, make_prepare
from jaxcnn.run.data import changed, check_data
from jaxcnn.run.folder import REMEDY, RunFolder
from jaxcnn.run.own_parts import Own, traced_for
from jaxcnn.run.runner import measure
from jaxcnn.spec import RunConfig
from jaxcnn.tasks import Task, make_task
from jaxcnn.train import Checkpoints, TrainState
from jaxcnn.train.state import init_variables
from jaxcnn.train.step import make_forward


def evaluate_run(
    directory: Path | str,
    *,
    split: str = "test",
    checkpoint: str = "last",
    model: linen.Module | None = None,
    task: Task | None = None,
    data: str | None = None,
    data_dir: str | None = None,
) -> dict[str, float]:
    """Compute the metrics of a run's checkpoint on a split of its data, which must be those that it recorded.

    Args:
        directory: The run's folder.
        split: test, validation or train.
        checkpoint: last, or best (lowest validation loss).
        model: The module, where the run trained a user-defined one.
        task: The task, where the run had a user-defined one.
        data: Image folder or .npz file, if it has moved.
        data_dir: Folder of TFDS sets, if it has moved.

    Raises:
        InputError: No such run, no checkpoint, a checkpoint of another model, unknown split, or data that have changed.

    >>> evaluate_run("runs/first", split="validation", checkpoint="best")  # doctest: +SKIP
    """
    moved = {"data": data, "data_dir": data_dir}
    return measure_run(directory, split=split, checkpoint=checkpoint, model=model, task=task, **moved)[0]


def measure_run(
    directory: Path | str,
    *,
    split: str = "test",
    checkpoint: str = "last",
    model: linen.Module | None = None,
    task: Task | None = None,
    data: str | None = None,
    data_dir: str | None = None,
) -> tuple[dict[str, float], dict[str, Any], tuple[str, ...]]:
    """Return the metrics of `evaluate_run`, what the task tells of the split beside them, and the class names.

    >>> metrics, details, names = measure_run("runs/first", split="validation")  # doctest: +SKIP
    """
    require(split in ("train", "validation", "test"), "split", repr(split), "choose train, validation or test")
    folder = RunFolder(Path(directory))
    config, own = _read_config(folder, Own(model, task))
    dataset = run_data(folder, config, data=data, data_dir=data_dir)
    parts = assemble(config, dataset, own)
    state = load_weights(folder, parts.module, dataset.image_shape, checkpoint)
    arrays = run_split(folder, dataset, split)
    metrics, _, details = measure(parts, state, arrays, config, dataset)
    return metrics, details, dataset.class_names


def run_data(
    folder: RunFolder, config: RunConfig, *, data: str | None = None, data_dir: str | None = None
) -> Dataset:  # fmt: skip
    """Load a run's data, from another place if they have moved, or raise InputError: they must be those of the run."""
    moved = {name: value for name, value in (("name", data), ("data_dir", data_dir)) if value is not None}
    try:
        dataset = load(replace(config.data, **moved))
    except InputError as error:
        if moved or Path(config.data.name).exists():
            raise
        raise InputError(f"{error}; if the run's data have moved, give their new place as data or data_dir") from None
    return check_data(folder, dataset)


def run_split(folder: RunFolder, dataset: Dataset, split: str) -> Split:
    """Return a split of a run's data, or raise InputError for a test split that is not the one it was measured on."""
    require(split in ("train", "validation", "test"), "split", repr(split), "choose train, validation or test")
    arrays = dataset.load_test() if split == "test" else getattr(dataset, split)
    recorded = folder.read_result().test_hash if folder.finished else None
    if split == "test" and recorded not in (None, content_hash(arrays)):
        raise changed(dataset, "test split", f"the run in {str(folder.path)!r}")
    return arrays


def load_model(
    directory: Path | str, *, checkpoint: str = "last", model: linen.Module | None = None
) -> tuple[linen.Module, dict[str, Any]]:
    """Return a run's network and its trained variables, `params` and `batch_stats`; arguments as for `evaluate_run`.

    Raises:
        InputError: No such run, no checkpoint, a checkpoint of another model.

    >>> module, variables = load_model("runs/first")  # doctest: +SKIP
    >>> logits = module.apply(variables, images, train=False)  # doctest: +SKIP
    """
    folder = RunFolder(Path(directory))
    config, own = _read_config(folder, Own(model), predicting=False)
    names, shape, *_ = described(folder)
    module = own.model or build(replace(config.model, num_classes=len(names)))
    return module, load_weights(folder, module, shape, checkpoint).trained


def predict(
    directory: Path | str,
    images: Sequence[Path | str | np.ndarray],
    *,
    top: int = 5,
    checkpoint: str = "last",
    model: linen.Module | None = None,
    task: Task | None = None,
) -> list[dict[str, Any]]:
    """Predict image files of any size and mode with a run's checkpoint; the data set itself is not needed.

    Images are decoded and predicted in batches as large as those of the training.

    Args:
        directory: The run's folder.
        images: Image files, or arrays uint8 (H, W, C); each file is converted to the channels, and all are resized to
            the size the model was trained on.
        top: Number of alternatives to list.
        checkpoint: last, or best (lowest validation loss); `model` and `task` as for `evaluate_run`.

    Returns:
        One mapping per image: path (None for an array), text (for the console), and what the task describes, or `error`
        for a file that cannot be read. Classification: name, probability, top (pairs of name and probability).
        Segmentation: mask, the class of each pixel of the file, uint8 (H, W), 255 where the network saw nothing
        (`data.fit` crop); classes, their names; areas (pairs of name and share). Detection: boxes (d, 4), (ymin, xmin,
        ymax, xmax) in pixels of the file, the best first; scores and labels (d,); classes, the names; size, (height,
        width) of the file. Instances: those of detection and masks, bool (d, H, W).

    Raises:
        InputError: No file can be read, no such run, no checkpoint.

    >>> predict("runs/first", ["photo.png"])[0]["name"]  # doctest: +SKIP
    """
    return load_predictor(directory, checkpoint=checkpoint, model=model, task=task)(images, top)


def load_predictor(
    directory: Path | str, *, checkpoint: str = "last", model: linen.Module | None = None, task: Task | None = None
) -> Callable[[Sequence[Path | str | np.ndarray], int], list[dict[str, Any]]]:
    """Load a run's checkpoint once; return the function of (images, top) that `predict` calls, arguments as there.

    >>> describe = load_predictor("runs/first")  # doctest: +SKIP
    >>> describe(["photo.png"], 5)[0]["name"]  # doctest: +SKIP
    """
    folder = RunFolder(Path(directory))
    config, own = _read_config(folder, Own(model, task))
    names, shape, mean, std = described(folder)
    module = own.model or build(replace(config.model, num_classes=len(names)))
    state, task = load_weights(folder, module, shape, checkpoint), own.task or make_task(config.task)
    forward = make_forward(module, task, prepare=make_prepare(mean, std, (), config.compute_dtype))
    decode = jax.jit(lambda state, batch: task.decode(forward(state, batch)))

    def describe(images: Sequence[Path | str | np.ndarray], top: int) -> list[dict[str, Any]]:
        size, found = max(min(config.batch_size, len(images)), 1), list[dict[str, Any]]()
        for start in range(0, len(images), size):
            paths = [each if isinstance(each, np.ndarray) else Path(each) for each in images[start : start + size]]
            read = list(ordered_map(lambda path: _read_image(path, shape, config.data.fit), paths, batch=8))
            pixels = np.zeros((size, *shape), np.uint8)
            for place, image in enumerate(read):
                if isinstance(image, np.ndarray):
                    pixels[place] = image
            decoded = jax.device_get(
                decode(state, {"images": jnp.asarray(pixels), "mask": jnp.ones(size, jnp.float32)})
            )
            for place, (path, image) in enumerate(zip(paths, read, strict=True)):
                row = {name: values[place] for name, values in decoded.items()}
                bad = {"text": image, "error": image} if isinstance(image, str) else None
                about: dict[str, Any] = bad or task.describe(row, names, top)
                if "mask" in about:
                    about["mask"] = restore_mask(about["mask"], _size(path), config.data.fit)
                if "boxes" in about:
                    original, sides = _size(path), (shape[0], shape[1])
                    whole = np.tile(np.asarray(sides, np.float64), 2)
                    boxes = restore_boxes(about["boxes"] * whole, original, sides, config.data.fit)
                    about |= {"boxes": boxes, "size": original}
                    if "masks" in about:
                        regions = about.pop("mask_boxes") * whole
                        regions = restore_boxes(regions, original, sides, config.data.fit, clipped=False)
                        about["masks"] = paste_masks(about["masks"], regions, original)
                found.append({"path": path if isinstance(path, Path) else None, **about})
        if images and all("error" in each for each in found):
            raise InputError(found[0]["error"])
        return found

    return describe


def described(folder: RunFolder) -> tuple[list[str], tuple[int, ...], np.ndarray, np.ndarray]:
    """Return class names, image shape, mean and standard deviation of the data that a run was trained on."""
    about = folder.read("data.json")
    try:
        names, shape = list(about["class_names"]), (*map(int, about["image_shape"]),)
        mean, std = (np.asarray(about[name], np.float32) for name in ("mean", "std"))
        if len(shape) != 3 or mean.shape != std.shape or mean.shape != (shape[2],):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{str(folder.path / 'data.json')!r}: it does not describe images; {REMEDY}") from None
    return names, shape, mean, std


def load_weights(
    folder: RunFolder, module: linen.Module, image_shape: tuple[int, ...], which: str = "last"
) -> TrainState:
    """Restore a run's last or best weights for images (H, W, C); no optimizer and no data are needed."""
    require(which in ("last", "best"), "checkpoint", repr(which), "choose last or best")
    if not folder.checkpoints.exists():
        reason = "it has no checkpoint yet; train it first"
        if folder.finished:
            never = folder.read_config()[0].keep == 0
            reason = "it was trained with keep=0 and has no checkpoint; train it with keep=1 or more"
            reason = reason if never else "its folder 'checkpoints' is missing; copy it here, or train the run again"
        raise InputError(f"run {str(folder.path)!r}: {reason}")
    shapes = jax.eval_shape(lambda key: init_variables(module, image_shape, key), jax.random.key(0))
    with Checkpoints(folder.checkpoints) as checkpoints:
        return checkpoints.restore(shapes, step=checkpoints.best if which == "best" else None)[0]


def _size(image: Path | np.ndarray) -> tuple[int, int]:
    return (image.shape[0], image.shape[1]) if isinstance(image, np.ndarray) else upright_size(image)


def _read_image(path: Path | np.ndarray, shape: tuple[int, ...], fit: str) -> np.ndarray | str:
    """Read an image file as uint8 of the model's (H, W, C), or return why it cannot be read; resize an array."""
    if isinstance(path, np.ndarray):
        if path.ndim != 3 or path.dtype != np.uint8 or path.shape[2] != shape[2]:
            return f"image {path.shape} {path.dtype}: give uint8 (H, W, {shape[2]})"
        return resize_array(path, (shape[0], shape[1]), fit)
    if path.is_dir():
        return f"image {str(path)!r}: it is a folder; give an image file"
    if not path.is_file():
        return f"image {str(path)!r}: there is no such file; check the path{similar_paths(path)}"
    try:
        return decode_image(path, shape[2], (shape[0], shape[1]), fit)
    except BadImage as error:
        return f"image {str(path)!r}: {error}; give a PNG, JPEG or another image file"


def _read_config(folder: RunFolder, own: Own, *, predicting: bool = True) -> tuple[RunConfig, Own]:
    """Return a run's config and the user's module and task as far as it has them, which must not have been edited."""
    if folder.finished:
        folder.read_result()  # the seals of the files beside it are checked, too
    config, module = folder.read_config()
    if module is not None and own.model is None:
        raise InputError(
            f"run {str(folder.path)!r}: its model is your own module {module}; "
            "give it from Python: evaluate_run, predict or load_model with model=..."
        )
    record = folder.read("config.json")
    parts = record.get("own", {})
    own = Own(own.model if module is not None else None, own.task if "task" in parts else None).checked()
    if predicting and "task" in parts and own.task is None:
        raise InputError(
            f"run {str(folder.path)!r}: its task is your own, {parts['task']!r}; give it from Python: evaluate_run or "
            "predict with task=..."
        )
    traced = traced_for(folder, config, own)
    for name, kind, stored, shown in (
        ("model", "network", record.get("model", {}), ("inference",)),
        ("parts", "task", parts, ("sums", "predictions", "metrics")),
    ):
        now, known = traced.get(name, {}), stored.get("computation", {})
        if now and now["traced_by"] == known.get("traced_by") and any(now[each] != known.get(each) for each in shown):
            raise InputError(
                f"run {str(folder.path)!r}: its {kind} was edited since (another computation in inference); give the "
                f"{'module' if kind == 'network' else kind} as it was trained"
            )
    return config, own
