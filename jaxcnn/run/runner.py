"""run(config) -> RunResult: train to the last epoch, then read the test split once."""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxcnn.data import Dataset, Split, batch_indices, class_order, epoch_order, load, steps_per_epoch, take
from jaxcnn.data.augment import Augment
from jaxcnn.data.dataset import class_counts
from jaxcnn.data.loading import warn_of_blank
from jaxcnn.data.splits import content_hash
from jaxcnn.data.stream import read_ahead
from jaxcnn.errors import InputError, require
from jaxcnn.interop.weights import check_weights
from jaxcnn.run.assemble import Parts, assemble, initial_state
from jaxcnn.run.cached_features import with_cached_features
from jaxcnn.run.data import check_data, describe
from jaxcnn.run.extend import lengthen, shorter_run
from jaxcnn.run.finetune import record_weights, weights_of
from jaxcnn.run.folder import REMEDY, RunFolder, RunResult, load_result
from jaxcnn.run.measures import measures_of, measures_predictions
from jaxcnn.run.own_parts import Optimizer, Own, run_record, traced_for
from jaxcnn.runtime.environment import environment, now
from jaxcnn.runtime.files import write_json
from jaxcnn.spec import RunConfig
from jaxcnn.tasks import Task
from jaxcnn.train import Checkpoints, Programs, Run, TrainState, evaluate, fit
from jaxcnn.train.divergence import diagnose, poisoned
from jaxcnn.train.log import JsonLines, Writer
from jaxcnn.train.loop import OnStep, Order
from jaxcnn.train.parallel import warm_up
from jaxcnn.train.parallel.hosts import first_host, in_turn, wait_for_hosts
from jaxcnn.train.tensorboard import TensorBoard, summary_writer


