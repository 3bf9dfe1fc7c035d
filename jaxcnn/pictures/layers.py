"""Layers of a network as rows of small pictures: kernels and feature maps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.errors import InputError
from jaxcnn.pictures.gallery import Row, spread
from jaxcnn.pictures.tiles import kernel_images, map_image, photo

LAYERS, CHANNELS, SHEET = 10, 8, 64
"""Layers and channels of a layer that are drawn where no layer is named; maps or kernels of a named layer."""


def kernel_row(name: str, kernel: Any) -> Row:
    """Return pictures of a kernel (h, w, inputs, outputs), titled with its path and shape."""
    images, (height, width, inputs, outputs) = kernel_images(kernel), np.shape(kernel)
    return Row(images[:SHEET], f"{name}: {height} × {width}, {inputs} to {outputs} channels")


def feature_rows(image: np.ndarray, layers: Mapping[str, Any], layer: str | None = None) -> list[Row]:
    """Return rows of an image and its feature maps (1, h, w, C) by layer, chosen as `draw_features` does."""
    maps = {name: np.asarray(each)[0] for name, each in layers.items()}
    if layer is None:
        chosen = [(name, maps[name], CHANNELS) for name in (list(maps)[n] for n in spread(len(maps), LAYERS))]
    else:
        chosen = [(*chosen_layer(maps, layer), SHEET)]
    rows = [Row([photo(image)], "image")]
    for name, values, most in chosen:
        height, width, count = values.shape
        tiles = [values[..., n] for n in spread(count, most)]
        captions = ["constant" if tile.min() == tile.max() else "" for tile in tiles]
        of = f"{len(tiles)} of {count} channels" if count > len(tiles) else f"{count} channels"
        title = f"{name}: {height} × {width}, {of}"
        rows.append(Row([map_image(tile) for tile in tiles], title, captions if any(captions) else ()))
    return rows


def chosen_layer(layers: Mapping[str, Any], layer: str | None) -> tuple[str, Any]:
    """Return name and value of a layer, the first one for None."""
    if not layers:
        raise InputError("layer: the network has no convolution; choose another run")
    if layer is not None and layer not in layers:
        raise InputError(f"layer={layer!r}: there is no such convolution; choose one of {', '.join(layers)}")
    return (layer, layers[layer]) if layer is not None else next(iter(layers.items()))
