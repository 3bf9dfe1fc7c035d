"""Look into the network of a run: its layers, what it sees, how its layers are alike, its loss, as figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from matplotlib.figure import Figure

from jaxcnn.analysis.network.attribution import grad_cam, integrated_gradients, occlusion, saliency, smooth_grad
from jaxcnn.analysis.network.cka import cka_matrix, compact
from jaxcnn.analysis.network.landscape import filter_normalised, landscape
from jaxcnn.analysis.network.layer_outputs import feature_maps, hidden_outputs, in_order, kernels
from jaxcnn.analysis.network.objective import mean_loss
from jaxcnn.analysis.network.receptive_field import effective_receptive_fields, receptive_fields
from jaxcnn.data import BadImage, Split, decode_image, normalize, take
from jaxcnn.data.augment import make_augment
from jaxcnn.errors import InputError, require, similar_paths
from jaxcnn.nn.calls import infer
from jaxcnn.pictures.gallery import Row, gallery, spread
from jaxcnn.pictures.landscape import landscape_figure
from jaxcnn.pictures.layers import chosen_layer, feature_rows, kernel_row
from jaxcnn.pictures.similarity import Similarity, similarity_figure
from jaxcnn.pictures.tiles import draw_box, overlay, photo, signed_image
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.predict import described, load_model
from jaxcnn.tasks import Batch, classification

SAMPLE, BATCH = 512, 64
"""Images of a split, and of a batch of them, by which networks are compared and their loss is computed."""


class Inside(NamedTuple):
    """The network of a run, its trained variables, and what its images are.

    Args:
        module: The network.
        variables: `params` and `batch_stats`.
        names: Names of the classes.
        shape: (H, W, C) of the images that it was trained on.
        mean: Mean of the training images by channel; `std` is their standard deviation.
        fit: How images get their size, as `data.fit`.
    """

    module: linen.Module
    variables: dict[str, Any]
    names: Sequence[str]
    shape: tuple[int, ...]
    mean: np.ndarray
    std: np.ndarray
    fit: str = "stretch"

    def inputs(self, images: Sequence[np.ndarray] | np.ndarray) -> jax.Array:
        """Return images uint8 (N, H, W, C) as the network sees them, float32.

        Raises:
            InputError: No image, or one of another size.
        """
        wrong = {np.shape(image) for image in images} - {tuple(self.shape)}
        require(
            not wrong, "images", next(iter(wrong), ()), f"the network's are {self.shape}; read_image resizes a file"
        )
        require(len(images) > 0, "images", "()", "give at least one")
        return jnp.asarray(normalize(np.stack(list(images)), self.mean, self.std))


def look_inside(directory: Path | str, *, checkpoint: str = "last", model: linen.Module | None = None) -> Inside:
    """Read the network of a run.

    Args:
        directory: The run's folder.
        checkpoint: last, or best (lowest validation loss).
        model: The module, where the run trained a user-defined one.

    Raises:
        InputError: No such run, no checkpoint.

    >>> inside = look_inside("runs/first")  # doctest: +SKIP
    >>> draw_features(inside, read_image(inside, "photo.png")).savefig("maps.png")  # doctest: +SKIP
    """
    folder, network = RunFolder(Path(directory)), load_model(directory, checkpoint=checkpoint, model=model)
    return Inside(*network, *described(folder), folder.read_config()[0].data.fit)


def read_image(inside: Inside, path: Path | str) -> np.ndarray:
    """Return an image file at the size and with the channels that the network was trained on, uint8 (H, W, C)."""
    path = Path(path)
    require(not path.is_dir(), "image", repr(str(path)), "it is a folder; give an image file")
    if not path.is_file():
        raise InputError(f"image {str(path)!r}: there is no such file; check the path{similar_paths(path)}")
    try:
        return decode_image(path, inside.shape[2], (inside.shape[0], inside.shape[1]), inside.fit)
    except BadImage as error:
        raise InputError(f"image {str(path)!r}: {error}; give a PNG, JPEG or another image file") from None


def draw_kernels(inside: Inside, *, layer: str | None = None) -> Figure:
    """Draw the kernels of a convolution, of many the first; those of images with three channels in colour.

    Args:
        inside: The network.
        layer: Path of the convolution. Default: the first one.

    >>> draw_kernels(look_inside("runs/first"))  # doctest: +SKIP
    """
    return gallery([kernel_row(*chosen_layer(kernels(inside.variables), layer))])


def draw_features(inside: Inside, image: np.ndarray, *, layer: str | None = None) -> Figure:
    """Draw the outputs of convolutions for an image, before normalisation and ReLU, every map on its own scale.

    Args:
        inside: The network.
        image: uint8 (H, W, C), as `read_image` returns it.
        layer: Path of a convolution whose maps are all drawn, up to 64. Default: 8 maps of up to 10 layers.

    >>> draw_features(inside, image, layer="conv2")  # doctest: +SKIP
    """
    return gallery(feature_rows(image, feature_maps(inside.module, inside.variables, inside.inputs([image])), layer))


def draw_attribution(
    inside: Inside, images: Sequence[np.ndarray], targets: Sequence[int] | np.ndarray | None = None
) -> Figure:
    """Draw where a classifier looks, a row an image: saliency, SmoothGrad, integrated gradients, Grad-CAM, occlusion.

    Args:
        inside: The network.
        images: uint8 (H, W, C) each.
        targets: Classes whose logits are explained. Default: the predicted ones.

    Raises:
        InputError: The outputs are not those of a classifier, or targets are not one of its classes for each image.

    >>> draw_attribution(inside, [image])  # doctest: +SKIP
    """
    own = predicted(inside, images)  # refuses what is no classifier
    targets = own if targets is None else np.asarray(targets)
    fitting = targets.shape == own.shape and targets.min() >= 0 and targets.max() < len(inside.names)
    require(fitting, "targets", targets.tolist(), f"give one class for each image, from 0 to {len(inside.names) - 1}")
    explained = (inside.module, inside.variables, inside.inputs(images), jnp.asarray(targets))
    maps = {
        "saliency": np.asarray(saliency(*explained)).max(-1),
        "SmoothGrad": np.abs(np.asarray(smooth_grad(*explained, jax.random.key(0)))).max(-1),
        "integrated\ngradients": np.asarray(integrated_gradients(*explained)).sum(-1),
        "Grad-CAM": np.asarray(grad_cam(*explained)),
        "occlusion": np.asarray(occlusion(*explained)),
    }
    rows = []
    for n, image in enumerate(images):
        drawn = {"image": photo(image)}
        for name, heat in maps.items():
            signed = name not in ("saliency", "SmoothGrad", "Grad-CAM")
            drawn[name] = signed_image(heat[n]) if signed else overlay(image, heat[n])
        title = f"why {inside.names[int(targets[n])]}?"
        rows.append(Row(list(drawn.values()), title, list(drawn) if n + 1 == len(images) else ()))
    return gallery(rows, columns=6)


def predicted(inside: Inside, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the class that a classifier predicts for each image, (N,)."""
    outputs = infer(inside.module, inside.variables, inside.inputs(images))
    if np.shape(outputs) != (len(images), len(inside.names)):
        raise InputError("the network is no classifier; look at its features instead")
    return np.asarray(outputs).argmax(axis=1)


