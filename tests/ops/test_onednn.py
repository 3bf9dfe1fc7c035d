"""Convolutions by oneDNN: values and gradients are those of the definition, other derivatives those of XLA.

XLA's convolution is no reference for odd geometries: jaxlib 0.10 reads beside the memory of a 1x1 image.
"""

import threading
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn import ops
from jaxcnn.ops.onednn import Geometry, convolve, plain
from jaxcnn.runtime import onednn

pytestmark = pytest.mark.skipif(onednn.status()[0] == "XLA", reason=onednn.status()[1] or "oneDNN computes")
CALL = onednn.TARGET


@st.composite
def case(draw):
    """Shapes of images, kernel and output, and a geometry that fits."""
    side, few = st.integers(1, 12), st.integers(1, 3)
    taps, stride = (draw(st.integers(1, 5)), draw(st.integers(1, 5))), (draw(few), draw(few))
    dilation, groups = (draw(st.integers(1, 2)), draw(st.integers(1, 2))), draw(few)
    pads = tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in range(2))
    least = [step * (width - 1) + 1 - sum(pad) for step, width, pad in zip(dilation, taps, pads, strict=True)]
    size = [max(draw(side), each) for each in least]
    cin, cout = groups * draw(st.integers(1, 9)), groups * draw(st.integers(1, 9))
    shapes = (draw(st.integers(0, 4)), *size, cin), (*taps, cin // groups, cout)
    return *shapes, Geometry(stride, dilation, pads, groups)


def values(*shapes, dtype=jnp.float32):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape, np.float32), dtype) for shape in shapes]


def all_three(form, geometry, x, kernel):
    """Output and both gradients of one convolution, in which every output pixel has a weight of its own."""
    y, pull = jax.vjp(lambda x, kernel: form(x, kernel, geometry), x, kernel)
    return y, *pull(weights(y))


def weights(y):
    return jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)


