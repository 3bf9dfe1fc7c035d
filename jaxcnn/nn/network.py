"""A network is a backbone, which gives maps of features, and a head, which makes the task's outputs of them."""

from __future__ import annotations

import dataclasses
import math
from contextlib import nullcontext
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.nn.calls import call_parameters
from jaxcnn.nn.frozen import frozen_layers
from jaxcnn.nn.layers import HE_FAN_IN, Dense, Dropout, GlobalAvgPool

M = TypeVar("M", bound=nn.Module)
Maps = tuple[jax.Array, ...]


class Network(nn.Module):
    """A backbone under a head; both share one scope, so that parameters are named as if they were one module.

    Args:
        backbone: Module (images, train, mask) -> maps (N, H / s, W / s, C), one per stride s, the finest first.
        head: Module (maps, train, mask) -> outputs; if its call has an argument `size`, it gets the images' (height,
            width).
        frozen: Top-level names of the layers that are frozen in training (see `jaxcnn.nn.frozen`).
        from_map: The call gets the last map of the backbone in place of images.
    """

    backbone: nn.Module
    head: nn.Module
    frozen: tuple[str, ...] = ()
    from_map: bool = False

    def setup(self) -> None:
        """Join the scopes."""
        nn.share_scope(self, self.backbone)
        if not isinstance(self.head, Dense):  # a head that is one layer is named `head`, as its field
            nn.share_scope(self, self.head)

    def __call__(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Any:
        """Map images (N, H, W, C) to the head's outputs; mask (N,) is 0 for examples that batch norm must not see."""
        more = {"size": images.shape[1:3]} if "size" in call_parameters(self.head) else {}
        with frozen_layers(self.frozen) if train and self.frozen else nullcontext():
            maps = (images,) if self.from_map else self.backbone(images, train, mask)
            return self.head(maps, train, mask, **more)

    def features(self, images: jax.Array, train: bool = False, mask: jax.Array | None = None) -> Maps:
        """Return the maps of the backbone, one per stride, the finest first; the head sees the last."""
        return self.backbone(images, train, mask)

    @property
    def axis_name(self) -> str | None:
        """Mapped axis over which batch norm shares its statistics."""
        return getattr(self.backbone, "axis_name", None)

    @property
    def data_init(self) -> Any:
        """The backbone's function (params, images) -> params for an initialisation from data; None: there is none."""
        return getattr(self.backbone, "data_init", None)


class ClassifierHead(nn.Module):
    """Pool the last map or flatten it, then hidden dense layers with ReLU and dropout, then logits.

    Args:
        num_classes: Length of the logits.
        units: Units of the hidden dense layers.
        dropout: Share of units dropped after each hidden layer; without one, before the last layer.
        average: Global average pooling; otherwise the map is flattened.
        largest_map: Average larger maps down to this side before flattening. Default: never.
        numbered: Name the layers dense1, dense2, ...; otherwise the only layer is called dense.
        axis_name: Mapped axis over which a batch is spread: dropout draws for the whole batch.
    """

    num_classes: int
    units: tuple[int, ...] = ()
    dropout: float = 0.0
    average: bool = True
    largest_map: int | None = None
    numbered: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, maps: Maps, train: bool = False, mask: jax.Array | None = None) -> jax.Array:
        """Map the last of the maps (N, H, W, C) to logits (N, num_classes)."""
        x = maps[-1]
        if self.average:
            x = GlobalAvgPool(name="average")(x)
        else:
            if self.largest_map is not None:
                x = ops.adaptive_avg_pool(x, (min(x.shape[1], self.largest_map), min(x.shape[2], self.largest_map)))
            x = jnp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
        for index, units in enumerate(self.units, start=1):
            x = nn.relu(Dense(units, kernel_init=HE_FAN_IN, name=f"dense{index}")(x))
            if self.dropout:
                x = Dropout(self.dropout, self.axis_name, name=f"drop{index}")(x, train)
        if self.dropout and not self.units:
            x = Dropout(self.dropout, self.axis_name, name="drop1")(x, train)
        return Dense(self.num_classes, name=f"dense{len(self.units) + 1}" if self.numbered else "dense")(x)


def synchronised(module: M, axis_name: str) -> M:
    """Return a module whose batch norm shares its statistics, and whose dropout draws, over a mapped axis.

    Every module that has a field `axis_name` gets it, those in fields of others too. A module without one comes back
    unchanged: it keeps statistics per device.

    >>> synchronised(Dropout(0.5), "batch").axis_name
    'batch'
    """
    changes: dict[str, Any] = {}
    for each in dataclasses.fields(module):
        value = getattr(module, each.name, None)
        if each.name == "axis_name":
            changes["axis_name"] = axis_name
        elif isinstance(value, nn.Module) and each.name != "parent":
            changes[each.name] = synchronised(value, axis_name)
    return module.clone(**changes) if changes else module
