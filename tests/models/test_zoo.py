"""Names, families and the errors around them; no network is run here."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest
from flax import linen

from jaxcnn.errors import InputError
from jaxcnn.models import FAMILIES, NAMES, build, default_input, named
from jaxcnn.nn import synchronised
from jaxcnn.spec import Classification, ModelSpec, Segmentation


def parameters(module, shape):
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_at_its_own_input(name):
    shape, classes = default_input(name)
    module = build(named(name), classes)
    hash(module)
    if name == "resnet1202":
        return  # 5 s of tracing that show nothing resnet110 does not
    logits = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x)[0], jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    )
    if (task := named(name).task) in (Classification, Segmentation):  # those of detectors: tests/models, tests/tasks
        assert logits.shape == (2, *(shape[:2] if task is Segmentation else ()), classes)


def depth_of_modules(module, shape):
    """Convolutions and dense layers, without projections."""
    variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))
    kernels = [
        jax.tree_util.keystr(path)
        for path, _ in jax.tree_util.tree_leaves_with_path(variables["params"])
        if "kernel" in jax.tree_util.keystr(path)
    ]
    return sum("projection" not in kernel for kernel in kernels)


LARGE = ("mobilenet", "efficientnet_lite", "inception")


def shape_for(family):
    """Images as small as the family takes them."""
    side = {"ssd_vgg": 268, "inception": 75}.get(family, 64)
    return side, side, 1


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_valid_depth_builds_with_that_many_weighted_layers(family):
    shape = shape_for(family)
    depths = FAMILIES[family].depths(26)
    assert depths
    for depth in (*depths[:6], *depths[6::5]):
        module = build(ModelSpec(family, depth, width=1, num_classes=3))
        # WRN's authors count the three projections, but not the classifier. The depth of a detector is its backbone's,
        # without eight convolutions for further maps and twelve that judge anchors. Inception's is that of its longest
        # path: at 16 layers, seven more convolutions lie on others.
        counted = depth_of_modules(module, shape) + {"wrn": 2, "ssd_vgg": -20, "inception": -7}.get(family, 0)
        assert counted == depth, (family, depth)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in FAMILIES]
)
def test_every_family_accepts_any_width_and_uneven_stages(family):
    depth = (FAMILIES[family].depths(16) or FAMILIES[family].depths(26))[-1]
    previous = 0
    for width in (1, 3, 7):
        total = parameters(build(ModelSpec(family, depth, width), 3), shape_for(family))
        assert total > previous
        previous = total
    stages = len(build(ModelSpec(family, depth, 4), 3).backbone.stage_sizes)
    module = build(ModelSpec(family, depth, 4, stage_widths=tuple(5 + 2 * i for i in range(stages))), 3)
    assert module.backbone.stage_widths == tuple(5 + 2 * i for i in range(stages))
    parameters(module, shape_for(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_depths_and_build_agree(family):
    """What `depths` leaves out does not build, and the message says which neighbours do."""
    valid = FAMILIES[family].depths(30)
    for depth in range(1, 31):
        if depth in valid:
            build(ModelSpec(family, depth, 1), 2)
        else:
            with pytest.raises(InputError, match=f"depth={depth}: {family} needs .*nearest"):
                build(ModelSpec(family, depth, 1), 2)


def test_published_layouts():
    assert build(named("vgg16"), 10).backbone.stage_sizes == (2, 2, 3, 3, 3)
    assert build(named("vgg19"), 10).backbone.stage_sizes == (2, 2, 4, 4, 4)
    assert build(named("vgg11"), 10).backbone.stage_sizes == (1, 1, 2, 2, 2)
    assert build(named("vgg16"), 10).head.units == (4096, 4096)
    assert build(named("resnet152"), 10).backbone.stage_sizes == (3, 8, 36, 3)
    assert build(named("inception_v3"), 10).backbone.stage_sizes == (3, 5, 3)
    assert build(named("inception_v3"), 10).backbone.stage_widths == (64, 192, 320)
    assert build(named("lenet5"), 10).head.units == (120, 84)
    assert build(named("wrn_28_10"), 10).backbone.stage_widths == (160, 320, 640)
    assert build(named("resnet1202"), 10).backbone.stage_sizes == (200, 200, 200)


def test_patterns_and_inputs():
    assert named("resnet26b") == ModelSpec("resnet", 26, 16, options={"shortcut": "B"})
    assert named("plain8") == ModelSpec("resnet", 8, 16, options={"skip": False})
    assert named("wrn_22_3") == ModelSpec("wrn", 22, 3)
    assert default_input("resnet18_cifar") == ((32, 32, 3), 10)
    assert default_input("resnet50") == ((224, 224, 3), 1000)
    assert default_input(ModelSpec("lenet", num_classes=26)) == ((28, 28, 1), 26)


def test_a_users_module_comes_back_unchanged():
    module = linen.Dense(3)
    assert build(module) is module


def test_an_axis_is_set_from_outside_and_changes_no_parameter():
    for name in ("resnet20", "wrn_16_4", "resnet50"):
        module = build(named(name), 10)
        shared = synchronised(module, "batch")
        assert (module.axis_name, shared.axis_name) == (None, "batch")
        x = jnp.zeros((1, 32, 32, 3))
        shapes = [jax.eval_shape(m.init, jax.random.key(0), x) for m in (module, shared)]
        assert shapes[0] == shapes[1]


def test_lists_from_json_become_tuples():
    spec = ModelSpec("resnet", 14, 16, stage_sizes=[2, 2, 2], stage_widths=[4, 6, 8])  # type: ignore[arg-type]
    hash(build(spec, 10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depth": 21}, "depth=21: resnet needs 6n\\+2 weighted layers; nearest are 20 and 26"),
        ({"depth": 1}, "depth=1: resnet .* nearest is 8"),
        ({"family": "resnets"}, "family='resnets'.*nearest are resnet"),
        ({"options": {"kernel": 3}}, r"kernel=3: the family resnet has no such option; .*has skip, .*shortcut"),
        ({"family": "airbench", "options": {"dropout": 0.5}}, r"dropout=0.5: .* no such option.*it has none"),
        ({"options": {"skip": 3}}, "options of resnet: skip=3 is not a value of that field"),
        ({"width": 0}, "width=0"),
        ({"depth": 8.0}, "depth=8.0"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"num_classes": None}, "num_classes=None"),
        ({"options": {"shortcut": "C"}}, "options of resnet: shortcut='C' is not a value of that field"),
        ({"stage_sizes": (1, 1)}, r"depth=8: stage_sizes=\(1, 1\) make 6 .*set depth=6"),
        ({"stage_sizes": (1, 0, 2)}, "at least one block"),
        ({"stage_widths": (4, 8)}, r"stage_widths=\(4, 8\): give 3 widths"),
        ({"stage_widths": (4, 0, 8)}, "at least 1"),
        ({"options": {"zero_init": True, "skip": False}}, "zero_init=True: without skips"),
        ({"options": {"stochastic_depth": 0.2, "skip": False}}, r"stochastic_depth=0\.2: without skips"),
        ({"options": {"stochastic_depth": 1.0}}, r"stochastic_depth=1\.0: must be .* below 1"),
        ({"options": {"stochastic_depth": -0.1}}, r"stochastic_depth=-0\.1: must be at least 0"),
        ({"family": "lenet", "depth": 3}, "depth=3: lenet needs .*nearest is 4"),
        ({"family": "lenet", "depth": 5, "options": {"dense": 2, "units": (10, 10)}}, r"units=\(10, 10\)"),
        ({"family": "lenet", "depth": 5, "options": {"dense": 2, "dropout": 1.0}}, r"dropout=1\.0"),
        ({"family": "lenet", "depth": 5, "options": {"kernel": 0}}, "kernel=0"),
        ({"family": "resnet_imagenet", "depth": 51}, "nearest are 50 and 53"),
        ({"family": "wrn", "depth": 20}, "nearest are 16 and 22"),
    ],
)
def test_build_errors(changes, message):
    with pytest.raises(InputError, match=message):
        build(dataclasses.replace(ModelSpec(num_classes=10), **changes))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet21", "depth=21.*20 and 26"),
        ("lenet", "nearest are .*lenet5"),
        ("wrn_17_4", "depth=17.*16 and 22"),
        ("inception", "nearest are .*inception_v3"),
    ],
)
def test_name_errors(name, message):
    for call in (named, default_input):
        with pytest.raises(InputError, match=message):
            call(name)


def test_more_errors():
    with pytest.raises(InputError, match=r"jaxcnn\.models\.named"):
        build("resnet20")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="family='nets'"):
        default_input(ModelSpec("nets"))


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        (ModelSpec("lenet", 5, 6), (8, 8, 1), r"images of 8x8 pixels.*at least 12x12.*data.size=12.*'same'"),
        (ModelSpec("lenet", 5, 6, options={"padding": "valid"}), (14, 14, 1), "at least 16x16"),
        (ModelSpec("vgg", 11, 2), (28, 28, 1), "at least 32x32"),
        (ModelSpec("plain", 8, 2), (3, 8, 1), "images of 3x8 pixels.*at least 4x4"),
        (ModelSpec("inception", 16, 2), (74, 80, 1), r"images of shape=\(1, 74, 80, 1\): .*at least 75x75"),
    ],
)
def test_images_too_small(spec, shape, message):
    module = build(spec, 10)
    with pytest.raises(InputError, match=message):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))
    least = int(message.split("at least ")[1].split("x")[0])
    parameters(module, (least, least, 1))
