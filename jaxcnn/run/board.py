"""What TensorBoard shows of a run beside numbers: pictures of the validation split, gradients of fixed examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.analysis.network.attribution import grad_cam, saliency
from jaxcnn.analysis.network.layer_outputs import in_order, traced_maps
from jaxcnn.data import Dataset, batch_indices, normalize, take
from jaxcnn.nn.calls import infer
from jaxcnn.run.assemble import Parts
from jaxcnn.run.examples import example_row, worst_mistakes
from jaxcnn.train import TrainState
from jaxcnn.train.tensorboard import Look

SHOWN = 4
"""Examples of the validation split whose attribution is drawn; of the first one, the feature maps."""
Measured = Callable[[TrainState], tuple[Mapping[str, np.ndarray], Mapping[str, Any]]]


def make_look(parts: Parts, dataset: Dataset, measured: Measured) -> Look | None:
    """Return the function state -> pictures by tag: confusion, mistakes, features and attribution of a classifier.

    Args:
        parts: The run.
        dataset: Its images.
        measured: State -> predictions of the validation split and its details, as the task saves them.

    Returns:
        The function; None for another task.
    """
    if parts.task.name != "classification":
        return None
    from jaxcnn.pictures.confusion import confusion_figure  # Matplotlib, which other runs do not need
    from jaxcnn.pictures.gallery import Row, gallery
    from jaxcnn.pictures.layers import feature_rows
    from jaxcnn.pictures.style import to_pixels
    from jaxcnn.pictures.tiles import overlay, photo

    # Compiled once, for all epochs.
    maps = in_order(lambda variables, images: traced_maps(parts.module, variables, images))
    attribute = jax.jit(lambda variables, images: _attribution(parts.module, variables, images))
    images = np.asarray(take(dataset.validation, np.arange(min(SHOWN, dataset.sizes["validation"])))["images"])
    seen = jnp.asarray(normalize(images, dataset.mean, dataset.std))

    def look(state: TrainState) -> dict[str, np.ndarray]:
        saved, details = measured(state)
        figures = {"confusion": confusion_figure(details["confusion"], dataset.class_names)}
        if (worst := worst_mistakes(saved)).size:
            row = example_row(saved, worst, dataset.validation, dataset.class_names)
            figures["mistakes"] = gallery([row], columns=6)
        variables = state.trained
        if features := maps(variables, seen[:1]):
            figures["features"] = gallery(feature_rows(images[0], features))
        targets, *heats = map(np.asarray, attribute(variables, seen))
        rows = [
            Row([photo(image), *(overlay(image, heat[n]) for heat in heats)], f"why {dataset.class_names[targets[n]]}?")
            for n, image in enumerate(images)
        ]
        figures["attribution"] = gallery(rows, columns=3)
        return {name: to_pixels(figure) for name, figure in figures.items()}

    return look


def make_gradients_of(
    parts: Parts, dataset: Dataset, batch_size: int, seed: int, key: jax.Array
) -> Callable[[TrainState], Any]:
    """Return the function state -> gradients of the loss of the first batch of the first epoch, as the parameters."""
    indices, mask = batch_indices(dataset.sizes["train"], batch_size, seed=seed, step=0)
    batch = {name: jnp.asarray(values) for name, values in {**take(dataset.train, indices), "mask": mask}.items()}
    gradients = jax.jit(lambda state, batch: parts.gradients(state, batch, key).grads)
    return lambda state: gradients(state, batch)


def _attribution(module: Any, variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Compute the predicted classes (N,), and of each image saliency and Grad-CAM, (N, H, W)."""
    targets = infer(module, variables, images).argmax(axis=1)
    explained = module, variables, images, targets
    return targets, saliency(*explained).max(axis=-1), grad_cam(*explained)