def run(
    config: RunConfig,
    *,
    out: Path | str | None = None,
    model: linen.Module | None = None,
    task: Task | None = None,
    tx: Optimizer | None = None,
    augment: Augment | None = None,
    variables: Mapping[str, Any] | None = None,
    dataset: Dataset | None = None,
    extend: bool = False,
    progress: bool = True,
    tensorboard: bool = False,
    tensorboard_every: int = 1,
    writers: Sequence[Writer] = (),
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    on_step: OnStep | None = None,
) -> RunResult:
    """Train one model and measure it; the same call resumes an interrupted run.

    Args:
        config: The run.
        out: Its folder. Default: everything stays in memory.
        model: A user-defined Flax linen module instead of `config.model`; called with images (N, H, W, C), it returns
            what the task expects (classification: logits). With batch norm or dropout its call has an argument train
            (or training, is_training, deterministic, use_running_average); it may have mask (N,).
        task: A task, instead of that of `config.task`.
        tx: An optax chain, instead of `config.optimizer`; or a function (learning_rate, weight_decay) -> chain, which
            gets the two of `config.optimizer` as arrays. Its update may ask for `value`, the loss of the batch.
        augment: (key, images, start) -> images of the same shape and dtype, pixel values 0 .. 255, in training, after
            `config.data.augment`; `start` is the position of the first image in the whole batch.
        variables: Initial values of `params` and `batch_stats`, all or some of them, as `load_model` returns them.
        dataset: Images already loaded for `config.data`. Default: load them.
        extend: Train a run in `out` that had fewer epochs to the end of this config. The learning rates of the epochs
            that it had must be the same: schedule constant, or milestones that leave them as they were.
        progress: Show progress on the console.
        tensorboard: Also write TensorBoard events into the folder (extra `tensorboard`).
        tensorboard_every: Epochs from one histogram of the weights to the next.
        writers: Further loggers: `write(record, state)` of each is called after every epoch, on the first host.
        on_epoch: Called with each epoch's record.
        on_step: Called after each step with its record (step, epoch, and the metrics of that batch alone) and a
            function that fetches the state after it, arrays of NumPy. It waits for the device after every step.

    Returns:
        The result; a finished run in `out` is read, not repeated.

    Raises:
        InputError: An invalid value, a folder that holds another configuration's run (or that of a module or another
            part that was edited since), unreadable data.
        Interrupted: Ctrl-C; the state is saved if `out` was given.
    """
    started = time.perf_counter()
    require(out is not None or not tensorboard, "tensorboard", tensorboard, "needs out, the folder to write to")
    require(tensorboard_every >= 1, "tensorboard_every", tensorboard_every, "must be at least 1")
    if tensorboard:
        summary_writer()  # Refused before anything is written.
    own, shorter = Own(model, task, tx, augment, variables).checked(), None
    if extend:
        require(out is not None, "extend", extend, "it needs the folder of the run as out")
        record = run_record(config, own, traced_for(RunFolder(Path(str(out))), config, own))
        shorter = in_turn(lambda: shorter_run(Path(str(out)), config, record))
    folder = open_folder(config, out, own) if shorter is None else shorter
    if folder is not None and folder.finished and shorter is None:
        if os.path.exists(config.data.name):  # files, which may have been written anew since
            check_data(folder, load(config.data))
        if progress:
            print(f"{str(folder.path)!r} holds this run, finished: it is read, nothing is trained", file=sys.stderr)
        return load_result(folder.path)
    if config.weights is not None:
        check_weights(config.weights, config.model)  # before the images, which may not fit weights that do not exist
    if dataset is None:
        dataset = load(config.data, progress=progress)
        warn_of_blank(dataset)
    if folder is not None:
        dataset = check_data(folder, dataset)
    parts = with_cached_features(assemble(config, dataset, own), config, dataset)
    if progress and out is None:
        print("no folder to write to (--out): the model will not be kept", file=sys.stderr)
    if progress and np.ndim(dataset.train.get("labels", 0)) == 1:
        print(_summary(dataset), file=sys.stderr)
    if shorter is not None:
        in_turn(lambda: lengthen(shorter, config, run_record(config, own, parts.traced)))
    with ExitStack() as stack:
        one = begin(stack, config, parts, dataset, folder, on_epoch=on_epoch, on_step=on_step)
        if first_host():
            if tensorboard:
                where, record = Path(str(out)) / "tensorboard", run_record(config, own, parts.traced)
                past = len(one.history)
                board = TensorBoard(
                    where, record, epochs=past, every=tensorboard_every, **_looks(parts, config, dataset, one.key)
                )
                stack.callback(board.close)
                one.writers = (*one.writers, board)
            one.writers = (*one.writers, *writers)
        name, programs = f"{dataset.name} seed {config.seed}", parts.programs
        programs = programs if on_step is None else programs._replace(stretch=None)
        return complete([(one, folder)], parts, programs, dataset, name, started, progress)[0]


def open_folder(config: RunConfig, out: Path | str | None, own: Own) -> RunFolder | None:
    """Return a run's folder, which is free or its own, or raise InputError; write nothing.

    Images at another path are accepted if they are the ones that the run recorded: data can be moved.
    """
    if out is None:
        return None
    folder = RunFolder(Path(out))
    record = run_record(config, own, traced_for(folder, config, own))
    folder.refuse_other(record)
    if folder.names_other_data(record):
        check_data(folder, load(config.data))
    return folder


def begin(
    stack: ExitStack,
    config: RunConfig,
    parts: Parts,
    dataset: Dataset,
    folder: RunFolder | None,
    *,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    on_step: OnStep | None = None,
) -> Run:
    """Claim the folder and restore the latest checkpoint if there is one; `stack` closes what is opened here."""
    init_key, key = jax.random.split(jax.random.key(config.seed))
    one = Run(config, initial_state(parts, config, dataset, init_key), key, on_epoch=on_epoch, on_step=on_step)
    one.scheduled = parts.own.tx is None
    if folder is None:
        return one
    weights = weights_of(config, dataset)
    about = None if weights is None else weights.record
    in_turn(lambda: _claim(stack, folder, run_record(config, parts.own, parts.traced), dataset, about))
    one.checkpoints = stack.enter_context(Checkpoints(folder.checkpoints, max(config.keep, 1)))
    if one.checkpoints.latest is not None:
        one.state, one.sums = one.checkpoints.restore(one.state, repair=True)
    lines = JsonLines(folder.metrics)
    epochs = int(one.state.step) // steps_per_epoch(dataset.sizes["train"], config.batch_size)
    one.history = in_turn(lambda: _past_epochs(lines, folder, epochs))
    if first_host():
        one.writers = (lines,)
    return one


