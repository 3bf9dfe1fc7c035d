"""A trained run at work: measured again, or shown new images."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxcnn.data import BadImage, decode_image, load
from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.run.assembly import assemble, make_prepare
from jaxcnn.run.folder import REMEDY, RunDirectory
from jaxcnn.run.runner import measure
from jaxcnn.spec import RunConfig
from jaxcnn.tasks import classification
from jaxcnn.train import Checkpoints, TrainState, make_eval_step, make_init, make_optimizer


class Prediction(NamedTuple):
    """What a model says of one image: the best class, its probability, and the best few with theirs."""

    path: Path
    name: str
    probability: float
    top: tuple[tuple[str, float], ...]


def evaluate_run(
    directory: Path | str,
    *,
    split: str = "test",
    checkpoint: str = "last",
    model: linen.Module | None = None,
    data_dir: str | None = None,
) -> dict[str, float]:
    """Metrics of a run's checkpoint on a split of its data.

    Args:
        directory: The run's folder.
        split: test, validation or train.
        checkpoint: last, or best (lowest validation loss).
        model: The module, where the run trained a user's own.
        data_dir: Where TFDS sets lie now, if no longer where they lay.

    Raises:
        InputError: No such run, no checkpoint, a checkpoint of another model, unknown split.
    """
    if split not in ("train", "validation", "test"):
        raise InputError(f"split={split!r}: choose train, validation or test")
    folder = RunDirectory(Path(directory))
    config, model = _read_config(folder, model)
    if data_dir is not None:
        config = replace(config, data=replace(config.data, data_dir=data_dir))
    dataset = load(config.data)
    parts = assemble(config, dataset, model)
    state = _restore(folder, parts.init(jax.random.key(0)), checkpoint)
    arrays = dataset.load_test() if split == "test" else getattr(dataset, split)
    return measure(parts, state, arrays, config.batch_size)[0]


def predict(
    directory: Path | str,
    images: Sequence[Path | str],
    *,
    top: int = 5,
    checkpoint: str = "last",
    model: linen.Module | None = None,
) -> list[Prediction]:
    """Classify image files of any size and mode with a run's checkpoint; the data set itself is not needed.

    Args:
        directory: The run's folder.
        images: Image files; each is converted to the channels and resized to the size the model was trained on.
        top: How many classes to list.
        checkpoint: last, or best (lowest validation loss).
        model: The module, where the run trained a user's own.

    Raises:
        InputError: A file that is missing or cannot be decoded (named), no such run, no checkpoint.
    """
    folder = RunDirectory(Path(directory))
    config, model = _read_config(folder, model)
    about = folder.read("data.json")
    try:
        names, shape = list(about["class_names"]), (*map(int, about["image_shape"]),)
        mean, std = (np.asarray(about[name], np.float32) for name in ("mean", "std"))
        if len(shape) != 3 or mean.shape != std.shape or mean.shape != (shape[2],):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{str(folder.path / 'data.json')!r}: it does not describe images; {REMEDY}") from None
    pixels = np.stack([_read_image(Path(path), shape) for path in images])
    module = build(replace(config.model, num_classes=len(names))) if model is None else model
    init = make_init(module, make_optimizer(config.optimizer, 2, 1), shape, ema=config.ema is not None)
    state = _restore(folder, init(jax.random.key(0)), checkpoint)
    prepare = make_prepare(mean, std, (), config.compute_dtype)
    step = jax.jit(make_eval_step(module, classification(), prepare=prepare, flips=config.test_flips))
    batch = {
        "images": jnp.asarray(pixels),
        "labels": jnp.zeros(len(pixels), jnp.int32),
        "mask": jnp.ones(len(pixels), jnp.float32),
    }
    probabilities = np.asarray(step(state, batch)[1]["probabilities"])
    return [_prediction(Path(path), row, names, top) for path, row in zip(images, probabilities, strict=True)]


def _read_image(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """An image file as uint8 of the model's (H, W, C)."""
    if not path.is_file():
        raise InputError(f"image {str(path)!r}: there is no such file; check the path")
    try:
        return decode_image(path, shape[2], (shape[0], shape[1]))
    except BadImage as error:
        raise InputError(f"image {str(path)!r}: {error}; give a PNG, JPEG or another image file") from error


def _prediction(path: Path, row: np.ndarray, names: Sequence[str], top: int) -> Prediction:
    order = np.argsort(-row)[: max(top, 1)]
    best = tuple((str(names[i]), float(row[i])) for i in order)
    return Prediction(path, best[0][0], best[0][1], best)


def _read_config(folder: RunDirectory, model: linen.Module | None) -> tuple[RunConfig, linen.Module | None]:
    if folder.finished:
        folder.read_result()  # the seals of what lies beside it are checked, too
    config, own = folder.read_config()
    if own is not None and model is None:
        raise InputError(
            f"run {str(folder.path)!r}: its model is your own module {own}; "
            "call evaluate_run or predict from Python with model=..."
        )
    return config, model if own is not None else None


def _restore(folder: RunDirectory, like: TrainState, which: str) -> TrainState:
    if which not in ("last", "best"):
        raise InputError(f"checkpoint={which!r}: choose last or best")
    if not folder.checkpoints.exists() and folder.finished:
        raise InputError(
            f"run {str(folder.path)!r}: it was trained with keep=0 and has no checkpoint; train one that has"
        )
    if not folder.checkpoints.exists():
        raise InputError(f"run {str(folder.path)!r}: it has no checkpoint yet; train it first")
    with Checkpoints(folder.checkpoints) as checkpoints:
        step = checkpoints.best if which == "best" else None
        return checkpoints.restore(jax.device_get(like), step=step).state
