"""The user's own parts of a run, in place of those that its config names: their checks and their record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen

from jaxcnn.analysis.fingerprint import fingerprint
from jaxcnn.data import Dataset
from jaxcnn.data.augment import Augment
from jaxcnn.data.sources.catalog import located
from jaxcnn.errors import InputError, require
from jaxcnn.models import build
from jaxcnn.records import as_record
from jaxcnn.run.finetune import with_absolute_weights
from jaxcnn.run.folder import REMEDY, RunFolder
from jaxcnn.run.own_module import (
    EXAMPLES,
    computation,
    module_call,
    module_inputs,
    module_record,
    own_network,
    versions,
)  # fmt: skip
from jaxcnn.spec import RunConfig
from jaxcnn.tasks import Task
from jaxcnn.train import TrainState
from jaxcnn.train.state import by_path

Optimizer = optax.GradientTransformation | Callable[[Any, Any], optax.GradientTransformation]
"""An optax chain, or a function (learning_rate, weight_decay) -> chain; it gets the rates as arrays."""
Traced = Mapping[str, Mapping[str, str]]
"""What user-defined parts compute: `model` the network's, `parts` that of all others."""
Arrays = Mapping[str, jax.ShapeDtypeStruct]


class Own(NamedTuple):
    """Parts of a run that the user made; None: that of the config.

    Args:
        model: A Flax linen module, instead of `config.model`.
        task: A task, instead of `config.task`.
        tx: An optax chain, or a function of `config.optimizer`'s two rates that makes one; instead of the rest of
            `config.optimizer`.
        augment: (key, images, start) -> images, after those of `config.data.augment`.
        variables: Initial `params` and `batch_stats`, all or some of them; the others are drawn.
    """

    model: linen.Module | None = None
    task: Task | None = None
    tx: Optimizer | None = None
    augment: Augment | None = None
    variables: Mapping[str, Any] | None = None

    @property
    def names(self) -> dict[str, str]:
        """What config.json says of the parts beside the module."""
        return {
            **({} if self.task is None else {"task": self.task.name}),
            **({} if self.tx is None else {"tx": "chain" if _is_chain(self.tx) else function_name(self.tx)}),
            **({} if self.augment is None else {"augment": function_name(self.augment)}),
            **({} if self.variables is None else {"variables": _digest(self.variables)}),
        }

    def checked(self) -> Own:
        """Return the parts, or refuse one of another kind, by an InputError that names it."""
        for name, kind, right in (
            ("task", "a jaxcnn.tasks.Task; its config goes into RunConfig(task=...)", isinstance(self.task, Task)),
            ("tx", "an optax chain, or a function (learning_rate, weight_decay) -> chain", callable(self.tx)
             or _is_chain(self.tx)),
            ("augment", "a function (key, images, start) -> images; names go into DataConfig", callable(self.augment)),
            ("variables", "a mapping with params and batch_stats", isinstance(self.variables, Mapping)),
        ):  # fmt: skip
            value = getattr(self, name)
            require(value is None or right, name, type(value).__name__, f"give {kind}")
        return self


def function_name(function: Any) -> str:
    """Return "module:qualname" of a function, of its class, or of what a partial calls."""
    function = getattr(function, "func", function)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def make_tx(tx: Optimizer) -> optax.GradientTransformation:
    """Return the chain of a user-defined optimizer, its rates, where it is a function of them, as arrays in its state.

    >>> tx = make_tx(lambda learning_rate, weight_decay: optax.adamw(learning_rate, weight_decay=weight_decay))
    >>> sorted(tx.init({"bias": jnp.ones(2)}).hyperparams)
    ['learning_rate', 'weight_decay']
    """
    chain: Any = tx
    if not _is_chain(tx):
        make: Any = tx
        both = optax.inject_hyperparams(lambda learning_rate, weight_decay: make(learning_rate, weight_decay))
        chain = both(learning_rate=jnp.float32(1.0), weight_decay=jnp.float32(0.0))
    inner = optax.with_extra_args_support(chain)

    def update(updates: Any, state: Any, params: Any = None, **more: Any) -> tuple[Any, Any]:
        with jax.numpy_dtype_promotion("standard"):  # optax mixes integer counts with floats
            return inner.update(updates, state, params, **more)

    return optax.GradientTransformationExtraArgs(chain.init, update)


