"""Which pixels a network's answer rests on: gradients, their averages and integrals, Grad-CAM, occlusion.

All explain one number per image, by default the logit of a class, not its probability. Maps must change when weights
are randomised (Adebayo et al. 2018, "Sanity checks for saliency maps"); those of an untrained network mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcnn import ops
from jaxcnn.analysis.network.layer_outputs import ROOT, is_convolution
from jaxcnn.errors import InputError, did_you_mean, require
from jaxcnn.nn.calls import infer
from jaxcnn.nn.network import Network

Score = Callable[[Any, jax.Array], jax.Array]
"""(outputs, targets) -> (N,), the number of each image that is explained."""


def logit(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Return the logit of each image's target: outputs (N, classes), targets (N,) integers.

    >>> logit(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1, 0])).tolist()
    [2.0, 3.0]
    """
    return jnp.take_along_axis(outputs, targets[:, None], axis=1)[:, 0]


def saliency(
    module: nn.Module, variables: Mapping[str, Any], images: jax.Array, targets: jax.Array, *, score: Score = logit
) -> jax.Array:
    """Compute |d score / d pixel|. Simonyan et al. 2013, "Deep inside convolutional networks".

    Args:
        module: Any Flax module; it is called in inference.
        variables: Its `params` and `batch_stats`.
        images: (N, H, W, C), as the network sees them.
        targets: (N,) classes whose logits are explained.
        score: (outputs, targets) -> (N,) for outputs that are no logits (N, classes).

    Returns:
        (N, H, W, C), at least 0.

    >>> dense = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(2)])
    >>> variables = {"params": {"layers_1": {"kernel": jnp.array([[1.0, -3.0]]), "bias": jnp.zeros(2)}}}
    >>> saliency(dense, variables, jnp.ones((1, 1, 1, 1)), jnp.array([1])).item()
    3.0
    """
    return jax.jit(lambda variables, images: jnp.abs(_gradient(module, variables, targets, score)(images)))(
        variables, images
    )


def smooth_grad(
    module: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    targets: jax.Array,
    key: jax.Array,
    *,
    samples: int = 25,
    sigma: float = 0.15,
    score: Score = logit,
) -> jax.Array:
    """Compute the mean gradient over noisy copies of each image. Smilkov et al. 2017, "SmoothGrad".

    Args:
        module, variables, images, targets, score: As for `saliency`.
        key: PRNG key of the noise.
        samples: Number of noisy copies.
        sigma: Standard deviation of the noise as a share of the image's range (largest minus smallest pixel).

    Returns:
        (N, H, W, C), signed.

    Raises:
        InputError: samples is below 1.

    >>> dense = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(2)])
    >>> variables = {"params": {"layers_1": {"kernel": jnp.array([[1.0, -3.0]]), "bias": jnp.zeros(2)}}}
    >>> round(smooth_grad(dense, variables, jnp.ones((1, 1, 1, 1)), jnp.array([1]), jax.random.key(0)).item(), 4)
    -3.0
    """
    require(samples >= 1, "samples", samples, "must be at least 1")
    spread = images.max(axis=(1, 2, 3), keepdims=True) - images.min(axis=(1, 2, 3), keepdims=True)
    noise = sigma * spread[None] * jax.random.normal(key, (samples, *images.shape), images.dtype)
    return mean_gradient(module, variables, images[None] + noise, targets, jnp.full(samples, 1 / samples), score)


def integrated_gradients(
    module: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    targets: jax.Array,
    *,
    baseline: float | jax.Array = 0.0,
    points: int = 50,
    score: Score = logit,
) -> jax.Array:
    """Compute (x - x0) times the mean gradient between x0 and x. Sundararajan et al. 2017, "Axiomatic attribution".

    Completeness: the sum over an image's pixels is score(x) - score(x0), up to the error of the integral.

    Args:
        module, variables, images, targets, score: As for `saliency`.
        baseline: x0, a number or an array like the images: an image without information, in the network's units.
        points: Points of the Gauss-Legendre rule.

    Returns:
        (N, H, W, C), signed.

    Raises:
        InputError: points is below 1.

    >>> dense = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(2)])
    >>> variables = {"params": {"layers_1": {"kernel": jnp.array([[1.0, -3.0]]), "bias": jnp.zeros(2)}}}
    >>> round(integrated_gradients(dense, variables, jnp.full((1, 1, 1, 1), 2.0), jnp.array([1])).item(), 5)
    -6.0
    """
    require(points >= 1, "points", points, "must be at least 1")
    places, weights = np.polynomial.legendre.leggauss(points)
    start = jnp.broadcast_to(jnp.asarray(baseline, images.dtype), images.shape)
    shares = jnp.asarray((1 + places) / 2, images.dtype)
    path = start[None] + shares[:, None, None, None, None] * (images - start)[None]
    gradient = mean_gradient(module, variables, path, targets, jnp.asarray(weights / 2, images.dtype), score)
    return (images - start) * gradient


