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
from jaxcnn.interop.h5 import read_h5
from jaxcnn.interop.keras_names import KERAS
from jaxcnn.interop.names import Names, check_names
from jaxcnn.interop.pth import read_pth
from jaxcnn.interop.published import fetch, published
from jaxcnn.interop.safetensors import read_safetensors
from jaxcnn.interop.torch_names import EFFICIENTNET, TORCHVISION
from jaxcnn.models import build, named
from jaxcnn.models.family import complete
from jaxcnn.ops.forms import as_written
from jaxcnn.runtime.files import sha256
from jaxcnn.spec import NORMALISATIONS, ModelSpec, weights_normalisation

READERS: Mapping[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".pth": read_pth, ".pt": read_pth, ".bin": read_pth, ".safetensors": read_safetensors, ".h5": read_h5,
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
        record: path, sha256, names (whose names the file has) and preprocessing (scale, mean, std, channels); url where
            the weights were named.
    """

    variables: dict[str, Any]
    new: tuple[str, ...]
    record: dict[str, Any]


def load_weights(path: Path | str, spec: ModelSpec, image_shape: tuple[int, int, int] = (224, 224, 3)) -> Weights:
    """Return the weights of a file with torchvision's or Keras' names for a network; nothing in the file is executed.

    A classifier for another number of classes than the network's, and all layers of another head, are new: the rest
    must fit exactly. Where the file's name ends in the start of its SHA-256, as torchvision's do, it is compared.

    Args:
        path: A `.pth` (`.pt`, `.bin`) or `.safetensors` file of torchvision, or a `.h5` file of Keras; or the name of
            published weights, such as torchvision/resnet18 (`jaxcnn.interop.published`), downloaded once.
        spec: The network, with num_classes set.
        image_shape: (H, W, C) of the images.

    Raises:
        InputError: An unreadable or damaged file, a family without published weights, or a +/- list of variables that
            the file lacks (-), entries that the network lacks (+) and shapes that differ (both).

    >>> load_weights("resnet18-f37072fd.pth", ModelSpec("resnet_imagenet", 18, 64, 1000)).new  # doctest: +SKIP
    ()
    """
    file, path = published(path), check_weights(path, spec)
    status = path.stat()
    loaded = _load(path.absolute(), (status.st_mtime_ns, status.st_size), spec, tuple(image_shape))
    return loaded if file is None else loaded._replace(record=loaded.record | {"url": file.url})


def check_weights(path: Path | str, spec: ModelSpec) -> Path:
    """Return the path of published weights that fit a network's family, without reading them; download named ones.

    Raises:
        InputError: No such file or name, an unknown suffix, a family without published weights, a name of another
            network, or a failed download.
    """
    if (file := published(path)) is not None:
        check_names(names_of(path, spec.family), spec)
        theirs, remedy = named(file.model), f"it is for another network; add --model {file.model}"
        require((theirs.family, theirs.depth) == (spec.family, spec.depth), "weights", repr(str(path)), remedy)
        return fetch(str(path), file)
    path = Path(path).expanduser()
    remedy = f"no such file; give a {' or '.join(READERS)} file{similar_paths(path)}"
    require(path.is_file(), "weights", repr(str(path)), remedy)
    check_names(names_of(path, spec.family), spec)
    return path


@lru_cache(maxsize=1)  # runs of several seeds start from one file
def _load(path: Path, version: tuple[int, int], spec: ModelSpec, image_shape: tuple[int, int, int]) -> Weights:
    digest = sha256(path)
    if (stated := re.search(r"-([0-9a-f]{8})$", path.stem)) and not digest.startswith(stated[1]):
        raise InputError(
            f"weights={str(path)!r}: its SHA-256 starts with {digest[:8]}, not with {stated[1]} as its name says; get "
            "the file again, or rename it if you changed it"
        )
    names = names_of(path, spec.family)
    variables, new = assign(READERS[path.suffix](path), variable_shapes(spec, image_shape), spec, str(path), names)
    mean, std = NORMALISATIONS[weights_normalisation(str(path), spec.family)]
    record = {
        "path": str(path),
        "sha256": digest,
        "names": names.publisher,
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


def names_of(path: Path | str, family: str) -> Names:
    """Return whose names a file, or published weights, for a network of some family has, by the file's suffix.

    Raises:
        InputError: An unknown suffix.

    >>> names_of("resnet18.pth", "resnet_imagenet").publisher
    'torchvision'
    """
    file = published(path)
    suffix = Path(path if file is None else file.url).suffix
    require(suffix in READERS, "weights", repr(str(path)), f"unknown suffix; give a {' or '.join(READERS)} file")
    if suffix == ".h5":
        return KERAS
    return EFFICIENTNET if family in EFFICIENTNET.trunk else TORCHVISION


def assign(
    arrays: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    spec: ModelSpec,
    where: str,
    names: Names = TORCHVISION,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the arrays of a file as variables of a network, and the layers that are new.

    Args:
        arrays: Arrays by the publisher's names.
        shapes: Those of `variable_shapes`.
        spec: The network.
        where: The file, for errors.
        names: The publisher's names.

    Raises:
        InputError: Missing, unexpected or misshaped variables, as a +/- list.
    """
    spec = complete(spec)[0]
    keys, arrays = _keys(shapes, spec, names), names.prepared(arrays, spec)
    classifier, made_new = f"{names.top(spec)[-1]}bias", _replaced(keys, spec, names)
    for path, key in keys.items():
        if key == classifier and (classifier not in arrays or arrays[classifier].shape != shapes[path]):
            made_new = names.top(spec)[-1:]
    used, lines, leaves = set[str](), list[str](), dict[str, np.ndarray]()
    for path, key in keys.items():
        if key is None or key.startswith(made_new):
            continue
        if key not in arrays:
            lines.append(f"- {key} {shapes[path]} ({path})")
            continue
        used.add(key)
        value = names.arranged(key, arrays[key], shapes[path], spec)
        if value.shape != shapes[path]:
            lines += [f"- {key}: {path} has shape {shapes[path]}", f"+ {key}: the file's gives {value.shape}"]
            continue
        leaves[path] = value.astype(np.float32)
        if not np.isfinite(leaves[path]).all():
            raise InputError(f"weights={where!r}: {key} has values that are not finite; get the file again")
    unused = [key for key in arrays if key not in used and not key.startswith(made_new)]
    if made_new == names.top(spec):  # without its head, whatever that is
        unused = [key for key in unused if re.match(names.trunk[spec.family], key)]
    lines += [f"+ {printable(key)[:80]} {arrays[key].shape}" for key in unused]
    if lines:
        more = [f"and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
        count = f"{len(lines)} difference{'s' * (len(lines) > 1)}"
        raise InputError(
            f"weights={where!r}: {count} between the network (-) and the file (+): "
            f"{'; '.join(lines[:LISTED] + more)}; choose the model and data.size that the file was made for"
        )
    new = {path.split("/")[1]: None for path, key in keys.items() if key is None or key.startswith(made_new)}
    return unflatten_dict(leaves, sep="/"), tuple(new)


def trunk_layers(spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], names: Names) -> tuple[str, ...]:
    """Return the layers of a network that weights of a file can have whatever its classes: all but the head.

    >>> spec = ModelSpec("resnet_imagenet", 18, 64, 10)
    >>> trunk_layers(spec, variable_shapes(spec, (64, 64, 3)), TORCHVISION)[:2]
    ('conv1', 'stage1_block1')
    """
    check_names(names, spec)
    spec = complete(spec)[0]
    keys = _keys(shapes, spec, names)
    head = _replaced(keys, spec, names) or names.top(spec)[-1:]
    is_trunk = {path.split("/")[1]: key is not None and not key.startswith(head) for path, key in keys.items()}
    return tuple(name for name, holds in is_trunk.items() if holds)


def _keys(shapes: Mapping[str, tuple[int, ...]], spec: ModelSpec, names: Names) -> dict[str, str | None]:
    norm = spec.family == "vgg" and "params/norm1/scale" in shapes
    return {path: names.key(path, spec, norm) for path in shapes}


def _replaced(keys: Mapping[str, str | None], spec: ModelSpec, names: Names) -> tuple[str, ...]:
    """Return the starts of the names of a publisher's dense layers if a network has another head, else none."""
    top = names.top(spec)
    return () if f"{top[-1]}bias" in keys.values() else top
