"""Look into the network of a run: kernels, feature maps, attribution, receptive fields, as figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen
from matplotlib.figure import Figure

from jaxcnn.analysis.attribution import grad_cam, integrated_gradients, occlusion, saliency, smooth_grad
from jaxcnn.analysis.layer_outputs import feature_maps, kernels
from jaxcnn.analysis.receptive_field import effective_receptive_fields, receptive_fields
from jaxcnn.data import BadImage, decode_image, normalize
from jaxcnn.errors import InputError, similar_paths
from jaxcnn.nn.calls import infer
from jaxcnn.pictures.gallery import Row, gallery, spread
from jaxcnn.pictures.tiles import draw_box, kernel_images, map_image, overlay, photo, signed_image
from jaxcnn.run.folder import RunFolder
from jaxcnn.run.predict import described, load_model

LAYERS, CHANNELS, SHEET = 10, 8, 64
"""Layers and channels of a layer that are drawn where no layer is named; maps or kernels of a named layer."""


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
        """Return images uint8 (N, H, W, C) as the network sees them, float32."""
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
    return gallery([kernel_row(*_chosen(kernels(inside.variables), layer))])


def kernel_row(name: str, kernel: Any) -> Row:
    """Return pictures of a kernel (h, w, inputs, outputs), titled with its path and shape."""
    images, (height, width, inputs, outputs) = kernel_images(kernel), np.shape(kernel)
    return Row(images[:SHEET], f"{name}: {height} × {width}, {inputs} to {outputs} channels")


def draw_features(inside: Inside, image: np.ndarray, *, layer: str | None = None) -> Figure:
    """Draw the outputs of convolutions for an image, before normalisation and ReLU, every map on its own scale.

    Args:
        inside: The network.
        image: uint8 (H, W, C), as `read_image` returns it.
        layer: Path of a convolution whose maps are all drawn, up to 64. Default: 8 maps of up to 10 layers.

    >>> draw_features(inside, image, layer="conv2")  # doctest: +SKIP
    """
    maps = {name: np.asarray(each)[0] for name, each in
            feature_maps(inside.module, inside.variables, inside.inputs([image])).items()}  # fmt: skip
    if layer is None:
        chosen = [(name, maps[name], CHANNELS) for name in (list(maps)[n] for n in spread(len(maps), LAYERS))]
    else:
        chosen = [(*_chosen(maps, layer), SHEET)]
    rows = [Row([photo(image)], "image")]
    for name, values, most in chosen:
        height, width, count = values.shape
        tiles = [values[..., n] for n in spread(count, most)]
        captions = ["constant" if tile.min() == tile.max() else "" for tile in tiles]
        of = f"{len(tiles)} of {count} channels" if count > len(tiles) else f"{count} channels"
        title = f"{name}: {height} × {width}, {of}"
        rows.append(Row([map_image(tile) for tile in tiles], title, captions if any(captions) else ()))
    return gallery(rows)


def draw_attribution(
    inside: Inside, images: Sequence[np.ndarray], targets: Sequence[int] | np.ndarray | None = None
) -> Figure:
    """Draw where a classifier looks, a row an image: saliency, SmoothGrad, integrated gradients, Grad-CAM, occlusion.

    Args:
        inside: The network.
        images: uint8 (H, W, C) each.
        targets: Classes whose logits are explained. Default: the predicted ones.

    Raises:
        InputError: The outputs are not those of a classifier.

    >>> draw_attribution(inside, [image])  # doctest: +SKIP
    """
    targets = predicted(inside, images) if targets is None else np.asarray(targets)
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
        raise InputError("saliency: the network is no classifier; look at its features instead")
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


def _chosen(layers: dict[str, Any], layer: str | None) -> tuple[str, Any]:
    """Return name and value of a layer, the first one for None."""
    if not layers:
        raise InputError("layer: the network has no convolution; choose another run")
    if layer is not None and layer not in layers:
        raise InputError(f"layer={layer!r}: there is no such convolution; choose one of {', '.join(layers)}")
    return (layer, layers[layer]) if layer is not None else next(iter(layers.items()))
