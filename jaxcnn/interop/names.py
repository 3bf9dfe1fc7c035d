"""What a publisher's names of weights are: from a variable of our networks to an entry of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxcnn.errors import require
from jaxcnn.spec import ModelSpec

Arrays = Mapping[str, np.ndarray]


class Names(NamedTuple):
    """Names of one publisher.

    Args:
        publisher: Such as torchvision or keras; families with an option `variant` must have it.
        trunk: By family, for which there are published weights: a regular expression of the starts of the names of all
            layers but the head.
        key: (path of a variable, spec, whether a VGG has batch norm) to name; None for another head than the
            publisher's classifier.
        top: Spec to the starts of the names of the dense layers, the classifier's the last.
        prepared: (arrays, spec) to the arrays under the names that `key` gives, what is no weight left out, biases of
            convolutions under batch norm subtracted from its means: (x + b) - mean = x - (mean - b).
        arranged: (name, array, shape of the variable, spec) to the array in the variable's order of axes.
    """

    publisher: str
    trunk: Mapping[str, str]
    key: Callable[[str, ModelSpec, bool], str | None]
    top: Callable[[ModelSpec], tuple[str, ...]]
    prepared: Callable[[Arrays, ModelSpec], Arrays]
    arranged: Callable[[str, np.ndarray, tuple[int, ...], ModelSpec], np.ndarray]


def check_names(names: Names, spec: ModelSpec) -> None:
    """Refuse a network of a family or a variant that a publisher has no weights for, by an InputError."""
    remedy = (
        f"no names of published weights of {names.publisher} are known for it; choose {' or '.join(names.trunk)}, "
        "such as --model resnet50 or --model vgg16"
    )
    require(spec.family in names.trunk, "model.family", repr(spec.family), remedy)
    if spec.family in ("resnet_imagenet", "inception"):
        variant = spec.options.get("variant", "torchvision")
        remedy = f"the file has weights of {names.publisher}, whose network differs; set variant={names.publisher}"
        require(variant == names.publisher, "model.variant", repr(variant), remedy)


def without_conv_biases(arrays: Arrays, biases: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Return arrays with the biases of convolutions subtracted from the running means behind them.

    Args:
        arrays: Arrays by name.
        biases: Names of biases by those of the means.

    >>> without_conv_biases({"bias": np.ones(1), "mean": np.full(1, 3.0)}, {"mean": "bias"})
    {'mean': array([2.])}
    """
    folded = dict(arrays)
    for mean, bias in biases.items():
        if mean in arrays and bias in arrays and arrays[mean].shape == arrays[bias].shape:
            folded[mean] = arrays[mean].astype(np.float32) - folded.pop(bias).astype(np.float32)
    return folded
