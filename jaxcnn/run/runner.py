"""run(config) -> RunResult: train to the last epoch, then read the test split once."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import jax
import numpy as np
from flax import linen

from jaxcnn.data import Dataset, Split, batch_indices, load, steps_per_epoch
from jaxcnn.errors import InputError
from jaxcnn.run.assembly import Assembly, assemble, module_record
from jaxcnn.run.directory import REMEDY, RunDirectory
from jaxcnn.run.environment import environment
from jaxcnn.spec import RunConfig, as_record
from jaxcnn.train import Checkpoints, Plan, TrainState, evaluate, fit
from jaxcnn.train.parallel import warm_up
from jaxcnn.train.writers import JsonLines, TensorBoard, Writer


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Args:
        config: The run that was asked for.
        directory: Its folder, None where nothing was written.
        metrics: Of the last epoch: train_, validation_ and (if evaluate_test) test_ loss (nats) and accuracy.
        history: One record an epoch.
        predictions: Of the test split, per example: labels, predictions, probability (of the predicted class), correct;
            empty where evaluate_test is off.
        params: Trainable parameters.
        macs: Multiply-accumulates of one image's forward pass, convolutions and dense layers.
        seconds: compile, train, step (median over epochs, a step), total.
        environment: Versions and hardware.
        data: The data set: name, sizes, classes, shape, normalisation, hash of the validation split.
    """

    config: RunConfig
    directory: Path | None
    metrics: dict[str, float]
    history: tuple[dict[str, Any], ...]
    predictions: dict[str, np.ndarray]
    params: int
    macs: int
    seconds: dict[str, float]
    environment: dict[str, Any]
    data: dict[str, Any]


