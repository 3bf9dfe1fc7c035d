"""The speed of every convolution of a network, forward and both gradients, by oneDNN and by XLA, in turns.

Question: how near do convolutions come to what the processor can do, and how much faster are they than XLA's?
Runtime: about 4 minutes on two cores, most of it XLA's gradients of WRN-16-4.
Expected: docs/benchmarks.md. The measure is a large matrix product on the same cores.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn.cli import launch
from jaxcnn.models import build, named
from jaxcnn.ops.forms import as_written
from jaxcnn.runtime.environment import environment
from table import Watch, summarise, write
from turns import Turn, alternate

DIRECTIONS = ("forward", "to images", "to kernel")
COLUMNS = [
    "network", "images", "kernel", "stride", "how often", *DIRECTIONS, *(f"XLA, {each}" for each in DIRECTIONS),
]  # fmt: skip
SIDE = 2048  # of the matrices


@dataclass(frozen=True)
class Config:
    """Single convolutions in turns.

    Args:
        networks: lenet5 (28x28x1), resnet20b, wrn_16_4 and others of `jaxcnn models` (32x32x3).
        batch_size: Images.
        rounds: Number of measurements of each convolution.
        seconds: Approximate length of one turn.
        out: Folder for the JSON.
    """

    networks: tuple[str, ...] = ("resnet20b", "wrn_16_4")
    batch_size: int = 128
    rounds: int = 5
    seconds: float = 0.1
    out: Path = Path("runs/benchmarks")


SMOKE = Config(("lenet5",), batch_size=8, rounds=1, seconds=0.01)


class Convolution(NamedTuple):
    """Shapes of one convolution, without groups and dilation."""

    images: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], ...]

    def apply(self, images: jax.Array, kernel: jax.Array) -> jax.Array:
        return ops.conv2d(images, kernel, stride=self.stride, padding=self.padding)

    def output(self) -> jax.ShapeDtypeStruct:
        return jax.eval_shape(self.apply, jnp.zeros(self.images), jnp.zeros(self.kernel))

    def gigaflops(self) -> float:
        return 2e-9 * self.output().size * int(np.prod(self.kernel[:3]))


def main(config: Config) -> None:
    watch, rows, rounds = Watch(), [], {}
    for network in config.networks:
        found = convolutions(network, config.batch_size)
        speeds = {each: measure(each, config) for each in found}
        for each, times in speeds.items():
            name = f"{network} {each.images[1:]} {each.kernel} {each.stride}"
            rounds[name] = times
            shapes = ["x".join(map(str, shape)) for shape in (each.images[1:], each.kernel)]
            medians = [each.gigaflops() / summarise(values).median for values in times.values()]
            rows.append([network, *shapes, str(each.stride[0]), found[each], *medians])
            print(f"{name}: {', '.join(f'{value:.0f}' for value in medians)} GFLOP/s", file=sys.stderr)
        rows.append([network, "all", None, None, sum(found.values()), *whole(found, speeds)])
    peak = matrix_product(config)
    record = {
        "title": f"GFLOP/s of single convolutions, batch {config.batch_size}, float32",
        "columns": COLUMNS,
        "rows": rows,
        "notes": [
            f"A product of two matrices of {SIDE:,} x {SIDE:,} on the same cores: {peak:.0f} GFLOP/s.",
            "Medians. Multiplications with padding count too. All: the network's convolutions after one another.",
        ],
        "environment": environment() | watch.read(),
        "rounds": rounds,
    }
    write(config.out, "convolutions", record)


def convolutions(network: str, batch_size: int) -> Counter[Convolution]:
    """Return a network's convolutions, and how often it has each."""
    shape = (batch_size, 28, 28, 1) if network == "lenet5" else (batch_size, 32, 32, 3)
    module = build(named(network), num_classes=10)
    with as_written():
        traced = jax.make_jaxpr(partial(module.init_with_output, jax.random.key(0)))(jnp.zeros(shape))
    return Counter(_find(traced.jaxpr))


def _find(jaxpr: Any) -> Iterator[Convolution]:
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "conv_general_dilated":
            images, kernel = (variable.aval.shape for variable in eqn.invars)
            yield Convolution(images, kernel, eqn.params["window_strides"], eqn.params["padding"])
        for value in eqn.params.values():
            if hasattr(inner := getattr(value, "jaxpr", value), "eqns"):
                yield from _find(inner)


def measure(convolution: Convolution, config: Config) -> dict[str, list[float]]:
    """Return the seconds of each direction, as jaxcnn computes it on this machine and by XLA."""
    shapes = convolution.images, convolution.kernel, convolution.output().shape
    x, kernel, y = (jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32)) for shape in shapes)
    turns = {name: turn(*each) for name, each in programs(convolution, x, kernel, y).items()}
    with as_written():
        turns |= {f"XLA, {name}": turn(*each) for name, each in programs(convolution, x, kernel, y).items()}
    return alternate(turns, rounds=config.rounds, seconds=config.seconds)


def programs(convolution: Convolution, x: jax.Array, kernel: jax.Array, y: jax.Array) -> dict[str, tuple[Any, ...]]:
    """Return for each direction a program, not traced yet, and its operands."""
    apply = convolution.apply
    to_images = jax.jit(lambda y, kernel: jax.linear_transpose(lambda x: apply(x, kernel), x)(y)[0])
    to_kernel = jax.jit(lambda x, y: jax.linear_transpose(lambda kernel: apply(x, kernel), kernel)(y)[0])
    forward = jax.jit(lambda x, kernel: apply(x, kernel))
    return dict(zip(DIRECTIONS, ((forward, x, kernel), (to_images, y, kernel), (to_kernel, x, y)), strict=True))


def turn(program: Callable[..., Any], *operands: jax.Array) -> Turn:
    """Return the turn of a program, compiled and warmed up."""
    jax.block_until_ready(program(*operands))

    def run(steps: int) -> float:
        begun = time.perf_counter()
        for _ in range(steps):
            jax.block_until_ready(program(*operands))
        return (time.perf_counter() - begun) / steps

    return run


def whole(found: Counter[Convolution], speeds: dict[Convolution, dict[str, list[float]]]) -> list[float]:
    """Return the GFLOP/s of all convolutions of a network together, by direction and form."""
    work = sum(each.gigaflops() * times for each, times in found.items())
    names = next(iter(speeds.values()))
    return [work / sum(summarise(speeds[each][name]).median * times for each, times in found.items()) for name in names]


def matrix_product(config: Config) -> float:
    """Return the GFLOP/s of a large matrix product, by NumPy or by XLA, whichever is the faster."""
    a = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
    program, b = jax.jit(jnp.matmul), jnp.asarray(a)
    turns = {"XLA": turn(program, b, b), "NumPy": turn(lambda: a @ a)}
    times = alternate(turns, rounds=config.rounds, seconds=config.seconds)
    return 2e-9 * SIDE**3 / min(summarise(values).least for values in times.values())


if __name__ == "__main__":
    launch(main, Config, SMOKE)