def assert_near(got, want, tolerance=1e-5):
    """The largest difference, relative to the largest value."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        a, b = np.float64(a), np.float64(b)
        assert a.shape == b.shape
        assert abs(a - b).max(initial=0) <= tolerance * max(abs(b).max(initial=0), 1e-30)


def by_definition(geometry, x, kernel, dy):
    """Sums over the taps of the kernel in NumPy, float64: output, gradient of the images, gradient of the kernel."""
    stride, dilation, pads, groups = geometry
    x, kernel, dy = (np.float64(v) for v in (x, kernel, dy))
    wide = np.pad(x, ((0, 0), *pads, (0, 0)))
    y, dwide, dkernel = np.zeros_like(dy), np.zeros_like(wide), np.zeros_like(kernel)
    for i, j in np.ndindex(*kernel.shape[:2]):
        seen = tuple(
            slice(tap * step, tap * step + down * (size - 1) + 1, down)
            for tap, step, down, size in zip((i, j), dilation, stride, dy.shape[1:3], strict=True)
        )
        patch, tap = wide[:, *seen], kernel[i, j].reshape(kernel.shape[2], groups, -1)
        grouped = patch.reshape(*dy.shape[:3], groups, kernel.shape[2])
        change = dy.reshape(*dy.shape[:3], groups, tap.shape[2])
        y += np.einsum("nhwgi,igo->nhwgo", grouped, tap).reshape(dy.shape)
        dkernel[i, j] = np.einsum("nhwgi,nhwgo->igo", grouped, change).reshape(kernel.shape[2:])
        dwide[:, *seen] += np.einsum("nhwgo,igo->nhwgi", change, tap).reshape(patch.shape)
    inner = tuple(slice(low, low + size) for (low, _), size in zip(pads, x.shape[1:3], strict=True))
    return y, dwide[:, *inner], dkernel


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_values_and_gradients_are_those_of_the_definition(count):
    settings(max_examples=count, deadline=None)(given(case())(as_defined))()


def as_defined(example):
    *shapes, geometry = example
    x, kernel = values(*shapes)
    got = jax.jit(partial(all_three, convolve, geometry))(x, kernel)
    assert_near(got, by_definition(geometry, x, kernel, weights(got[0])))


SHAPES, GEOMETRY = ((3, 9, 8, 4), (3, 3, 2, 6)), Geometry((2, 1), (1, 1), ((1, 0), (2, 3)), 2)


def total(form, x, kernel):
    return jnp.sum(jnp.tanh(form(x, kernel, GEOMETRY)))


def along(function, x, kernel):
    return jax.jvp(function, (x, kernel), (jnp.sin(x), jnp.cos(kernel)))


def scanned(form, x, kernel):
    """Three steps down the gradient, as one program."""
    grad = jax.grad(partial(total, form), (0, 1))
    step = lambda carry, _: (tuple(v - 0.1 * g for v, g in zip(carry, grad(*carry), strict=True)), None)  # noqa: E731
    return jax.lax.scan(step, (x, kernel), None, length=3)[0]


def mapped(axes, form, x, kernel):
    """vmap of values and gradients over images, kernels or both, and over the examples within."""
    many = [jnp.stack([v, 2 * v, -v]) if axis == 0 else v for v, axis in zip((x, kernel), axes, strict=True)]
    single = jax.vmap(lambda x, kernel: form(x[None], kernel, GEOMETRY)[0], (0, None))
    grads = jax.vmap(jax.grad(partial(total, form), (0, 1)), axes)(*many)
    return jax.vmap(single, axes)(*many), grads, jax.grad(lambda *v: jax.vmap(single, axes)(*v).sum(), (0, 1))(*many)


KINDS = {
    "jvp": lambda form, *v: along(partial(total, form), *v),
    "second, forward over reverse": lambda form, *v: along(jax.grad(partial(total, form), (0, 1)), *v)[1],
    "second, reverse over reverse": lambda form, *v: jax.grad(
        lambda *v: sum(jnp.sum(g**2) for g in jax.grad(partial(total, form), (0, 1))(*v)), (0, 1)
    )(*v),
    "third": lambda form, *v: along(lambda *v: along(jax.grad(partial(total, form), (0, 1)), *v)[1], *v)[1],
    "remat": lambda form, *v: jax.grad(jax.checkpoint(partial(total, form)), (0, 1))(*v),
    "scan": scanned,
    "vmap both": partial(mapped, (0, 0)),
    "vmap images": partial(mapped, (0, None)),
    "vmap kernels": partial(mapped, (None, 0)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_and_transformations(kind):
    arrays = values(*SHAPES)
    program = jax.jit(lambda *v: [KINDS[kind](form, *v) for form in (convolve, plain)])
    assert CALL in program.lower(*arrays).as_text()
    assert_near(*program(*arrays), tolerance=3e-5)


def test_eager_calls():
    x, kernel = values(*SHAPES)
    assert_near(all_three(convolve, GEOMETRY, x, kernel), all_three(plain, GEOMETRY, x, kernel))


def test_bfloat16_computes_in_float32_within_a_call():
    shapes, geometry = ((4, 8, 8, 16), (3, 3, 16, 32)), Geometry((1, 1), (1, 1), ((1, 1), (1, 1)), 1)
    x, kernel = values(*shapes, dtype=jnp.bfloat16)
    exact = all_three(plain, geometry, x.astype(jnp.float32), kernel.astype(jnp.float32))
    got = all_three(convolve, geometry, x, kernel)
    assert {v.dtype for v in got} == {jnp.dtype(jnp.bfloat16)}
    assert_near([v.astype(jnp.float32) for v in got], exact, tolerance=5e-3)


def test_threads_call_at_once():
    """Four threads, each with a shape of its own, so that scratch memory grows meanwhile."""
    found = {}

    def work(size):
        x, kernel = values((8, size, size, size), (3, 3, size, 16))
        padded = Geometry((1, 1), (1, 1), ((1, 1), (1, 1)), 1)
        step = jax.jit(partial(all_three, convolve, padded))
        want = jax.jit(partial(all_three, plain, padded))(x, kernel)
        found[size] = [step(x, kernel) for _ in range(20)], want

    threads = [threading.Thread(target=work, args=(size,)) for size in (5, 8, 12, 16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, want in found.values():
        for each in got:
            assert_near(each, want)
    assert len(found) == 4


def train(x, kernel):
    return jnp.sum(jnp.tanh(ops.conv2d(x, kernel, padding=1)))


def test_a_batch_over_several_devices_is_not_gathered():
    """jit over a mesh: XLA's convolution, which it can split; shard_map: each device calls oneDNN with its own rows."""
    x, kernel = values((8, 6, 6, 4), (3, 3, 4, 4))
    mesh = Mesh(np.array(jax.devices()[:4]), ("d",))
    rows = NamedSharding(mesh, P("d"))
    want = jax.value_and_grad(train, (0, 1))(x, kernel)
    spread = jax.jit(jax.value_and_grad(train, (0, 1)), in_shardings=(rows, NamedSharding(mesh, P())))
    text = spread.lower(x, kernel).compile().as_text()
    assert "all-gather" not in text
    assert CALL not in text
    assert_near(spread(x, kernel), want)
    for check in (False, True):
        per_device = jax.shard_map(
            lambda x, kernel: jax.lax.psum(train(x, kernel), "d"),
            mesh=mesh, in_specs=(P("d"), P()), out_specs=P(), check_vma=check,
        )  # fmt: skip
        text = jax.jit(per_device).lower(x, kernel).compile().as_text()
        assert "all-gather" not in text
        assert (CALL in text) == (not check)
        assert_near(per_device(x, kernel), want[0])
    assert_near(jax.grad(per_device, (0, 1))(x, kernel), want[1])
