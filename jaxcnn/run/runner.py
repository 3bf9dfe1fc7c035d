"""run(config) -> RunResult: train to the last epoch, then read the test split once."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxcnn.data import Dataset, Split, batch_indices, load, steps_per_epoch, take
from jaxcnn.data.stream import read_ahead
from jaxcnn.errors import InputError
from jaxcnn.run.assembly import Assembly, assemble, module_record
from jaxcnn.run.folder import REMEDY, RunDirectory
from jaxcnn.run.result import RunResult, load_result, store
from jaxcnn.runtime.environment import environment
from jaxcnn.spec import RunConfig, as_record
from jaxcnn.train import Checkpoints, Member, Plan, Programs, TrainState, evaluate, fit_together
from jaxcnn.train.divergence import diagnose, poisoned
from jaxcnn.train.log import JsonLines, TensorBoard, Writer
from jaxcnn.train.loop import Fitted
from jaxcnn.train.parallel import warm_up
from jaxcnn.train.parallel.hosts import first_host, in_turn, wait_for_hosts


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
    directory = directory_of(config, out, model)
    if directory is not None and directory.finished:
        return load_result(directory.path)
    dataset = load(config.data, progress=progress) if dataset is None else dataset
    parts = assemble(config, dataset, model)
    with ExitStack() as stack:
        begun = begin(stack, config, parts, dataset, directory, model, on_epoch=on_epoch, tensorboard=tensorboard)
        member, programs = begun.member, parts.programs
        compiled = warm_up(programs, member.state, dataset.train, config.batch_size, member.key)
        (fitted,) = fit_together(
            [member], programs, parts.task, dataset.train, dataset.validation,
            progress=progress, name=f"{dataset.name} seed {config.seed}",
        )  # fmt: skip
    return finish(begun, parts, dataset, fitted, programs, compiled, time.perf_counter() - started)


class Begun(NamedTuple):
    """A run under way: what the loop needs of it, and what lies behind it."""

    config: RunConfig
    directory: RunDirectory | None
    member: Member
    earlier: list[dict[str, Any]]


def directory_of(config: RunConfig, out: Path | str | None, model: linen.Module | None) -> RunDirectory | None:
    """A run's folder, free or its own; writes nothing.

    Raises:
        InputError: It holds something else.
    """
    if out is None:
        return None
    directory = RunDirectory(Path(out))
    directory.refuse_other(_record(config, model))
    return directory


def begin(
    stack: ExitStack,
    config: RunConfig,
    parts: Assembly,
    dataset: Dataset,
    directory: RunDirectory | None,
    model: linen.Module | None = None,
    *,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    tensorboard: bool = False,
) -> Begun:
    """Claim the folder, and go on from its latest checkpoint if there is one.

    Args:
        stack: Closes what is opened here.
        config: The run, whole; the other arguments are what `run` makes of its own.
    """
    init_key, key = jax.random.split(jax.random.key(config.seed))
    state = jax.device_get(parts.init(init_key))
    plan = Plan(
        config.epochs, config.batch_size, config.seed, config.checkpoint_every, config.checkpoint_steps,
        config.checkpoint_minutes, config.patience, config.on_nonfinite == "skip", config.data.workers,
        config.keep > 0,
    )  # fmt: skip
    if directory is None:
        return Begun(config, None, Member(state, plan, key, on_epoch=on_epoch), [])
    in_turn(lambda: _claim(stack, directory, _record(config, model), describe(dataset)))
    checkpoints, sums = stack.enter_context(Checkpoints(directory.checkpoints, max(config.keep, 1))), None
    if checkpoints.latest is not None:
        state, sums = checkpoints.restore(state, repair=True)
    per_epoch = steps_per_epoch(dataset.sizes["train"], config.batch_size)
    lines, writers = JsonLines(directory.metrics), list[Writer]()
    earlier = in_turn(lambda: _earlier(lines, directory, int(state.step), per_epoch))
    if first_host():
        writers.append(lines)
        if tensorboard:
            writers.append(TensorBoard(directory.path / "tensorboard"))
    member = Member(state, plan, key, sums, checkpoints, writers, on_epoch, earlier)
    return Begun(config, directory, member, earlier)


def finish(
    begun: Begun,
    parts: Assembly,
    dataset: Dataset,
    fitted: Fitted,
    programs: Programs,
    compiled: float,
    seconds: float,
) -> RunResult:
    """Measure a trained run on the test split, if it asks for that, and write its result.

    Args:
        begun: What `begin` gave.
        parts: Its parts.
        dataset: Its images.
        fitted: What the loop gave.
        programs: Those that trained it.
        compiled: Seconds that compiling took, for all members together.
        seconds: The run's share of all that was done so far.
    """
    config, (state, records) = begun.config, fitted
    started, test, predictions = time.perf_counter(), {}, {}
    lost = bool(state.skipped) and config.on_nonfinite == "stop"
    about = _divergence(parts, state, dataset, config, begun.member.key) if lost else None
    state = poisoned(state, [lost])
    if config.evaluate_test:  # The one place where training meets the test split: after its last epoch.
        test, predictions = measure(parts, state, dataset.load_test(), config.batch_size)
    seconds += time.perf_counter() - started + sum(record["seconds"] for record in begun.earlier)
    history = begun.earlier + records
    metrics = {k: v for k, v in history[-1].items() if k.startswith(("train_", "validation_"))}
    result = RunResult(
        config=config,
        directory=begun.directory.path if begun.directory else None,
        metrics=metrics | {f"test_{name}": value for name, value in test.items()},
        history=tuple(history),
        predictions=predictions,
        params=parts.cost.params,
        macs=parts.cost.macs,
        seconds=_seconds(history, compiled / programs.members, seconds),
        environment=environment(),
        data=describe(dataset),
        programs=programs.record,
        diverged=about,
    )
    if begun.directory is not None:
        if first_host():
            store(begun.directory, result)
            if config.keep == 0 and about is None:
                begun.directory.drop_checkpoints()
        wait_for_hosts("stored")
    return result


def _divergence(
    parts: Assembly, state: TrainState, dataset: Dataset, config: RunConfig, key: jax.Array
) -> dict[str, Any]:
    """The step that was not finite: its number, its examples' indices into the training split, loss and norms."""
    step, train = int(state.step), dataset.train
    indices, mask = batch_indices(len(train["labels"]), config.batch_size, seed=config.seed, step=step)
    batch = {name: jnp.asarray(values) for name, values in {**take(train, indices), "mask": mask}.items()}
    return {"step": step, "indices": indices[mask > 0].tolist(), **diagnose(parts.gradients, state, batch, key)}


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
        "sampled": dataset.sampled,
    }


