"""Keras' `.h5` files of weights, old and new: a tree of arrays, read by h5py; nothing in it is executed.

Layouts: keras/src/legacy/saving/legacy_h5_format.py (`.h5`: layer/layer/kernel:0) and keras/src/saving/saving_lib.py
(`.weights.h5`: layers/conv2d/vars/0, with the layer's name as an attribute of vars).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.errors import InputError, missing_extra, printable

LETTERS = {"W": "kernel", "b": "bias"}
"""Weights at the end of names that Keras 1 wrote, as block1_conv1_W_1:0."""
VARIABLES = {1: ("kernel",), 2: ("kernel", "bias"), 3: ("beta", "moving_mean", "moving_variance"),
             4: ("gamma", "beta", "moving_mean", "moving_variance")}  # fmt: skip
"""Weights of a layer in a `.weights.h5` file by their number: convolution or dense layer, batch norm."""


def read_h5(path: Path | str) -> dict[str, np.ndarray]:
    """Return the arrays of a Keras file of weights by name: layer/kernel, bias, gamma, beta, moving_mean or others.

    A file of a whole model gives its weights, without the optimizer's.

    Raises:
        InputError: The file is cut or damaged, is no such file, has links to other files, compressed arrays or arrays
            that are larger than the file; h5py is not installed.

    >>> read_h5("vgg16_weights_tf_dim_ordering_tf_kernels.h5")["predictions/bias"].shape  # doctest: +SKIP
    (1000,)
    """
    path = Path(path)
    try:
        import h5py
    except ImportError:
        raise missing_extra(f"weights={str(path)!r}", "h5py", "keras") from None
    try:
        with h5py.File(path, "r") as file:
            arrays = dict[str, np.ndarray]()
            room = path.stat().st_size
            for place, dataset in _datasets(file, h5py, set()):
                room -= dataset.nbytes
                if room < 0:
                    raise ValueError("its arrays are larger than the file")
                name = _name(place, dataset)
                if name in arrays:
                    raise ValueError(f"it has {name} twice")
                arrays[name] = np.asarray(dataset[()])
                arrays[name].flags.writeable = False
        if not arrays:
            raise ValueError("it holds no arrays")
        return arrays
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, OverflowError,
            MemoryError, NotImplementedError) as error:  # fmt: skip
        reason = printable(str(error))[:80]
    raise InputError(f"weights={str(path)!r}: not a readable .h5 file of weights ({reason}); get the file again")


def _datasets(
    group: Any, h5py: Any, seen: set[int], place: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield places and datasets below a group, after a check that each lies within the file as it is.

    Args:
        group: The file or a group.
        h5py: The package.
        seen: Addresses of groups and datasets so far: links may lead back to where they are.
        place: Names from the root to the group.
    """
    names = ("model_weights",) if not place and "model_weights" in group else group  # a whole model: its weights
    for name in names:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is a link")
        here, item = (*place, name), group[name]
        address = h5py.h5o.get_info(item.id).addr
        if address in seen:
            raise ValueError(f"{name} is there twice")
        seen.add(address)
        if isinstance(item, h5py.Group):
            if here != ("optimizer",):
                yield from _datasets(item, h5py, seen, here)
            continue
        layout = item.id.get_create_plist()
        plain = layout.get_layout() == h5py.h5d.COMPACT or item.size == 0 or item.id.get_offset() is not None
        if item.dtype.kind not in "fiub" or item.is_virtual or layout.get_external_count() or not plain:
            raise ValueError(f"{name} is not an array of plain numbers")
        if layout.get_layout() == h5py.h5d.CHUNKED:
            raise ValueError(f"{name} is compressed")
        yield here, item


def _name(place: Sequence[str], dataset: Any) -> str:
    """Return layer/weight by the place of an array."""
    if len(place) < 2:
        raise ValueError(f"{place[0]} is in no layer")
    if len(place) >= 3 and place[-2] == "vars":
        parent = dataset.parent
        layer, names = parent.attrs.get("name", place[-3]), VARIABLES.get(len(parent), ())
        if place[-1] not in map(str, range(len(names))):
            raise ValueError(f"{layer} has other variables than a convolution, dense layer or batch norm")
        return f"{layer}/{names[int(place[-1])]}"
    last = place[-1].removesuffix(":0")
    if match := re.fullmatch(r"(.+)_([Wb])(?:_\d+)?", last):
        return f"{match[1]}/{LETTERS[match[2]]}"
    return f"{place[-2]}/{last}"