def complete(
    group: Sequence[tuple[Run, RunFolder | None]], parts: Parts, programs: Programs, dataset: Dataset, name: str,
    started: float, progress: bool,
) -> list[RunResult]:  # fmt: skip
    """Train runs that are at the same step to their end, measure them, and write their results into their folders.

    The programs are made for as many runs. Seconds of a result are a run's share of the time since `started`; `name`
    is the label of the progress bar.
    """
    runs, past = [one for one, _ in group], [len(one.history) for one, _ in group]
    state, key = programs.join([one.state for one in runs]), programs.join([one.key for one in runs])
    train, validation = parts.seen(dataset.train), parts.seen(dataset.validation)
    compiled = warm_up(programs, state, train, runs[0].config.batch_size, key) / len(runs)
    order = order_of(parts.task, dataset, runs[0].config)
    fit(runs, programs, parts.task, train, validation, order=order, progress=progress, name=name)
    share = (time.perf_counter() - started) / len(runs)
    return [
        finish(one, folder, parts, dataset, programs, compiled, share, epochs)
        for (one, folder), epochs in zip(group, past, strict=True)
    ]


def order_of(task: Task, dataset: Dataset, config: RunConfig) -> Order:
    """Return the order of the training images: random, or by classes where the task compares images of a batch."""
    if task.per_class is None:
        return epoch_order
    return class_order(np.asarray(dataset.train["labels"]), config.batch_size, task.per_class)


def finish(
    one: Run, folder: RunFolder | None, parts: Parts, dataset: Dataset, programs: Programs, compiled: float,
    seconds: float, past: int,
) -> RunResult:  # fmt: skip
    """Measure a trained run on the test split, if its config says so, and write its result.

    Compiling and everything so far took it `compiled` and `seconds`; an earlier process trained `past` of its epochs.
    """
    config, started, test, predictions, details = one.config, time.perf_counter(), {}, {}, {}
    data = describe(dataset) if folder is None else folder.read("data.json")
    about = None if one.diverged is None else _divergence(parts, one, dataset)
    state = poisoned(one.state, [one.diverged is not None])
    if config.evaluate_test:  # The one place where training meets the test split: after its last epoch.
        arrays = dataset.load_test()
        test, predictions, details = measure(parts, state, arrays, config, dataset)
        data["test_hash"] = content_hash(arrays)
    whole = {}
    if measures_predictions(parts.task.name):  # what choices are made by: no sum over batches gives it
        validation = measure(parts, state, dataset.validation, config, dataset)[0]
        whole = {name: value for name, value in validation.items() if f"validation_{name}" not in one.history[-1]}
    seconds += time.perf_counter() - started + sum(record["seconds"] for record in one.history[:past])
    timed = [record["seconds"] / record["steps_timed"] for record in one.history if record["steps_timed"]]
    metrics = {k: v for k, v in one.history[-1].items() if k.startswith(("train_", "validation_"))}
    result = RunResult(
        config=config,
        directory=folder.path if folder else None,
        metrics=metrics
        | {f"validation_{name}": value for name, value in whole.items()}
        | {f"test_{name}": value for name, value in test.items()},
        history=tuple(one.history),
        predictions=predictions,
        params=parts.complexity.params,
        macs=parts.complexity.macs,
        seconds={
            "compile": compiled,
            "train": sum(record["seconds"] for record in one.history),
            "step": median(timed) if timed else math.nan,
            "total": seconds,
        },
        environment=environment(),
        data=data,
        programs=programs.record,
        diverged=about,
        finished=now(),
        details=details,
        extended=folder.stages if folder else (),
    )
    if folder is not None:
        if first_host():
            if test:
                last = {f"validation_{name}": value for name, value in whole.items()}
                last |= {f"test_{name}": value for name, value in test.items()}
                JsonLines(folder.metrics).complete(result.history, last)
            folder.store(result)
            if config.keep == 0 and about is None:
                for name in ("checkpoints", "checkpoints_digests"):
                    shutil.rmtree(folder.path / name, ignore_errors=True)
        wait_for_hosts("stored")
    return result


