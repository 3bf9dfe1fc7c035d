"""Receptive fields against published numbers, hand counts, and the support of gradients under positive weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import nn
from jaxcnn.analysis.complexity import count
from jaxcnn.analysis.network.receptive_field import (
    ReceptiveField,
    effective_receptive_fields,
    effective_size,
    receptive_fields,
)
from jaxcnn.errors import InputError
from jaxcnn.models import build, named
from jaxcnn.spec import ModelSpec

BEFORE_POOLS = {"conv2": 5, "conv4": 14, "conv7": 40, "conv10": 92, "conv13": 196}


def positive(module, images):
    """Variables with which every unit is positive and no weight is zero."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)

    def fill(path, leaf):
        if path[-1].key == "kernel":
            return jnp.full(leaf.shape, 1 / np.prod(leaf.shape[:-1]), leaf.dtype)
        return jnp.full(leaf.shape, path[-1].key in ("scale", "var"), leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def support(field):
    """Return (top, left, bottom, right) of what is not zero."""
    rows, columns = (np.nonzero(np.asarray(field).max(axis=axis))[0] for axis in (1, 0))
    return rows[0], columns[0], rows[-1] + 1, columns[-1] + 1


def test_vgg16_by_arithmetic():
    fields = receptive_fields(build(named("vgg16"), num_classes=1000), (224, 224, 3))
    assert {name: fields[name].size[0] for name in BEFORE_POOLS} == BEFORE_POOLS
    assert [fields[f"pool{n}"].size[0] for n in range(1, 6)] == [6, 16, 44, 100, 212]  # Araujo et al. 2019: 212
    assert [fields[f"pool{n}"].stride[0] for n in range(1, 6)] == [2, 4, 8, 16, 32]


def test_vgg16_by_the_support_of_its_gradient():
    """The same network, one channel wide: width does not count."""
    module = build(ModelSpec("vgg", 16, 1, stage_widths=(1,) * 5, options={"units": (1, 1)}), num_classes=2)
    images = jnp.ones((1, 224, 224, 1))
    fields = effective_receptive_fields(module, positive(module, images), images)
    sizes = {name: support(field)[2] - support(field)[0] for name, field in fields.items()}
    assert {name: sizes[name] for name in BEFORE_POOLS} == BEFORE_POOLS
    theory = receptive_fields(module, (224, 224, 1))
    assert sizes == {name: theory[name].size[0] for name in fields}


@pytest.mark.parametrize(("name", "size", "layer"), [("resnet18", 435, "stage4_block2"), ("lenet5", 14, "conv2")])
def test_published_sizes(name, size, layer):
    module = build(named(name), num_classes=10)
    assert receptive_fields(module, (224, 224, 3) if name == "resnet18" else (28, 28, 1))[layer].size == (size, size)


@pytest.mark.parametrize(
    ("spec", "exact"),
    [
        pytest.param(ModelSpec("resnet", 8, 2), True, marks=pytest.mark.slow),
        pytest.param(ModelSpec("wrn", 10, 1), True, marks=pytest.mark.slow),
        (ModelSpec("plain", 5, 2), True),
        (ModelSpec("lenet", 4, 2, options={"kernel": 5, "dense": 1}), True),
        (ModelSpec("airbench", 4, 8), True),
        pytest.param(ModelSpec("unet", 8, 2, options={"levels": 3}), False, marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "family", None),
)
def test_boxes_are_the_support_of_gradients(spec, exact):
    module, images = build(spec, num_classes=2), jnp.ones((1, 96, 96, 1))
    theory = receptive_fields(module, (96, 96, 1))
    for name, field in effective_receptive_fields(module, positive(module, images), images).items():
        unit = tuple(side // 2 for side in module_shape(module, images, name))
        top, left, bottom, right = theory[name].box(unit)
        box = (max(top, 0), max(left, 0), min(bottom, 96), min(right, 96))
        seen = support(field)
        if exact:
            assert seen == box, name
        else:  # upsampling gives an upper bound, one step too large at most
            assert all(b <= s for b, s in zip(box[:2], seen[:2], strict=True)), name
            assert all(b >= s for b, s in zip(box[2:], seen[2:], strict=True)), name
            assert theory[name].size[0] <= seen[2] - seen[0] + 8, name


def module_shape(module, images, name):
    return next(layer.output_shape[:2] for layer in count(module, images.shape[1:]).layers if layer.path == name)


class Stack(linen.Module):
    """Windows of given kernels, strides and dilations, one after another; a window of 0 is pooling by 2."""

    windows: tuple[tuple[int, int, int], ...]

    @linen.compact
    def __call__(self, x, train: bool = False):
        for kernel, stride, dilation in self.windows:
            if kernel:
                x = nn.Conv(1, kernel, stride, dilation, padding="VALID", use_bias=False)(x)
            else:
                x = nn.MaxPool(2)(x)
        return x


WINDOW = st.one_of(st.just((0, 2, 1)), st.tuples(st.integers(1, 5), st.integers(1, 2), st.integers(1, 2)))


@settings(deadline=None, max_examples=30)
@given(st.lists(WINDOW, min_size=1, max_size=4))
def test_the_recursion(windows):
    """r += (k - 1) d j, j *= s (Araujo et al. 2019)."""
    module, size, jump = Stack(tuple(windows)), 1, 1
    fields = list(receptive_fields(module, (128, 128, 1)).values())
    for field, (kernel, stride, dilation) in zip(fields, windows, strict=True):
        size, jump = size + ((kernel or 2) - 1) * dilation * jump, jump * stride
        assert field == ReceptiveField((size, size), (jump, jump), (0, 0))


@pytest.mark.parametrize("depth", [2, 8])
def test_uniform_kernels_give_a_box_folded_with_itself(depth):
    """Luo et al. 2016: towards a Gaussian, whose width grows as the root of the depth."""
    module, images = Stack(((3, 1, 1),) * depth), jnp.ones((1, 25, 25, 1))
    *_, last = effective_receptive_fields(module, positive(module, images), images).values()
    row = np.ones(1)
    for _ in range(depth):
        row = np.convolve(row, np.ones(3))
    top, left, bottom, right = support(last)
    expected = np.outer(row, row) / row.max() ** 2
    np.testing.assert_allclose(np.asarray(last)[top:bottom, left:right], expected, rtol=1e-4)
    assert effective_size(last) == pytest.approx(np.sqrt((expected > 0.0455).sum()))


def test_a_unit_behind_a_dense_layer_sees_everything():
    class Grid(linen.Module):
        @linen.compact
        def __call__(self, x):
            mixed = linen.Dense(16)(x.reshape(len(x), -1)).reshape(len(x), 4, 4, 1)
            return nn.Conv(1, 1, name="late")(mixed)

    field = receptive_fields(Grid(), (8, 8, 1))["late"]
    assert field.stride == (0, 0)
    assert field.box((1, 1))[0] <= 0 < 8 <= field.box((1, 1))[2]


def test_a_bad_shape_is_named():
    with pytest.raises(InputError, match="input_shape="):
        receptive_fields(nn.Conv(1), (8, 8))


def test_without_a_convolution_there_is_no_effective_field():
    dense, image = linen.Dense(2), jnp.ones((1, 4, 4, 1))
    assert effective_receptive_fields(dense, dense.init(jax.random.key(0), image), image) == {}
