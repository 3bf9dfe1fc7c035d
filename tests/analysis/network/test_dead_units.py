import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.analysis.network.dead_units import dead_units
from jaxcnn.models import build
from jaxcnn.spec import ModelSpec
from tests.fixtures.reference import draw_variables


def test_planted_biases_kill_their_units():
    """SCIENCE: a bias of -10 in front of a ReLU."""
    module = build(ModelSpec("lenet", 4, 4, options={"dense": 2}), num_classes=3)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((6, 28, 28, 1)), jnp.float32)
    variables = jax.tree.map(lambda leaf: leaf, draw_variables(module, images))
    dead = dead_units(module, variables, [images])
    assert {name: found.sum() for name, found in dead.items() if name.startswith("conv")} == {"conv1": 0, "conv2": 0}
    params = {**variables["params"]}
    params["conv1"] = {**params["conv1"], "bias": jnp.array([0.0, -10, -10, 0])}
    params["dense1"] = {**params["dense1"], "bias": jnp.full_like(params["dense1"]["bias"], -100)}
    dead = dead_units(module, {"params": params}, [images[:4], images[4:]])
    assert dead["conv1"].tolist() == [False, True, True, False]
    assert dead["dense1"].mean() == 1


def test_a_unit_that_one_batch_wakes_is_alive():
    module = build(ModelSpec("dense", 2, 1), num_classes=2)
    images = jnp.ones((1, 2, 2, 1))
    params = draw_variables(module, images)["params"]
    first = next(name for name in params)
    params = {**params, first: {"kernel": jnp.ones_like(params[first]["kernel"]), "bias": jnp.zeros(1)}}
    (alone,) = dead_units(module, {"params": params}, [-images]).values()
    (both,) = dead_units(module, {"params": params}, [-images, images]).values()
    assert (alone.tolist(), both.tolist()) == ([True], [False])
    with pytest.raises(ValueError, match="batches is empty"):
        dead_units(module, {"params": params}, [])
