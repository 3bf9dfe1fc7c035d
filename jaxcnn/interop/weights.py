"""Weights of a file for a network: every variable is found in the file and every entry is used, or all are listed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.errors import InputError, printable, require, similar_paths
from jaxcnn.interop.pth import read_pth
from jaxcnn.interop.safetensors import read_safetensors
from jaxcnn.interop.torch_names import (
    IGNORED,
    check_family,
    classifier_key,
    conv_bias_keys,
    from_torch,
    torch_key,
)
from jaxcnn.models import build
from jaxcnn.models.family import complete
from jaxcnn.ops.forms import as_written
from jaxcnn.runtime.files import sha256
from jaxcnn.spec import NORMALISATIONS, ModelSpec

READERS: Mapping[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".pth": read_pth, ".pt": read_pth, ".bin": read_pth, ".safetensors": read_safetensors,
}  # fmt: skip
"""Readers by suffix."""
LISTED = 10
"""Largest number of differences that an error lists."""


class Weights(NamedTuple):
    """Weights of a file for one network.

    Args:
        variables: `params` and `batch_stats`, nested, float32; without those of new layers.
        new: Layers that the file does not have for this network, to be drawn: a classifier for other classes, or
            another head.
        record: path, sha256, names (whose names the file has) and preprocessing (scale, mean, std, channels).
    """

    variables: dict[str, Any]
    new: tuple[str, ...]
    record: dict[str, Any]


def load_weights(path: Path | str, spec: ModelSpec, image_shape: tuple[int, int, int] = (224, 224, 3)) -> Weights:
    """Return the weights of a file with torchvision's names for a network; nothing in the file is executed.

    A classifier for another number of classes than the network's, and all layers of another head, are new: the rest
    must fit exactly. Where the file's name ends in the start of its SHA-256, as torchvision's do, it is compared.

    Args:
        path: A `.pth` (`.pt`, `.bin`) or `.safetensors` file.
        spec: The network, with num_classes set.
        image_shape: (H, W, C) of the images.

    Raises:
        InputError: An unreadable or damaged file, a family without published weights, or a +/- list of variables that
            the file lacks (-), entries that the network lacks (+) and shapes that differ (both).

    >>> load_weights("resnet18-f37072fd.pth", ModelSpec("resnet_imagenet", 18, 64, 1000)).new  # doctest: +SKIP
    ()
    """
    check_family(spec)
    path = Path(path).expanduser()
    readers = " or ".join(READERS)
    require(path.is_file(), "weights", repr(str(path)), f"no such file; give a {readers} file{similar_paths(path)}")
    require(path.suffix in READERS, "weights", repr(str(path)), f"unknown suffix; give a {readers} file")
    status = path.stat()
    return _load(path.absolute(), (status.st_mtime_ns, status.st_size), spec, tuple(image_shape))


@lru_cache(maxsize=1)  # runs of several seeds start from one file
def _load(path: Path, version: tuple[int, int], spec: ModelSpec, image_shape: tuple[int, int, int]) -> Weights:
    digest = sha256(path)
    if (named := re.search(r"-([0-9a-f]{8})$", path.stem)) and not digest.startswith(named[1]):
        raise InputError(
            f"weights={str(path)!r}: its SHA-256 starts with {digest[:8]}, not with {named[1]} as its name says; get "
            "the file again, or rename it if you changed it"
        )
    shapes, arrays = variable_shapes(spec, image_shape), READERS[path.suffix](path)
    variables, new = assign(arrays, shapes, spec, str(path))
    mean, std = NORMALISATIONS["imagenet"]
    record = {
        "path": str(path),
        "sha256": digest,
        "names": "torchvision",
        "new": list(new),
        "preprocessing": {"channels": "RGB", "scale": 1 / 255, "mean": list(mean), "std": list(std)},
    }
    return Weights(variables, new, record)


def variable_shapes(spec: ModelSpec, image_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a network's variables by path.

    >>> variable_shapes(ModelSpec("resnet_imagenet", 18, 64, 1000), (64, 64, 3))["params/dense/bias"]
    (1000,)
    """
    with as_written():
        tree = jax.eval_shape(build(spec).init, jax.random.key(0), jnp.zeros((1, *image_shape)))
    leaves: Any = flatten_dict(tree, sep="/")
    return {path: leaf.shape for path, leaf in leaves.items()}


def assign(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], spec: ModelSpec, where: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the arrays of a file as variables of a network, and the layers that are new.

    Args:
        arrays: Arrays by torchvision's names.
        shapes: Those of `variable_shapes`.
        spec: The network.
        where: The file, for errors.

    Raises:
        InputError: Missing, unexpected or misshaped variables, as a +/- list.
    """
    spec = complete(spec)[0]
    norm = spec.family == "vgg" and "params/norm1/scale" in shapes
    keys = {path: torch_key(path, spec, norm) for path in shapes}
    classifier = classifier_key(spec)
    bias = arrays.get(f"{classifier}.bias")
    ours = next((shapes[path] for path, key in keys.items() if key == f"{classifier}.bias"), None)
    redrawn = (ours is None or (bias is not None and bias.shape != ours)) and f"{classifier}."
    head = "classifier." if spec.family == "vgg" and ours is None else redrawn  # a VGG's whole top makes way
    is_new = {path: key is None or bool(redrawn and key.startswith(redrawn)) for path, key in keys.items()}
    folded = conv_bias_keys(arrays) if norm else {}
    used, lines, leaves = set(folded.values()), list[str](), dict[str, np.ndarray]()
    for path, key in keys.items():
        if is_new[path] or key is None:
            continue
        if key not in arrays:
            lines.append(f"- {key} {shapes[path]} ({path})")
            continue
        used.add(key)
        value = from_torch(key, arrays[key], shapes[path], spec)
        if value.shape != shapes[path]:
            lines += [f"- {key}: {path} has shape {shapes[path]}", f"+ {key}: the file's gives {value.shape}"]
            continue
        value = value.astype(np.float32)
        leaves[path] = value - arrays[folded[key]].astype(np.float32) if key in folded else value
    extra = [key for key in arrays if key not in used and not key.endswith(IGNORED)]
    lines += [f"+ {printable(key)[:80]} {arrays[key].shape}" for key in extra if not (head and key.startswith(head))]
    if lines:
        more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        raise InputError(
            f"weights={where!r}: {len(lines)} differences between the network (-) and the file (+): "
            f"{'; '.join(lines[:LISTED] + more)}; choose the model and data.size that the file was made for"
        )
    new = dict.fromkeys(path.split("/")[1] for path, fresh in is_new.items() if fresh)
    return unflatten_dict(leaves, sep="/"), tuple(new)


def trunk_layers(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return the layers of a network that weights of a file can have whatever its classes: all but the head.

    >>> spec = ModelSpec("resnet_imagenet", 18, 64, 10)
    >>> trunk_layers(spec, variable_shapes(spec, (64, 64, 3)))[:2]
    ('conv1', 'stage1_block1')
    """
    check_family(spec)
    spec = complete(spec)[0]
    classifier = classifier_key(spec)
    names = dict[str, bool]()
    for path in shapes:
        key = torch_key(path, spec)
        names[path.split("/")[1]] = key is not None and not key.startswith(f"{classifier}.")
    return tuple(name for name, is_trunk in names.items() if is_trunk)