def measure(
    parts: Assembly, state: TrainState, split: Split, batch_size: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics of a split, and its predictions per example."""
    programs = parts.programs
    count = len(split["labels"])
    with read_ahead(split, batch_size=batch_size, shuffle=False):
        sums, decoded = evaluate(programs.place(state), programs, programs.feed(split), count, batch_size)
    labels = np.asarray(split["labels"])
    predictions = {
        "labels": labels.astype(np.int32),
        "predictions": decoded["predictions"],
        "probability": decoded["probabilities"].max(axis=1),
        "correct": decoded["predictions"] == labels,
    }
    return parts.task.metrics(sums), predictions


def _record(config: RunConfig, model: linen.Module | None) -> dict[str, Any]:
    record = as_record(config)
    return record if model is None else record | {"model": module_record(model)}


def _earlier(lines: JsonLines, directory: RunDirectory, step: int, per_epoch: int) -> list[dict[str, Any]]:
    """The records of the epochs before the checkpoint that training goes on from, all of them or an error."""
    try:
        earlier = lines.read(up_to_epoch=step // per_epoch)
        epochs = [record["epoch"] for record in earlier]
    except (KeyError, TypeError):
        epochs, earlier = None, []
    if epochs != list(range(1, step // per_epoch + 1)):
        raise InputError(
            f"{str(directory.metrics)!r}: it does not hold the {step // per_epoch} epochs that the checkpoint beside "
            f"it has trained; {REMEDY}"
        )
    return earlier


def _claim(stack: ExitStack, directory: RunDirectory, record: dict[str, Any], about: dict[str, Any]) -> None:
    """Record config, data and environment, or refuse to go on with other images than the run began with."""
    directory.claim(record)
    if first_host():
        stack.enter_context(directory.held())
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
        "step": median(record["seconds"] / record["steps_timed"] for record in whole) if whole else math.nan,
        "total": total,
    }
