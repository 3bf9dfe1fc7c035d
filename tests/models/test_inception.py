"""Inception v3: published counts, one map for each stride, its two variants, and gradients through every branch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.analysis.complexity import count
from jaxcnn.errors import InputError
from jaxcnn.models import build, named
from jaxcnn.spec import ModelSpec
from jaxcnn.train.state import UNOPTIMISED
from tests.fixtures.reference import draw_variables

SMALL = ModelSpec("inception", 16, 2, num_classes=3, options={"dropout": 0.0})


def test_counts_are_the_published_ones():
    """torchvision 0.29.1, Inception_V3_Weights.meta: _ops 5.713e9; parameters without the auxiliary classifier."""
    found = count(build(named("inception_v3"), 1000), (299, 299, 3))
    assert found.params == 23_834_568
    assert found.macs / 1e9 == pytest.approx(5.713, rel=1e-3)


def test_one_map_for_each_stride():
    module, images = build(SMALL), jnp.zeros((2, 75, 75, 3))
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    maps = jax.eval_shape(lambda v, x: module.apply(v, x, method="features"), variables, images)
    assert [each.shape[1] for each in maps] == [35, 15, 7, 3, 1]


@pytest.mark.slow
def test_gradients_and_statistics_of_every_branch():
    module, images = build(SMALL), jax.random.normal(jax.random.key(0), (2, 75, 75, 3))
    variables = draw_variables(module, images)

    def loss(params):
        outputs, changed = module.apply({**variables, "params": params}, images, True, mutable=["batch_stats"])
        return jnp.sum(outputs**2), (outputs, changed)

    step = jax.jit(jax.grad(loss, has_aux=True), compiler_options=UNOPTIMISED)
    grads, (outputs, changed) = step(variables["params"])
    assert outputs.shape == (2, 3)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(changed))


def test_keras_leaves_the_padding_out_of_its_means():
    keras = ModelSpec("inception", 16, 2, 3, options={"variant": "keras"})
    assert [build(spec).backbone.count_padding for spec in (SMALL, keras)] == [True, False]
    with pytest.raises(InputError, match=r"stage_sizes=\(1, 1\): give the blocks of 3 stages"):
        build(ModelSpec("inception", 13, 2, 3, stage_sizes=(1, 1)))