def _divergence(parts: Parts, one: Run, dataset: Dataset) -> dict[str, Any]:
    """Measure the step that was not finite: its number, its examples' indices in the training split, loss, norms."""
    step, train, config = int(one.state.step), dataset.train, one.config
    count, order = dataset.sizes["train"], order_of(parts.task, dataset, config)
    rows = order(count, config.seed, step // steps_per_epoch(count, config.batch_size))
    even = config.batches == "even" and order is epoch_order
    indices, mask = batch_indices(len(rows), config.batch_size, seed=config.seed, step=step, order=rows, even=even)
    batch = {name: jnp.asarray(values) for name, values in {**take(train, indices), "mask": mask}.items()}
    return {"step": step, "indices": indices[mask > 0].tolist(), **diagnose(parts.gradients, one.state, batch, one.key)}


def _summary(dataset: Dataset) -> str:
    counts = np.bincount(dataset.train["labels"], minlength=len(dataset.class_names)).tolist()
    shown = class_counts(dataset.class_names, counts)
    return f"{dataset.name}: {sum(counts):,} training images in {len(counts)} classes: {shown}"


def measure(
    parts: Parts, state: TrainState, split: Split, config: RunConfig, dataset: Dataset
) -> tuple[dict[str, float], dict[str, np.ndarray], dict[str, Any]]:
    """Compute the metrics of a split, its predictions per example and its details, as the task saves them."""
    programs, count, task, seen = parts.programs, len(split["images"]), parts.task, parts.seen(split)
    with read_ahead(split, batch_size=config.batch_size, shuffle=False):
        sums, decoded = evaluate(programs.place(state), programs, programs.feed(seen), count, config.batch_size)
    saved, classes = task.save(decoded, split), len(dataset.class_names)
    metrics, details = measures_of(task.name, saved, classes, dataset.image_shape, config.data)
    return task.metrics(sums) | metrics, saved, task.details(decoded, split) | details


def _looks(parts: Parts, config: RunConfig, dataset: Dataset, key: jax.Array) -> dict[str, Any]:
    """Return what TensorBoard looks at: pictures and gradients; nothing where several processes train."""
    if jax.process_count() > 1:
        return {}
    from jaxcnn.run.board import make_gradients_of, make_look

    def measured(state: TrainState) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return measure(parts, state, dataset.validation, config, dataset)[1:]

    return {
        "look": make_look(parts, dataset, measured),
        "gradients": make_gradients_of(parts, dataset, config.batch_size, config.seed, key),
    }


def _past_epochs(lines: JsonLines, folder: RunFolder, epochs: int) -> list[dict[str, Any]]:
    """Return the records of the epochs before the checkpoint, all of them or an error."""
    try:
        records = lines.read(up_to_epoch=epochs)
        numbers = [record["epoch"] for record in records]
    except (KeyError, TypeError):
        numbers, records = None, []
    if numbers != list(range(1, epochs + 1)):
        raise InputError(
            f"{str(folder.metrics)!r}: it does not hold the {epochs} epochs that the checkpoint beside it has trained; "
            f"{REMEDY}"
        )
    return records


def _claim(
    stack: ExitStack, folder: RunFolder, record: dict[str, Any], dataset: Dataset, weights: dict[str, Any] | None
) -> None:
    """Record config, data and environment, or refuse to resume with other images than the run began with."""
    folder.claim(record)
    if first_host():
        stack.enter_context(folder.lock())
    check_data(folder, dataset)
    if weights is not None:
        record_weights(folder, weights)
    write_json(folder.path / "environment.json", environment())
    if not (folder.path / "data.json").exists():
        write_json(folder.path / "data.json", describe(dataset))
