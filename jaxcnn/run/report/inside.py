"""What a network sees: kernels, feature maps and Grad-CAM of a few test images."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from jaxcnn.analysis.network.attribution import grad_cam
from jaxcnn.analysis.network.layer_outputs import kernels
from jaxcnn.pictures.document import Heading
from jaxcnn.pictures.gallery import Row, gallery
from jaxcnn.pictures.style import Part, Picture
from jaxcnn.pictures.tiles import overlay, photo
from jaxcnn.run.examples import sure_and_unsure, worst_mistakes
from jaxcnn.run.report.seen import Seen
from jaxcnn.run.show import draw_features, draw_kernels

EXPLAINED = 8
"""Images with an attribution."""


def inside_section(seen: Seen) -> Iterator[Part]:
    """Yield kernels of the first layer, and feature maps and Grad-CAM where the images are there."""
    if seen.inside is None or not kernels(seen.inside.variables):
        return
    yield Heading("What the network sees")
    yield Picture("kernels", draw_kernels(seen.inside), "Kernels of the first convolution; all have one scale.")
    if seen.split is None or len(seen.split["images"]) == 0:
        return
    caption = "Outputs of convolutions for one test image, before normalisation and ReLU; every map on its own scale."
    yield Picture("features", draw_features(seen.inside, np.asarray(seen.split["images"][0])), caption)
    if seen.task == "classification":
        yield _grad_cam(seen)


def _grad_cam(seen: Seen) -> Picture:
    saved, split, inside = seen.result.predictions, seen.split or {}, seen.inside
    assert inside is not None
    half = EXPLAINED // 2
    chosen = np.concatenate([worst_mistakes(saved, half), sure_and_unsure(saved, half)[0]]).astype(int)
    images = [np.asarray(split["images"][n]) for n in chosen]
    heats = grad_cam(inside.module, inside.variables, inside.inputs(images), jnp.asarray(saved["predictions"][chosen]))
    captions = [f"{seen.names[saved['labels'][n]]}\n→ {seen.names[saved['predictions'][n]]}" for n in chosen]
    drawn = [overlay(*pair) for pair in zip(images, np.asarray(heats), strict=True)]
    rows = [Row([photo(image) for image in images]), Row(drawn, captions=captions)]
    caption = (
        "Grad-CAM: where the network looks for the class that it predicted. Below: true and predicted class. First the "
        "surest mistakes, then the surest hits."
    )
    return Picture("grad_cam", gallery(rows), caption)
