"""Counts against published totals, PyTorch's counter, hand counts, and modules written by others."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from flax import linen
from jax import lax

from jaxcnn import nn
from jaxcnn.analysis.complexity import count, count_params
from jaxcnn.errors import InputError
from jaxcnn.models import build, default_input, named

# Trainable parameters and multiply-accumulates at the natural input (He et al. 2015, Zagoruyko and Komodakis 2016,
# torchvision 0.2x for the ImageNet nets; each cross-checked by formula).
PUBLISHED = {
    "lenet5": (61_706, 416_520),
    "lenet_caffe": (431_080, 2_293_000),
    "resnet20": (269_722, 40_551_040),
    "plain20": (269_722, 40_551_040),
    "resnet20b": (272_474, 40_813_184),
    "resnet32": (464_154, None),
    "resnet44": (658_586, None),
    "resnet56": (853_018, 125_485_696),
    "resnet110": (1_727_962, 252_887_680),
    "resnet18_cifar": (11_173_962, 555_422_720),
    "wrn_16_4": (2_748_890, None),
    "wrn_16_8": (10_961_370, 1_548_145_664),
    "wrn_16_10": (17_116_634, None),
    "wrn_22_8": (17_158_106, None),
    "wrn_28_10": (36_479_194, 5_243_328_768),
    "wrn_40_1": (563_930, None),
    "wrn_40_2": (2_243_546, None),
    "wrn_40_4": (8_949_210, 1_298_582_016),
    "wrn_40_8": (35_748_314, None),
    "wrn_52_1": (758_362, None),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "vgg16": (138_357_544, 15_470_264_320),
}
LARGE = "resnet44", "resnet56", "resnet110", "wrn_40_1", "wrn_40_2", "wrn_40_8", "wrn_52_1"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in PUBLISHED],
)
def test_totals_equal_the_published_ones(name):
    shape, classes = default_input(name)
    cost = count(build(named(name), classes), shape)
    params, macs = PUBLISHED[name]
    assert cost.params == count_params(build(named(name), classes), shape) == params
    assert macs is None or cost.macs == macs
    assert sum(layer.params for layer in cost.layers) == cost.params
    assert sum(layer.macs for layer in cost.layers) == cost.macs
    assert sum(layer.activations for layer in cost.layers) == cost.activations
    assert cost.output_shape == (classes,)


def test_layers_of_lenet5():
    cost = count(build(named("lenet5"), 10), (28, 28, 1))
    assert cost.activations == 28 * 28 * 6 + 10 * 10 * 16
    assert cost.layers[0] == ("conv1", "Conv", (28, 28, 6), 156, 117_600, 4_704)
    assert [layer.path for layer in cost.layers] == ["conv1", "pool1", "conv2", "pool2", "dense1", "dense2", "dense3"]


def test_padded_taps_count():
    """3x3, 16 to 16 channels at 32x32 with SAME padding: XLA's cost analysis says 4,524,032 operations."""
    assert 2 * count(nn.Conv(16, use_bias=False), (32, 32, 16)).macs == 4_718_592


def test_groups_and_dilation_and_transposed():
    assert count(linen.Conv(8, (3, 3), feature_group_count=4), (6, 6, 4)).macs == 9 * 8 * 36
    assert count(linen.Conv(8, (3, 3), kernel_dilation=2), (6, 6, 4)).macs == 9 * 4 * 8 * 36
    assert count(linen.ConvTranspose(8, (2, 2), strides=(2, 2)), (6, 6, 4)).macs == 36 * 4 * 4 * 8


class Plain(linen.Module):
    """No train argument, and a method of its own that does the work."""

    def setup(self):
        self.body = linen.Dense(4)
        self.head = linen.Dense(3)

    def encode(self, x):
        return self.body(self.body(x))

    def __call__(self, x):
        return self.head(self.encode(x)), {"extra": 1}


class Deterministic(linen.Module):
    """Another name for the switch, a parameter used without a layer, einsum and a nested jit."""

    @linen.compact
    def __call__(self, x, deterministic):
        weight = self.param("weight", linen.initializers.ones, (4, 5))
        x = jnp.einsum("bi,ij->bj", x, weight)
        x = linen.Dropout(0.5)(x, deterministic=deterministic)
        x = linen.Dense(5, name="one")(x)
        x = linen.remat(linen.Dense)(5, name="two")(x)
        return jax.jit(lambda a: a @ a.T)(x)