def draw_receptive_fields(inside: Inside, image: np.ndarray) -> Figure:
    """Draw what the central unit of each layer sees: the box of its receptive field, and the pixels that count in it.

    Args:
        inside: The network.
        image: uint8 (H, W, C).

    >>> draw_receptive_fields(inside, image)  # doctest: +SKIP
    """
    maps = feature_maps(inside.module, inside.variables, inside.inputs([image]))
    fields = receptive_fields(inside.module, inside.shape)
    names = [name for name in maps if name in fields]
    if not names:
        raise InputError("receptive-field: the network has no convolution whose units see a window of the image")
    names = [names[n] for n in spread(len(names), 8)]
    counted = effective_receptive_fields(inside.module, inside.variables, inside.inputs([image]))
    boxes, heats, captions = [], [], []
    for name in names:
        height, width = maps[name].shape[1:3]
        boxes.append(draw_box(image, fields[name].box((height // 2, width // 2))))
        heats.append(overlay(image, np.asarray(counted[name])))
        captions.append(f"{name.replace('/', '/' + chr(10))}\n{fields[name].size[0]} × {fields[name].size[1]}")
    title, rows = "what the central unit sees; below: the size of its gradient", []
    for start in range(0, len(names), 4):
        part = slice(start, start + 4)
        rows += [Row(boxes[part], title if start == 0 else "", captions[part]), Row(heats[part])]
    return gallery(rows, columns=4)


def draw_augmented(images: Sequence[np.ndarray], names: Sequence[str], *, copies: int = 7, seed: int = 0) -> Figure:
    """Draw images as training sees them, a row an image: the image, then copies of it that augmentation changed.

    Args:
        images: uint8 (H, W, C) each.
        names: Augmentations in their order, as in `data.augment`.
        copies: Changed copies of an image.
        seed: Seed of the changes.

    Raises:
        InputError: No augmentation, or an unknown one.

    >>> draw_augmented([image], ("crop", "flip"))  # doctest: +SKIP
    """
    augment = make_augment(tuple(names))
    if augment is None:
        raise InputError("augmentation: there is none; choose a run with --data.augment, such as crop")
    rows = []
    for n, image in enumerate(images):
        same = jnp.broadcast_to(jnp.asarray(image), (copies, *image.shape))
        changed = np.asarray(augment(jax.random.fold_in(jax.random.key(seed), n), same))
        rows.append(Row([photo(each) for each in (image, *changed)], "" if n else f"image, then {', '.join(names)}"))
    return gallery(rows, columns=copies + 1)


def sample_batches(inside: Inside, split: Split, size: int = BATCH) -> list[Batch]:
    """Return up to 512 random images of a split, the same every time, in whole batches as the network sees them."""
    count = len(split["labels"])
    size = min(size, count)
    chosen = np.random.default_rng(0).permutation(count)[: min(SAMPLE, count) // size * size]
    parts = [take(split, np.sort(part)) for part in chosen.reshape(-1, size)]
    return [
        {"images": inside.inputs(part["images"]), "labels": jnp.asarray(part["labels"]), "mask": jnp.ones(size)}
        for part in parts
    ]


def draw_cka(inside: Inside, split: Split, other: Inside | None = None) -> Figure:
    """Draw how similar all layers of a network are to each other, or to those of another network (CKA).

    Args:
        inside: The network.
        split: Arrays of a split of its data; 512 images are used, at least 4 are needed.
        other: Another network for images of the same size. Default: the same.

    >>> draw_cka(look_inside("runs/seed0"), split, look_inside("runs/seed1"))  # doctest: +SKIP
    """
    if other is not None and other.shape != inside.shape:
        raise InputError(f"other: its images are {other.shape}, not {inside.shape}; choose a run on the same images")
    require(len(split["images"]) >= 4, "split", len(split["images"]), "CKA needs 4 images or more")
    layers = [_layers(each, split) for each in ((inside,) if other is None else (inside, other))]
    rows, columns = (list(each[0]) for each in (layers[0], layers[-1]))
    if not rows or not columns:
        raise InputError("cka: the network has neither a ReLU nor a convolution; choose another run")
    values = cka_matrix(layers[0], None if other is None else layers[1])
    second = "this run" if other is None else "the other run"
    return similarity_figure({"similarity of layers": Similarity(values, "this run", second, rows, columns)})


def _layers(inside: Inside, split: Split) -> list[dict[str, np.ndarray]]:
    step = in_order(lambda variables, images: hidden_outputs(inside.module, variables, images))
    batches = sample_batches(inside, split)
    return [{name: compact(out) for name, out in step(inside.variables, batch["images"]).items()} for batch in batches]


def draw_landscape(inside: Inside, split: Split, *, reach: float = 1.0, points: int = 21, seed: int = 0) -> Figure:
    """Draw a classifier's loss around its weights, over the plane of two random, filter-normalised directions.

    Args:
        inside: The network.
        split: Arrays of a split of its data; the loss is the mean over 512 images.
        reach: Largest multiple of a direction; at 1 every filter has moved by its own length.
        points: Steps along each direction, an odd number.
        seed: Seed of the directions.

    Raises:
        InputError: The network is no classifier, or points is even or less than 3.

    >>> draw_landscape(look_inside("runs/first"), dataset.train)  # doctest: +SKIP
    """
    require(points >= 3 and points % 2 == 1, "points", points, "give an odd number of at least 3")
    predicted(inside, list(split["images"][:1]))  # refuses what is no classifier
    loss = mean_loss(inside.module, inside.variables, classification(), sample_batches(inside, split))
    keys, params = jax.random.split(jax.random.key(seed)), inside.variables["params"]
    steps = np.linspace(-reach, reach, points)
    return landscape_figure(landscape(loss, params, [filter_normalised(params, key) for key in keys], steps), steps)