def started_from(state: TrainState, tx: optax.GradientTransformation, variables: Mapping[str, Any]) -> TrainState:
    """Return a fresh state whose variables have given values, as far as they are given.

    Raises:
        InputError: The network has no variable of that path, or one of another shape.
    """
    drawn = {"params": state.params, "batch_stats": state.batch_stats}
    known, given = by_path(drawn), by_path(variables)
    for path, value in given.items():
        if path not in known:
            raise InputError(
                f"variables={path}: the network has no such variable, it has {next(iter(known))}; give params and "
                "batch_stats as load_model returns them, or leave it out"
            )
        if np.shape(value) != known[path].shape:
            raise InputError(
                f"variables={path}: its shape is {np.shape(value)} where the network's is {known[path].shape}; leave "
                "it out, and it is drawn"
            )
    leaves = [jnp.asarray(given.get(path, leaf), leaf.dtype) for path, leaf in known.items()]
    started = jax.tree.unflatten(jax.tree.structure(drawn), leaves)
    averages = started if state.ema else {}
    return state._replace(**started, opt_state=tx.init(started["params"]), ema=averages)


def arrays_of(dataset: Dataset) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shape of one example and the dtype of each array of the training split."""
    return {name: jax.ShapeDtypeStruct(each.shape[1:], each.dtype) for name, each in dataset.train.items()}


def traced_parts(own: Own, config: RunConfig, image_shape: tuple[int, ...], classes: int, arrays: Arrays) -> Traced:
    """Return fingerprints of what user-defined parts compute, after a check of each of them.

    Args:
        own: The parts.
        config: The run.
        image_shape: (H, W, C).
        classes: Number of classes of the data.
        arrays: Those of `arrays_of`.

    Raises:
        InputError: A loss that is no pair of scalars, an augmentation that changes shape or dtype, an optimizer that
            changes the structure of its state.
    """
    network, found = own_network(config, own.model, classes), dict[str, Mapping[str, str]]()
    if network is not None:
        found["model"] = computation(network, image_shape)
    if own.task is None and own.tx is None and own.augment is None:
        return found
    parts = {"traced_by": versions()}
    key = jax.eval_shape(lambda: jax.random.key(0))
    if own.task is not None or own.tx is not None:
        module = build(replace(config.model, num_classes=classes)) if network is None else network
        variables, *inputs = module_inputs(module, image_shape)
        if own.task is not None:
            batch = {name: jax.ShapeDtypeStruct((EXAMPLES, *each.shape), each.dtype) for name, each in arrays.items()}
            batch |= {"images": inputs[0], "mask": inputs[1]}
            learnt, shown = (
                jax.eval_shape(module_call(module, train=train), variables, *inputs)[0] for train in (True, False)
            )
            parts |= _task_parts(own.task, learnt, shown, batch)
        if own.tx is not None:
            parts |= _tx_parts(make_tx(own.tx), variables["params"])
    if own.augment is not None:
        images = jax.ShapeDtypeStruct((EXAMPLES, *arrays["images"].shape), arrays["images"].dtype)
        changed = jax.eval_shape(lambda key, images: own.augment(key, images, 0), key, images)  # type: ignore[misc]
        if (changed.shape, changed.dtype) != (images.shape, images.dtype):
            raise InputError(
                f"augment={function_name(own.augment)}: it makes {changed.dtype} {changed.shape} of {images.dtype} "
                f"{images.shape}; return images of the same shape and dtype"
            )
        parts["augment"] = fingerprint(lambda key, images, start: own.augment(key, images, start), key, images, 0)  # type: ignore[misc]
    return found | {"parts": parts}


def _task_parts(task: Task, learnt: Any, shown: Any, batch: Mapping[str, Any]) -> dict[str, str]:
    """Return fingerprints of a task, for outputs in training and in inference; metrics by their values at some sums."""
    scalars = jax.eval_shape(task.loss, learnt, batch)
    shapes = [getattr(each, "shape", None) for each in scalars] if isinstance(scalars, tuple) else []
    require(shapes == [(), ()], "task", repr(task.name), "its loss must return two scalars, a total and its weight")
    sums = jax.eval_shape(task.sums, shown, batch)
    values = {name: float(2 + 1.25 * place) for place, name in enumerate(sorted(sums))}
    metrics: Any = None
    with suppress(ArithmeticError, ValueError):  # sums that no split has
        metrics = sorted((name, float(value)) for name, value in task.metrics(values).items())
    descend = jax.value_and_grad(task.loss, has_aux=True, allow_int=True)
    return {
        "inputs": fingerprint(task.inputs, batch),
        "loss": fingerprint(descend, learnt, batch),
        "sums": fingerprint(task.sums, shown, batch),
        "predictions": fingerprint(task.decode, shown),
        "metrics": hashlib.sha256(repr(metrics).encode()).hexdigest()[:16],
    }


def _tx_parts(tx: optax.GradientTransformation, params: Any) -> dict[str, str]:
    update: Any = tx.update
    state = jax.eval_shape(tx.init, params)
    loss = jax.ShapeDtypeStruct((), jnp.float32)

    def call(grads: Any, state: Any, params: Any, loss: Any) -> Any:
        return update(grads, state, params, value=loss)

    _, after = jax.eval_shape(call, params, state, params, loss)
    if jax.tree.map(_form, after) != jax.tree.map(_form, state):
        raise InputError(
            "tx: an update gives its state other shapes or dtypes; keep them, or scan and resume would fail"
        )
    return {"optimizer": fingerprint(tx.init, params) + fingerprint(call, params, state, params, loss)}


def traced_for(folder: RunFolder, config: RunConfig, own: Own) -> Traced:
    """Return what user-defined parts compute for the images of a folder's run; nothing where it has no run yet."""
    if not (folder.path / "data.json").exists():
        return {}
    about = folder.read("data.json")
    shape, names, recorded = about.get("image_shape"), about.get("class_names"), about.get("arrays", {})
    if not isinstance(shape, list) or not isinstance(names, list) or not isinstance(recorded, dict):
        raise InputError(f"{str(folder.path / 'data.json')!r}: it does not describe images; {REMEDY}")
    arrays = {name: jax.ShapeDtypeStruct(tuple(each), kind) for name, (each, kind) in recorded.items()}
    return traced_parts(own, config, tuple(shape), len(names), arrays)


def run_record(config: RunConfig, own: Own, traced: Traced) -> dict[str, Any]:
    """Return what config.json holds: the config with absolute paths, and the user's own parts.

    A user-defined module stands in place of its model; `own` holds the other parts by name. `traced` is what all of
    them compute (`traced_parts`), empty where that is not known or not needed.
    """
    record = as_record(with_absolute_weights(replace(config, data=located(config.data))))
    if own.model is not None:
        record["model"] = module_record(own.model)
    if "model" in traced:
        record["model"] |= {"computation": dict(traced["model"])}
    if names := own.names:
        record["own"] = names | ({"computation": dict(traced["parts"])} if "parts" in traced else {})
    return record


def _is_chain(tx: Any) -> bool:
    return isinstance(tx, optax.GradientTransformation)


def _form(leaf: Any) -> tuple[Any, Any]:
    return leaf.shape, leaf.dtype


def _digest(variables: Mapping[str, Any]) -> str:
    """Return a hash of all values with their paths."""
    digest = hashlib.sha256()
    for path, value in sorted(by_path(variables).items()):
        array = np.asarray(value)
        digest.update(f"{path} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:16]
