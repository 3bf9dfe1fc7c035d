"""What a network sees: kernels, feature maps and Grad-CAM of a few test images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxcnn.analysis.attribution import grad_cam
from jaxcnn.analysis.layer_outputs import feature_maps, kernels
from jaxcnn.pictures.document import Heading
from jaxcnn.pictures.gallery import Row, gallery, spread
from jaxcnn.pictures.style import Part, Picture
from jaxcnn.pictures.tiles import kernel_images, map_image, overlay, photo
from jaxcnn.run.examples import sure_and_unsure, worst_mistakes
from jaxcnn.run.report.seen import Seen

LAYERS, CHANNELS, EXPLAINED = 10, 8, 8
"""Layers, channels of a layer, and images with an attribution that are drawn at most."""


def inside_section(seen: Seen) -> Iterator[Part]:
    """Yield kernels of the first layer, and feature maps and Grad-CAM where the images are there."""
    if seen.network is None or not (by_layer := kernels(seen.network[1])):
        return
    yield Heading("What the network sees")
    name, kernel = next(iter(by_layer.items()))
    yield Picture("kernels", gallery([kernel_row(name, np.asarray(kernel))]), "Kernels of the first convolution.")
    if seen.split is None or len(seen.split["images"]) == 0:
        return
    caption = "Outputs of convolutions for one test image, before normalisation and ReLU; every map on its own scale."
    yield Picture("features", gallery(feature_rows(seen, np.asarray(seen.split["images"][0]))), caption)
    if seen.task == "classification":
        yield _grad_cam(seen)


def kernel_row(name: str, kernel: np.ndarray) -> Row:
    """Return pictures of a convolution's kernel (h, w, inputs, outputs), titled with its name and shape."""
    images, shown = kernel_images(kernel), kernel.shape[3]
    return Row(images[:64], f"{name}: {kernel.shape[0]} × {kernel.shape[1]}, {shown} kernels")


def feature_rows(
    seen: Seen, image: np.ndarray, *, layers: int = LAYERS, channels: int = CHANNELS, first: bool = True
) -> list[Row]:
    """Return the image uint8 (H, W, C) and rows of its feature maps, a layer each.

    Args:
        seen: The run.
        image: The image.
        layers: Number of layers, evenly spread over the network.
        channels: Number of maps of a layer.
        first: Whether to begin with the image.
    """
    assert seen.network is not None
    maps = {name: np.asarray(each)[0] for name, each in feature_maps(*seen.network, seen.inputs(image[None])).items()}
    names = [list(maps)[n] for n in spread(len(maps), layers)] if maps else []
    rows = [Row([photo(image)], "image")] if first else []
    for name in names:
        height, width, count = maps[name].shape
        tiles = [maps[name][..., n] for n in spread(count, channels)]
        captions = ["constant" if tile.min() == tile.max() else "" for tile in tiles]
        of = f"{len(tiles)} of {count} channels" if count > len(tiles) else f"{count} channels"
        title = f"{name}: {height} × {width}, {of}"
        rows.append(Row([map_image(tile) for tile in tiles], title, captions if any(captions) else ()))
    return rows


def _grad_cam(seen: Seen) -> Picture:
    saved, split, network = seen.result.predictions, seen.split or {}, seen.network
    assert network is not None
    half = EXPLAINED // 2
    chosen = np.concatenate([worst_mistakes(saved, half), sure_and_unsure(saved, half)[0]]).astype(int)
    images = np.stack([np.asarray(split["images"][n]) for n in chosen])
    heats = np.asarray(grad_cam(*network, seen.inputs(images), saved["predictions"][chosen]))
    captions = [f"{seen.names[saved['labels'][n]]}\n→ {seen.names[saved['predictions'][n]]}" for n in chosen]
    plain, drawn = [photo(image) for image in images], [overlay(*pair) for pair in zip(images, heats, strict=True)]
    caption = (
        "Grad-CAM: where the network looks for the class that it predicted. Below: true and predicted class. First the "
        "surest mistakes, then the surest hits."
    )
    return Picture("grad_cam", gallery([Row(plain), Row(drawn, captions=captions)]), caption)