def grad_cam(
    module: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    targets: jax.Array,
    *,
    layer: str | None = None,
    score: Score = logit,
) -> jax.Array:
    """Compute where a layer's features speak for the target. Selvaraju et al. 2017, "Grad-CAM".

    ReLU(sum_c a_c A_c), a_c the mean over positions of d score / d A_c, resized bilinearly to the images.

    Args:
        module, variables, images, targets, score: As for `saliency`.
        layer: Path of a submodule that puts out a map A, such as "stage3_block3". Default: the map that the head sees;
            for a module that is no `Network`, its last convolution.

    Returns:
        (N, H, W), at least 0.

    Raises:
        InputError: No submodule of this path puts out a map (N, h, w, C).

    >>> net = nn.Sequential([nn.Conv(1, (1, 1)), lambda x: x.mean((1, 2)), nn.Dense(2)])
    >>> variables = net.init(jax.random.key(0), jnp.ones((1, 4, 4, 1)))
    >>> grad_cam(net, variables, jnp.ones((1, 4, 4, 1)), jnp.array([1])).shape
    (1, 4, 4)
    """
    layer = _cam_layer(module, variables, images) if layer is None else layer

    @jax.jit
    def cam(variables: Any, images: jax.Array) -> jax.Array:
        shape = jax.eval_shape(lambda: _layer_output(module, variables, images, layer))

        def moved(delta: jax.Array) -> tuple[jax.Array, jax.Array]:
            outputs, map = _with_added(module, variables, images, layer, delta)
            return score(outputs, targets).sum(), map

        gradient, map = jax.grad(moved, has_aux=True)(jnp.zeros(shape.shape, shape.dtype))
        weighted = (gradient.mean(axis=(1, 2), keepdims=True) * map).sum(axis=3, keepdims=True)
        return ops.resize_bilinear(jax.nn.relu(weighted), (images.shape[1], images.shape[2]))[..., 0]

    return cam(variables, images)