class Scanned(linen.Module):
    @linen.compact
    def __call__(self, x):
        def body(cell, carry, _):
            return cell(carry), None

        layers = linen.scan(body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return layers(linen.Dense(4, name="cell"), x, None)[0]


class Branching(linen.Module):
    @linen.compact
    def __call__(self, x):
        weight = self.param("weight", linen.initializers.ones, (4, 4))
        return lax.cond(x[0, 0] > 0, lambda a: a @ weight, lambda a: a @ weight @ weight, x)


def test_modules_of_others():
    plain = count(Plain(), (4,))
    assert plain.output_shape == (3,)
    assert plain[:3] == (20 + 15, 16 + 16 + 12, 0)
    assert [(layer.path, layer.params, layer.macs) for layer in plain.layers] == [("body", 20, 32), ("head", 15, 12)]
    deterministic = count(Deterministic(), (4,))
    by_path = {layer.path: (layer.params, layer.macs) for layer in deterministic.layers}
    assert by_path[""] == (20, 20 + 5)
    assert by_path["one"] == by_path["two"] == (30, 25)
    assert deterministic.params == 80


class Own(linen.Module):
    """A network around another, with a field that only sounds like an initialiser."""

    inner: linen.Module
    scale_init: float = 2.0

    @linen.compact
    def __call__(self, x):
        return self.inner(x) * self.scale_init


@pytest.mark.parametrize("layer", [linen.Conv(3, (3, 3)), nn.Conv(3)], ids=["linen", "ours"])
def test_counting_leaves_the_initialisers_alone(layer):
    for module in (layer, linen.Sequential([layer]), Own(layer)):
        assert count(module, (8, 8, 1))[:2] == (30, 64 * 27)
        assert count_params(module, (8, 8, 1)) == 30
        leaves = jax.tree.leaves(module.init(jax.random.key(0), jnp.ones((1, 8, 8, 1))))
        assert max(float(jnp.abs(leaf).max()) for leaf in leaves) > 0.1  # drawn


def test_loops_and_branches():
    scanned = count(Scanned(), (4,))
    assert scanned[:2] == (3 * 20, 3 * 16)
    assert sum(layer.params for layer in scanned.layers) == 60
    assert count(Branching(), (4,)).macs == 32


# By torch.utils.flop_counter; the file names PyTorch's version, tests/fixtures/make_torch_counts.py has the networks.
TORCH = json.loads((Path(__file__).parents[1] / "fixtures" / "torch_counts.json").read_text())


class UNet(linen.Module):
    """Ronneberger et al. 2015: valid convolutions."""

    @linen.compact
    def __call__(self, x, train=False):
        kept = []
        for level, width in enumerate((64, 128, 256, 512, 1024)):
            x = self.pair(x if level == 0 else linen.max_pool(x, (2, 2), (2, 2)), width)
            kept.append(x)
        for skip, width in zip(kept[-2::-1], (512, 256, 128, 64), strict=True):
            x = linen.ConvTranspose(width, (2, 2), (2, 2), padding="VALID")(x)
            edge = (skip.shape[1] - x.shape[1]) // 2
            x = self.pair(jnp.concatenate([skip[:, edge : edge + x.shape[1], edge : edge + x.shape[2]], x], -1), width)
        return linen.Conv(2, (1, 1))(x)

    def pair(self, x, width):
        for _ in range(2):
            x = linen.relu(linen.Conv(width, (3, 3), padding="VALID")(x))
        return x


class MobileNet(linen.Module):
    """Howard et al. 2017, at width 1."""

    @linen.compact
    def __call__(self, x, is_training):
        x = self.step(x, 32, 3, is_training, stride=2)
        blocks = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
        for features, stride in blocks:
            x = self.step(x, x.shape[-1], 3, is_training, stride=stride, groups=x.shape[-1])
            x = self.step(x, features, 1, is_training)
        return linen.Dense(1000)(x.mean((1, 2)))

    def step(self, x, features, kernel, is_training, stride=1, groups=1):
        conv = linen.Conv(
            features, (kernel, kernel), stride, padding=kernel // 2, feature_group_count=groups, use_bias=False
        )
        return linen.relu(linen.BatchNorm(use_running_average=not is_training)(conv(x)))


class Mixed(linen.Module):
    """Groups, dilation, both together, uneven kernels, and transposed convolutions of stride 1, 2 and 3."""

    @linen.compact
    def __call__(self, x):
        x = linen.Conv(12, (3, 3), padding=1, feature_group_count=3)(x)
        x = linen.Conv(16, (3, 3), padding=2, kernel_dilation=2)(x)
        x = linen.Conv(24, (3, 5), padding=((2, 2), (6, 6)), kernel_dilation=(2, 3), feature_group_count=4)(x)
        x = linen.ConvTranspose(10, (4, 4), (2, 2), padding="SAME")(x)
        x = linen.ConvTranspose(7, (3, 3), padding="SAME", use_bias=False)(x)
        x = linen.ConvTranspose(5, (3, 3), (3, 3), padding="VALID")(x)
        x = linen.Conv(8, (7, 7), 4, padding="VALID")(x)
        return linen.Dense(9)(x.reshape(len(x), -1))


@pytest.mark.parametrize(("name", "module"), [("unet", UNet()), ("mobilenet", MobileNet()), ("mixed", Mixed())])
def test_networks_of_others_count_as_in_pytorch(name, module):
    stored = TORCH[name]
    cost = count(module, tuple(stored["input"]))
    assert (cost.params, cost.macs) == (stored["params"], stored["macs"])
    channels, *rest = stored["output"]
    assert cost.output_shape == (*rest, channels)
    for part in ("params", "macs", "activations"):
        assert sum(getattr(layer, part) for layer in cost.layers) == getattr(cost, part)


def test_pytorch_agrees_with_the_published_totals():
    """The 2015 U-Net, and MobileNet 1.0 (4.2 million parameters, 569 million MACs in its table 4)."""
    assert (TORCH["unet"]["params"], TORCH["unet"]["macs"]) == (31_030_658, 150_428_424_448)
    assert TORCH["unet"]["output"] == [2, 388, 388]
    assert (round(TORCH["mobilenet"]["params"] / 1e5), round(TORCH["mobilenet"]["macs"] / 1e6)) == (42, 569)
    assert TORCH["torch"].startswith("2.")


@pytest.mark.parametrize("shape", [(), (0, 2, 1), (28.0, 28, 1)])
def test_bad_shapes(shape):
    with pytest.raises(InputError, match="input_shape="):
        count(nn.Dense(2), shape)


def test_a_count_prints_as_a_table():
    lines = str(count(build(named("lenet5"), 10), (28, 28, 1))).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "MACs"]
    assert lines[1].split() == ["conv1", "Conv", "28x28x6", "156", "117,600"]
    assert lines[-1].split() == ["total", "61,706", "416,520"]
    assert len({len(line) for line in lines}) == 1
