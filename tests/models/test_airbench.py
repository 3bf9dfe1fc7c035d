"""The speed runs' network: counts by hand, blocks that begin as the identity, a first layer that whitens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from jaxcnn.analysis.complexity import count
from jaxcnn.errors import InputError
from jaxcnn.models import build, named
from jaxcnn.models.airbench import partial_identity
from jaxcnn.nn import synchronised
from jaxcnn.spec import ModelSpec
from tests.fixtures.reference import draw_variables


def test_counts_by_hand():
    """Layer by layer as arXiv:2404.00498 defines the network; 1.97 million is what is reported of it."""
    cost = count(build(named("airbench94"), 10), (32, 32, 3))
    convs = [(24, 64), (64, 64), (64, 256), (256, 256), (256, 256), (256, 256)]
    whiten, norms, head = 2 * 2 * 3 * 24 + 24, sum(2 * out for _, out in convs), 256 * 10
    assert cost.params == whiten + sum(9 * a * b for a, b in convs) + norms + head == 1_972_792
    sides = (31, 15, 15, 7, 7, 3)
    expected = 31 * 31 * 288 + sum(s * s * 9 * a * b for s, (a, b) in zip(sides, convs, strict=True)) + head
    assert cost.macs == expected
    assert [layer.path for layer in cost.layers if layer.macs] == [
        "whiten", *(f"conv{i}" for i in range(1, 7)), "head"
    ]  # fmt: skip


def test_depth_and_width_spread_over_stages():
    assert build(ModelSpec("airbench", 8, 64), 10).backbone.stage_widths == (64, 256, 256)
    assert [build(ModelSpec("airbench", depth, 4), 10).backbone.stage_sizes for depth in (3, 4, 6, 10)] == [
        (1,), (1, 1), (1, 1, 2), (2, 3, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(("channels", "filters"), [(3, 5), (5, 3)])
def test_first_filters_pass_their_channel_on(channels, filters):
    kernel = partial_identity(jax.random.key(0), (3, 3, channels, filters))
    x = jax.random.normal(jax.random.key(1), (2, 6, 6, channels))
    out, passed = ops.conv2d(x, kernel, padding="SAME"), min(channels, filters)
    np.testing.assert_allclose(out[..., :passed], x[..., :passed], rtol=1e-6)
    noise = np.asarray(kernel[..., passed:])
    assert np.all(np.abs(noise) <= np.sqrt(1 / (9 * channels)))  # PyTorch's uniform bound
    assert noise.size == 0 or np.std(noise) > 0.4 * np.sqrt(1 / (9 * channels))


def test_the_first_layer_whitens_the_images_it_was_shown():
    module = build(ModelSpec("airbench", 5, 2), 3)
    images = jax.random.normal(jax.random.key(0), (30, 9, 9, 2)) @ jnp.array([[1.0, 0.5], [0.0, 0.3]])
    params = draw_variables(module, images)["params"]
    begun = module.data_init(params, images)
    np.testing.assert_array_equal(begun["whiten"]["kernel"], ops.whitening_kernel(images, 2))
    moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), params, begun)
    assert [path for path, changed in jax.tree_util.tree_leaves_with_path(moved) if changed] == [
        (jax.tree_util.DictKey("whiten"), jax.tree_util.DictKey("kernel"))
    ]


def test_logits_are_a_ninth_of_the_heads():
    module = build(ModelSpec("airbench", 3, 2), 3)
    images = jax.random.normal(jax.random.key(0), (2, 8, 8, 1))
    variables = draw_variables(module, images)
    params = variables["params"]
    x = ops.conv2d(images, params["whiten"]["kernel"], params["whiten"]["bias"], padding="VALID")
    x = ops.conv2d(jax.nn.gelu(x, approximate=False), params["conv1"]["kernel"], padding="SAME")
    x = jax.nn.gelu(ops.max_pool(x, 2), approximate=False)  # at its start the norm is the identity
    expected = x.max(axis=(1, 2)) @ params["head"]["kernel"] / 9
    np.testing.assert_allclose(module.apply(variables, images), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_synchronised_statistics_equal_one_device():
    module = build(ModelSpec("airbench", 4, 2), 3)
    images = jax.random.normal(jax.random.key(0), (4, 8, 8, 1))
    variables = draw_variables(module, images)
    logits, stats = jax.pmap(
        lambda x: synchronised(module, "batch").apply(variables, x, train=True, mutable=["batch_stats"]),
        axis_name="batch",
    )(images[:, None])
    expected, expected_stats = module.apply(variables, images, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-3, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[3], b, rtol=1e-3, atol=1e-6), stats, expected_stats)


def test_errors():
    with pytest.raises(InputError, match=r"depth=2: airbench needs at least one convolution .*nearest is 3"):
        build(ModelSpec("airbench", 2, 4), 3)
    with pytest.raises(InputError, match=r"3 stages need .* at least 9x9 pixels; use data.size=9"):
        jax.eval_shape(build(ModelSpec("airbench", 8, 4), 3).init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))
    jax.eval_shape(build(ModelSpec("airbench", 8, 4), 3).init, jax.random.key(0), jnp.zeros((1, 9, 9, 1)))
