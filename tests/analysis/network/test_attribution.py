"""Attribution against captum 0.9 (tests/fixtures/make_captum_fixtures.py), laws, and other modules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxcnn.analysis.network.attribution import (
    grad_cam,
    integrated_gradients,
    logit,
    mean_gradient,
    occlusion,
    saliency,
    smooth_grad,
)
from jaxcnn.errors import InputError
from jaxcnn.models import build
from jaxcnn.nn.calls import infer
from jaxcnn.spec import ModelSpec
from tests.fixtures.reference import assert_close, draw_variables, load_flat, nested

FIXTURE = load_flat("attribution")
IMAGES, TARGETS = jnp.asarray(FIXTURE["x"]), jnp.asarray(FIXTURE["targets"])
LENET = build(
    ModelSpec("lenet", 4, 6, stage_widths=(6, 8), options={"kernel": 3, "padding": "same", "dense": 2, "units": (12,)}),
    num_classes=5,
)
VARIABLES = {"params": jax.tree.map(jnp.asarray, nested(FIXTURE, "params/"))}
METHODS = {
    "saliency": saliency,
    "integrated": integrated_gradients,
    "integrated_from": lambda *given: integrated_gradients(*given, baseline=jnp.asarray(FIXTURE["start"]), points=20),
    "occlusion": lambda *given: occlusion(*given, window=5, stride=3),
    "occlusion_grey": lambda *given: occlusion(*given, window=4, stride=2, baseline=0.5),
    "cam_conv1": lambda *given: grad_cam(*given, layer="conv1"),
    "cam_conv2": lambda *given: grad_cam(*given, layer="conv2"),
    "cam_pool2": grad_cam,
}


def test_the_network_is_the_same():
    assert_close(infer(LENET, VARIABLES, IMAGES), FIXTURE["logits"])


@pytest.mark.parametrize("name", METHODS)
def test_equals_captum(name):
    expected = FIXTURE[name]
    ours = np.asarray(METHODS[name](LENET, VARIABLES, IMAGES, TARGETS))
    if ours.ndim == 3:  # captum repeats an occluded square over the channels
        ours = np.broadcast_to(ours[..., None], expected.shape)
    assert_close(ours, expected, name)


def test_smooth_grad_equals_captum():
    copies = IMAGES[None] + 0.3 * jnp.asarray(FIXTURE["noise"])
    assert_close(mean_gradient(LENET, VARIABLES, copies, TARGETS, jnp.full(5, 0.2)), FIXTURE["smooth_grad"])


def test_smooth_grad_without_noise_is_the_gradient():
    smooth = smooth_grad(LENET, VARIABLES, IMAGES, TARGETS, jax.random.key(0), samples=2, sigma=0.0)
    assert_close(jnp.abs(smooth), saliency(LENET, VARIABLES, IMAGES, TARGETS))
    noisy = [smooth_grad(LENET, VARIABLES, IMAGES, TARGETS, jax.random.key(0), samples=3) for _ in range(2)]
    np.testing.assert_array_equal(*noisy)
    assert not np.allclose(noisy[0], smooth)


class Smooth(linen.Module):
    """A network whose gradient has no jumps, as ReLU and max pooling give it."""

    @linen.compact
    def __call__(self, x):
        return linen.Dense(5)(jnp.tanh(linen.Conv(4, (3, 3))(x)).mean((1, 2)))


def test_integrated_gradients_are_complete():
    start = jnp.asarray(FIXTURE["start"])
    smooth = (Smooth(), Smooth().init(jax.random.key(0), IMAGES))
    for (module, variables), points, tolerance in ((smooth, 50, 1e-5), ((LENET, VARIABLES), 500, 0.02)):
        ours = integrated_gradients(module, variables, IMAGES, TARGETS, baseline=start, points=points)
        gain = logit(infer(module, variables, IMAGES), TARGETS) - logit(infer(module, variables, start), TARGETS)
        np.testing.assert_allclose(ours.sum(axis=(1, 2, 3)), gain, atol=tolerance)


@pytest.mark.parametrize("name", ["saliency", "integrated", "occlusion", "cam_conv1", "cam_pool2"])
def test_maps_change_when_weights_are_randomised(name):
    """Adebayo et al. 2018, whichever layer is drawn anew."""
    keys = iter(jax.random.split(jax.random.key(3), 8))
    ours = np.asarray(METHODS[name](LENET, VARIABLES, IMAGES, TARGETS)).ravel()
    for layer in ("conv1", "dense2"):
        kernel = VARIABLES["params"][layer]["kernel"]
        drawn = jax.random.normal(next(keys), kernel.shape) * kernel.std()
        changed = {"params": {**VARIABLES["params"], layer: {**VARIABLES["params"][layer], "kernel": drawn}}}
        other = np.asarray(METHODS[name](LENET, changed, IMAGES, TARGETS)).ravel()
        assert np.linalg.norm(ours - other) > 0.2 * np.linalg.norm(ours)


@pytest.mark.slow
def test_a_residual_network_and_its_blocks():
    module = build(ModelSpec("resnet", 8, 4), num_classes=3)
    images, targets = jnp.asarray(np.random.default_rng(0).random((2, 16, 16, 3)), jnp.float32), jnp.array([0, 2])
    variables = draw_variables(module, images)
    last = grad_cam(module, variables, images, targets)
    np.testing.assert_allclose(
        last, grad_cam(module, variables, images, targets, layer="stage3_block1")
    )  # the same map
    # The head is a mean and a linear layer, so that Grad-CAM is ReLU of the logit's weights on the map (CAM).
    map = module.apply(variables, images, method="features")[-1]
    weights = np.asarray(variables["params"]["dense"]["kernel"])[:, np.asarray(targets)].T
    small = np.maximum((np.asarray(map) * weights[:, None, None, :] / map[0, :, :, 0].size).sum(-1), 0)
    assert_close(np.asarray(last).reshape(2, 16, 16).mean((1, 2)), small.mean((1, 2)), tolerance=1e-4)


class Pixels(linen.Module):
    """A module of the user's: logits of every pixel."""

    @linen.compact
    def __call__(self, x, training: bool = False):
        return linen.Conv(2, (3, 3), name="last")(linen.relu(linen.Conv(4, (3, 3))(x)))


