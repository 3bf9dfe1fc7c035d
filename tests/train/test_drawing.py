"""Initial values: the ones that compiling the whole initialisation gives, from far fewer programs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxcnn.models import build, named
from jaxcnn.spec import ModelSpec, OptimizerConfig
from jaxcnn.train import drawing, make_init, make_optimizer
from jaxcnn.train.drawing import drawn

KEY = jax.random.key(3)
draws = nn.initializers


class Varied(nn.Module):
    """One parameter of each kind of initialiser in the wild."""

    @nn.compact
    def __call__(self, x):
        self.param("truncated", draws.lecun_normal(), (3, 3, 2, 5))
        self.param("normal", draws.normal(0.02), (7, 3))
        self.param("other_normal", draws.normal(0.5), (2, 2))
        self.param("uniform", draws.xavier_uniform(), (6, 4))
        self.param("half", draws.normal(1.0, jnp.bfloat16), (5, 3))
        self.param("scalar", draws.normal(1.0), ())
        self.param("one", draws.normal(1.0), (1, 1))
        self.param("orthogonal", draws.orthogonal(), (4, 4))
        self.param("table", lambda key: jnp.arange(4.0))
        self.param("shifted", lambda key: jnp.arange(4.0) + jax.random.normal(key, (4,)))
        self.param("split", lambda key: jax.random.uniform(jax.random.split(key)[1], (3, 2)))
        self.param("sorted", lambda key: jnp.sort(jax.random.uniform(key, (6,))))
        self.param("permuted", lambda key: jax.random.permutation(key, 9))
        self.param("ones", draws.ones, (3,))
        return x


def varied(key):
    return Varied().init(key, jnp.zeros(1))


def same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree.leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type), path
        wide = [np.asarray(array, np.float64) for array in (a, b)]
        # Two compilations may round differently, by one unit in the last place of 0.1 to 1.
        np.testing.assert_allclose(*wide, rtol=1e-6, atol=2e-7, err_msg=jax.tree_util.keystr(path))


@pytest.mark.parametrize(
    "key", [KEY, jax.random.PRNGKey(3), jax.random.key(3, impl="rbg")], ids=["typed", "old", "rbg"]
)
def test_values_are_those_of_the_whole_program(key):
    same(drawn(varied)(key), jax.jit(varied)(key))


def test_long_leaves_have_programs_of_their_own(monkeypatch):
    monkeypatch.setattr(drawing, "SHORT", 16)
    same(drawn(varied)(KEY), jax.jit(varied)(KEY))


def test_equal_keys_give_equal_states_and_others_do_not():
    module = build(ModelSpec("resnet", depth=8, width=4, num_classes=3))
    tx = make_optimizer(OptimizerConfig(), 10, 5)
    init = make_init(module, tx, (8, 8, 3))
    first, again, anew = init(KEY), init(KEY), make_init(module, tx, (8, 8, 3))(KEY)
    for a, b, c in zip(*map(jax.tree.leaves, (first, again, anew)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    drawn_anew = jax.tree.leaves(init(jax.random.key(4)).params)
    for a, b in zip(jax.tree.leaves(first.params), drawn_anew, strict=True):
        assert a.ndim == 1 or not np.array_equal(a, b)


def test_one_program_draws_a_resnet(monkeypatch):
    built = []
    together = drawing._together
    monkeypatch.setattr(drawing, "_together", lambda members, specs: built.append(members) or together(members, specs))
    module, tx = build(replace(named("resnet20"), num_classes=10)), make_optimizer(OptimizerConfig(), 10, 5)
    params = make_init(module, tx, (32, 32, 3))(KEY).params
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert len(built) == 1
    assert len(built[0]) == len(kernels) == 20
    assert all(0.01 < float(kernel.std()) < 1 for kernel in kernels)


def test_under_a_transformation_it_is_the_function_itself():
    keys = jax.random.split(KEY, 2)
    many = jax.vmap(drawn(varied))(keys)
    same(jax.tree.map(lambda a: a[1], many), jax.tree.map(lambda a: a[1], jax.vmap(varied)(keys)))
    same(jax.jit(drawn(varied))(KEY), jax.jit(varied)(KEY))
    assert jax.tree.map(lambda a: a.shape, jax.eval_shape(drawn(varied).__wrapped__, KEY)) == jax.tree.map(
        jnp.shape, varied(KEY)
    )


def test_states_may_be_consumed():
    """No two leaves share memory, and no call hands out an array of an earlier one."""
    init = drawn(lambda key: {"a": jnp.zeros(3), "b": jnp.zeros(3), "c": jax.random.normal(key, (3,))})
    consume = jax.jit(lambda tree: jax.tree.map(lambda a: a + 1, tree), donate_argnums=0)
    first = consume(init(KEY))
    second = consume(init(KEY))
    jax.tree.map(np.testing.assert_array_equal, first, second)