def run(
    config: RunConfig,
    *,
    out: Path | str | None = None,
    model: linen.Module | None = None,
    dataset: Dataset | None = None,
    progress: bool = True,
    tensorboard: bool = False,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> RunResult:
    """Train one model and measure it; the same call goes on where an interrupted one stopped.

    Args:
        config: The run, whole.
        out: Its folder; None keeps everything in memory.
        model: Your own Flax module in place of `config.model`; called with images (N, H, W, C), it returns logits.
        dataset: Images already loaded for `config.data`; None loads them.
        progress: Show progress on the console.
        tensorboard: Also write TensorBoard events into the folder (extra `tensorboard`).
        on_epoch: Called with each epoch's record.

    Returns:
        The result; a finished run in `out` is read, not repeated.

    Raises:
        InputError: A value that cannot be, a folder that holds another configuration's run, unreadable data.
        Interrupted: Ctrl-C; the state is saved if `out` was given.
    """
    started = time.perf_counter()
    record = as_record(config)
    if model is not None:
        record["model"] = module_record(model)
    directory = RunDirectory(Path(out)) if out is not None else None
    if directory is not None:
        directory.refuse_other(record)
        if directory.finished:
            return load_result(directory.path)
    dataset = load(config.data, progress=progress) if dataset is None else dataset
    parts = assemble(config, dataset, model)
    key = jax.random.key(config.seed)
    init_key, run_key = jax.random.split(key)
    state = parts.init(init_key)
    about = describe(dataset)
    options = {"progress": progress, "on_epoch": on_epoch, "name": f"{dataset.name} seed {config.seed}"}
    if directory is not None:
        _begin(directory, record, about)
    state, history, compiled, before = _train(
        config, parts, dataset, jax.device_get(state), run_key, directory, options, tensorboard
    )
    test, predictions = {}, {}
    if config.evaluate_test:  # The one place where training meets the test split: after its last epoch.
        test, predictions = measure(parts, state, dataset.load_test(), config.batch_size)
    metrics = {k: v for k, v in history[-1].items() if k.startswith(("train_", "validation_"))}
    result = RunResult(
        config=config,
        directory=directory.path if directory else None,
        metrics=metrics | {f"test_{name}": value for name, value in test.items()},
        history=tuple(history),
        predictions=predictions,
        params=parts.cost.params,
        macs=parts.cost.macs,
        seconds=_seconds(history, compiled, time.perf_counter() - started + before),
        environment=environment(),
        data=about,
    )
    if directory is not None:
        _store(directory, result)
    return result


def load_result(directory: Path | str) -> RunResult:
    """Read a finished run.

    Raises:
        InputError: Not a run's folder, not finished, or damaged; the run of a user's own module reads too, with the
            config's model left at its default.
    """
    folder = RunDirectory(Path(directory))
    config, _ = folder.read_config()
    stored = folder.read_result()
    try:
        return RunResult(
            config=config,
            directory=folder.path,
            metrics=stored["metrics"],
            history=tuple(stored["history"]),
            predictions=folder.read_predictions(stored["predictions_sha256"]) if config.evaluate_test else {},
            params=stored["params"],
            macs=stored["macs"],
            seconds=stored["seconds"],
            environment=folder.read("environment.json"),
            data=folder.read("data.json"),
        )
    except KeyError as error:
        raise InputError(f"run {str(folder.path)!r}: result.json lacks {error}; {REMEDY}") from error


def describe(dataset: Dataset) -> dict[str, Any]:
    """What is recorded of a data set: enough to name it, to check it and to predict with the model later."""
    return {
        "name": dataset.name,
        "sizes": dict(dataset.sizes),
        "class_names": list(dataset.class_names),
        "image_shape": list(dataset.image_shape),
        "mean": dataset.mean.tolist(),
        "std": dataset.std.tolist(),
        "validation_hash": dataset.validation_hash,
        "skipped": list(dataset.skipped),
    }


def measure(
    parts: Assembly, state: TrainState, split: Split, batch_size: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics of a split, and its predictions per example."""
    programs = parts.programs
    sums, decoded = evaluate(programs.place(state), programs, programs.feed(split), len(split["labels"]), batch_size)
    labels = np.asarray(split["labels"])
    predictions = {
        "labels": labels.astype(np.int32),
        "predictions": decoded["predictions"],
        "probability": decoded["probabilities"].max(axis=1),
        "correct": decoded["predictions"] == labels,
    }
    return parts.task.metrics(sums), predictions


def _train(
    config: RunConfig,
    parts: Assembly,
    dataset: Dataset,
    state: TrainState,
    key: jax.Array,
    directory: RunDirectory | None,
    options: dict[str, Any],
    tensorboard: bool,
) -> tuple[TrainState, list[dict[str, Any]], float, float]:
    """Fit from the latest checkpoint, if there is one, to the last epoch.

    Returns:
        State, history, the seconds that compiling took, and those of epochs trained before an interruption.
    """
    plan = Plan(config.epochs, config.batch_size, config.seed, config.checkpoint_every)
    checkpoints, sums, earlier = None, None, []
    writers: list[Writer] = []
    with ExitStack() as stack:
        if directory is not None:
            checkpoints = stack.enter_context(Checkpoints(directory.checkpoints))
            if checkpoints.latest is not None:
                state, sums = checkpoints.restore(state)
            lines = JsonLines(directory.metrics)
            per_epoch = steps_per_epoch(dataset.sizes["train"], plan.batch_size)
            earlier = _earlier(lines, directory, int(state.step), per_epoch)
            writers.append(lines)
            if tensorboard:
                writers.append(TensorBoard(directory.path / "tensorboard"))
        programs = parts.programs
        indices, mask = batch_indices(dataset.sizes["train"], plan.batch_size, seed=plan.seed, step=0)
        compiled = warm_up(programs, state, programs.feed(dataset.train)(indices, mask), key)
        state, records = fit(
            state, programs, parts.task, dataset.train, dataset.validation, plan, key,
            sums=sums, checkpoints=checkpoints, writers=writers, **options,
        )  # fmt: skip
    return state, earlier + records, compiled, sum(record["seconds"] for record in earlier)


def _earlier(lines: JsonLines, directory: RunDirectory, step: int, per_epoch: int) -> list[dict[str, Any]]:
    """The records of the epochs before the checkpoint that training goes on from, all of them or an error."""
    try:
        earlier = lines.read(up_to_step=step)
        epochs = [record["epoch"] for record in earlier]
    except (KeyError, TypeError):
        epochs, earlier = None, []
    if epochs != list(range(1, step // per_epoch + 1)):
        raise InputError(
            f"{str(directory.metrics)!r}: it does not hold the {step // per_epoch} epochs that the checkpoint beside "
            f"it has trained; {REMEDY}"
        )
    return earlier


def _begin(directory: RunDirectory, record: dict[str, Any], about: dict[str, Any]) -> None:
    """Record config, data and environment, or refuse to go on with other images than the run began with."""
    directory.claim(record)
    directory.write("environment.json", environment())
    if not (directory.path / "data.json").exists():
        directory.write("data.json", about)
        return
    held = directory.read("data.json")
    for name in ("sizes", "class_names", "image_shape", "validation_hash"):
        if held.get(name) != about[name]:
            raise InputError(
                f"data {about['name']!r}: its {name} changed since the run in {str(directory.path)!r} began "
                f"({held.get(name)!r}, now {about[name]!r}); restore the data or choose another folder"
            )


def _seconds(history: list[dict[str, Any]], compiled: float, total: float) -> dict[str, float]:
    whole = [record for record in history if record["steps_timed"]]
    return {
        "compile": compiled,
        "train": sum(record["seconds"] for record in history),
        "step": median(record["seconds"] / record["steps_timed"] for record in whole),
        "total": total,
    }


def _store(directory: RunDirectory, result: RunResult) -> None:
    digest = directory.write_predictions(result.predictions) if result.predictions else None
    directory.write_result(
        {
            "predictions_sha256": digest,
            "metrics": result.metrics,
            "history": list(result.history),
            "params": result.params,
            "macs": result.macs,
            "seconds": result.seconds,
        }
    )