@pytest.mark.slow
def test_other_modules_and_other_scores():
    module, images = Pixels(), jnp.ones((1, 8, 8, 1))
    variables = module.init(jax.random.key(0), images)

    def middle(outputs, targets):
        return outputs[:, 4, 4, 0]

    seen = saliency(module, variables, images, jnp.zeros(1, int), score=middle)[0, ..., 0]
    assert [axis.tolist() for axis in np.nonzero(np.asarray(seen).sum(1))] == [[2, 3, 4, 5, 6]]
    assert grad_cam(module, variables, images, jnp.zeros(1, int), score=middle).shape == (1, 8, 8)
    assert occlusion(module, variables, images, jnp.zeros(1, int), score=middle)[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda *given: smooth_grad(*given, jax.random.key(0), samples=0), "samples=0: must be at least 1"),
        (lambda *given: integrated_gradients(*given, points=0), "points=0: must be at least 1"),
        (lambda *given: occlusion(*given, window=17), "window=17: must be between 1 and 16"),
        (lambda *given: occlusion(*given, window=3, stride=4), "stride=4: must be between 1 and window=3"),
        (lambda *given: grad_cam(*given, layer="conv9"), "layer='conv9': no submodule.*did you mean conv1 or conv2"),
        (lambda *given: grad_cam(*given, layer="dense1"), "layer='dense1': no submodule of this path puts out a map"),
    ],
)
def test_bad_options_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call(LENET, VARIABLES, IMAGES, TARGETS)
