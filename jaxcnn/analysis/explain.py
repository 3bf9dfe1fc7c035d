"""Why one arm beats another: measures of trained networks, as plain numbers that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn.analysis.network.cka import cka_matrix, compact
from jaxcnn.analysis.network.curvature import top_eigenvalue
from jaxcnn.analysis.network.dead_units import dead_units
from jaxcnn.analysis.network.gradient_norms import norms_by_layer
from jaxcnn.analysis.network.layer_outputs import hidden_outputs, in_order
from jaxcnn.analysis.network.objective import mean_loss
from jaxcnn.analysis.network.probes import linear_probe
from jaxcnn.analysis.network.receptive_field import effective_receptive_fields, effective_size, receptive_fields
from jaxcnn.analysis.scores.agreement import error_consistency
from jaxcnn.nn.calls import infer
from jaxcnn.tasks import Batch, classification


class TrainedArm(NamedTuple):
    """A module and the trained variables of its seeds."""

    module: nn.Module
    seeds: Sequence[Mapping[str, Any]]


def explain(arms: Mapping[str, TrainedArm], train: Sequence[Batch], test: Sequence[Batch]) -> dict[str, Any]:
    """Measure classifiers that were trained, each alone and in pairs.

    Layers are the outputs of the ReLUs (see `relu_outputs`), or those of the convolutions where there is no ReLU.

    Args:
        arms: Trained arms by name, such as the deepest and the widest.
        train: Batches of one size, without padding: images, labels, mask; gradients, sharpness and probes use them.
        test: Others of the same size; 4 examples or more a batch.

    Returns:
        `arms`: for each name a list with a record for each seed: test_loss, train_loss, test_accuracy, sharpness (top
        eigenvalue of the training loss), and by layer, in the order of the calls, gradient_norm,
        relative_gradient_norm, dead_share, probe_accuracy, effective_field (pixels), field (pixels, theoretical).
        `pairs`: for every two networks, seeds of one arm (the baseline) included: first and second, each (name,
        seed), error_consistency, and cka [layer of the first][layer of the second].
        `layers`: names of the rows of cka by arm.

    Raises:
        ValueError: There is no batch, or one has fewer than 4 examples.

    >>> arm = TrainedArm(nn.Sequential([lambda x: x.mean((1, 2)), nn.Dense(2)]), [])
    >>> explain({"none": arm}, [], [])["pairs"]
    []
    """
    networks = [(name, seed) for name, arm in arms.items() for seed in range(len(arm.seeds))]
    looked = {(name, seed): _look(arms[name].module, arms[name].seeds[seed], train, test) for name, seed in networks}
    return {
        "arms": {name: [looked[name, seed].record for seed in range(len(arm.seeds))] for name, arm in arms.items()},
        "layers": {name: list(looked[name, 0].layers[0]) for name, arm in arms.items() if arm.seeds},
        "pairs": [
            {
                "first": list(one),
                "second": list(other),
                "error_consistency": error_consistency(looked[one].right, looked[other].right),
                "cka": cka_matrix(looked[one].layers, looked[other].layers).tolist(),
            }
            for one, other in combinations(networks, 2)
        ],
    }


class _Look(NamedTuple):
    """What one network does: its record, whether each test image is right, its layers by test batch, for CKA."""

    record: dict[str, Any]
    right: np.ndarray
    layers: list[dict[str, np.ndarray]]


def _look(module: nn.Module, variables: Mapping[str, Any], train: Sequence[Batch], test: Sequence[Batch]) -> _Look:
    logits = jax.jit(lambda variables, images: infer(module, variables, images))
    labels = [np.concatenate([np.asarray(batch["labels"]) for batch in batches]) for batches in (train, test)]
    named = np.concatenate([np.asarray(logits(variables, batch["images"])).argmax(1) for batch in test])
    right = named == labels[1]

    # Neither probes nor CKA need whole maps, which would fill the memory: means over positions, and inner products.
    step = in_order(lambda variables, images: hidden_outputs(module, variables, images))
    means, layers = ([], []), []
    for own, batches in zip(means, (train, test), strict=True):
        for batch in batches:
            seen = {name: np.asarray(out) for name, out in step(variables, batch["images"]).items()}
            own.append({name: out.mean(axis=tuple(range(1, out.ndim - 1))) for name, out in seen.items()})
            if own is means[1]:
                layers.append({name: compact(out) for name, out in seen.items()})
    loss, test_loss = (mean_loss(module, variables, classification(), batches) for batches in (train, test))
    norms = norms_by_layer(jax.jit(jax.grad(loss))(variables["params"]), variables["params"])
    images = jnp.asarray(test[0]["images"])
    effective = effective_receptive_fields(module, variables, images)
    norms = {name: norms[name] for name in sorted(norms, key=[*effective, *norms].index)}
    fields = receptive_fields(module, images.shape[1:])
    dead = dead_units(module, variables, [batch["images"] for batch in test])
    record: dict[str, Any] = {
        "train_loss": float(loss(variables["params"])),
        "test_loss": float(test_loss(variables["params"])),
        "test_accuracy": float(right.mean()),
        "sharpness": top_eigenvalue(loss, variables["params"], jax.random.key(0)),
        "gradient_norm": {name: each.norm for name, each in norms.items()},
        "relative_gradient_norm": {name: each.relative for name, each in norms.items()},
        "dead_share": {name: float(each.mean()) for name, each in dead.items()},
        "probe_accuracy": {
            name: linear_probe(
                np.concatenate([batch[name] for batch in means[0]]), labels[0],
                np.concatenate([batch[name] for batch in means[1]]), labels[1],
            )
            for name in layers[0]
        },
        "effective_field": {name: effective_size(field) for name, field in effective.items()},
        "field": {name: list(fields[name].size) for name in effective if name in fields},
    }  # fmt: skip
    return _Look(record, right, layers)