def occlusion(
    module: nn.Module,
    variables: Mapping[str, Any],
    images: jax.Array,
    targets: jax.Array,
    *,
    window: int | None = None,
    stride: int | None = None,
    baseline: float = 0.0,
    score: Score = logit,
) -> jax.Array:
    """Compute how far the score drops where a square is covered. Zeiler and Fergus 2013, "Visualizing networks".

    Squares start at every stride-th pixel until the image is covered; those that overhang are cut off.

    Args:
        module, variables, images, targets, score: As for `saliency`.
        window: Side of the square in pixels. Default: a quarter of the shorter side.
        stride: Pixels between squares. Default: half a window.
        baseline: Value of covered pixels.

    Returns:
        (N, H, W), the mean over the squares that cover a pixel; above 0 where the pixel speaks for the target.

    Raises:
        InputError: window is not between 1 and the shorter side, or stride not between 1 and window.

    >>> mean = nn.Sequential([lambda x: x.sum((1, 2)), nn.Dense(1)])
    >>> variables = {"params": {"layers_1": {"kernel": jnp.ones((1, 1)), "bias": jnp.zeros(1)}}}
    >>> occlusion(mean, variables, jnp.ones((1, 4, 4, 1)), jnp.array([0]), window=2, stride=2)[0, 0].tolist()
    [4.0, 4.0, 4.0, 4.0]
    """
    height, width = images.shape[1:3]
    window = max(min(height, width) // 4, 1) if window is None else window
    require(1 <= window <= min(height, width), "window", window, f"must be between 1 and {min(height, width)}")
    stride = max(window // 2, 1) if stride is None else stride
    require(1 <= stride <= window, "stride", stride, f"must be between 1 and window={window}, or pixels are left out")
    corners = np.array(
        [(top, left) for top in _starts(height, window, stride) for left in _starts(width, window, stride)]
    )

    @jax.jit
    def drops(variables: Any, images: jax.Array) -> jax.Array:
        whole = score(infer(module, variables, images), targets)
        rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]

        def cover(total: jax.Array, corner: jax.Array) -> tuple[jax.Array, jax.Array]:
            top, left = corner
            hidden = (rows >= top) & (rows < top + window) & (columns >= left) & (columns < left + window)
            covered = jnp.where(hidden[None, :, :, None], jnp.asarray(baseline, images.dtype), images)
            drop = whole - score(infer(module, variables, covered), targets)
            return total + drop[:, None, None] * hidden[None].astype(drop.dtype), hidden

        total, hidden = jax.lax.scan(cover, jnp.zeros((len(images), height, width), whole.dtype), jnp.asarray(corners))
        return total / hidden.sum(axis=0)[None].astype(total.dtype)

    return drops(variables, images)


def mean_gradient(
    module: nn.Module,
    variables: Mapping[str, Any],
    copies: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    score: Score = logit,
) -> jax.Array:
    """Compute the weighted sum of d score / d pixel over copies (copies, N, H, W, C) of the images; weights (copies,).

    >>> dense = nn.Sequential([lambda x: x.reshape(len(x), -1), nn.Dense(2)])
    >>> variables = {"params": {"layers_1": {"kernel": jnp.array([[1.0, -3.0]]), "bias": jnp.zeros(2)}}}
    >>> mean_gradient(dense, variables, jnp.ones((2, 1, 1, 1, 1)), jnp.array([1]), jnp.array([0.5, 0.5])).item()
    -3.0
    """

    @jax.jit
    def add(variables: Any, copies: jax.Array, weights: jax.Array) -> jax.Array:
        gradient = _gradient(module, variables, targets, score)

        def one(total: jax.Array, copy: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            return total + copy[1] * gradient(copy[0]), None

        return jax.lax.scan(one, jnp.zeros_like(copies[0]), (copies, weights))[0]

    return add(variables, copies, weights)


def _gradient(module: nn.Module, variables: Any, targets: jax.Array, score: Score) -> Callable[[jax.Array], jax.Array]:
    # Images do not meet in inference, so one gradient of the sum holds that of each.
    return jax.grad(lambda images: score(infer(module, variables, images), targets).sum())


def _starts(side: int, window: int, stride: int) -> range:
    return range(0, stride * -(-(side - window) // stride) + 1, stride)


BACKBONE = "the backbone of a Network"


def _cam_layer(module: nn.Module, variables: Any, images: jax.Array) -> str:
    if isinstance(module, Network):
        return BACKBONE
    names: list[str] = []

    def note(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        if context.method_name == "__call__" and is_convolution(context.module):
            names.append("/".join(context.module.path) or ROOT)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        jax.eval_shape(lambda images: infer(module, variables, images), images)
    require(bool(names), "layer", None, "the module has no convolution; name a submodule that puts out a map")
    return names[-1]


def _layer_output(module: nn.Module, variables: Any, images: jax.Array, layer: str) -> jax.Array:
    return _with_added(module, variables, images, layer, None)[1]


def _with_added(
    module: nn.Module, variables: Any, images: jax.Array, layer: str, delta: jax.Array | None
) -> tuple[Any, jax.Array]:
    """Return the outputs with delta added to a layer's map, and that map; of a layer called twice, its last call."""
    maps: list[jax.Array] = []
    paths: set[str] = set()

    def add(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        out = call(*args, **kwargs)
        path = "/".join(context.module.path) or ROOT
        if context.method_name != "__call__":
            return out
        if layer == BACKBONE and isinstance(module, Network) and isinstance(context.module, type(module.backbone)):
            *others, last = out
            maps.append(last)
            return (*others, last if delta is None else last + delta)
        if getattr(out, "ndim", 0) == 4:
            paths.add(path)
        if path == layer and getattr(out, "ndim", 0) == 4:
            maps.append(out)
            return out if delta is None else out + delta
        return out

    with nn.intercept_methods(add):
        outputs = infer(module, variables, images)
    if not maps:
        raise InputError(f"layer={layer!r}: no submodule of this path puts out a map{did_you_mean(sorted(paths)[:3])}")
    return outputs, maps[-1]
