"""One device: jit, many steps in one compiled call (`lax.scan`), several runs in one program (`vmap`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.tasks import Sums
from jaxcnn.train.parallel.programs import Arrays, Feed, Programs, Stretch, compiled, copied, gather, resident, to_host
from jaxcnn.train.state import TrainState
from jaxcnn.train.step import EvalStep, TrainStep

Scanned = Callable[..., tuple[TrainState, Sums]]  # (arrays, state, indices (S, B), masks (S, B), key)


# Compiles the stretches of a small network in a quarter less time (ResNet-26 on digits, one core: 6.8 instead of
# 9.2 s); its steps take as long, for their convolutions are oneDNN's.
QUICK = {"xla_backend_optimization_level": 1, "xla_llvm_disable_expensive_passes": True}


def single_device(train: TrainStep, evaluate: EvalStep, *, scan: bool = False, deterministic: bool = False) -> Programs:
    """Drive the steps, made without an axis name, by jit on the default device; options as in `make_programs`.

    >>> programs = single_device(train, evaluate)  # doctest: +SKIP
    """
    return _bound(train, evaluate, scanned(train), scan, deterministic)


def _bound(train: Any, evaluate: Any, stretch: Any, scan: bool, deterministic: bool) -> Programs:
    step = compiled(train, donate_argnums=0, deterministic=deterministic)
    quick: Any = {"compiler_options": QUICK} if jax.default_backend() == "cpu" else {}
    stretch = compiled(stretch, donate_argnums=1, deterministic=deterministic, **quick)
    evaluation = compiled(evaluate, deterministic=deterministic)
    over = held(stretch) if scan else None
    bound = {"place": copied, "fetch": to_host, "feed": feed, "stretch": over}
    return Programs("jit", 1, step, evaluation, **bound, warm=set())


def feed(arrays: Arrays) -> Feed:
    """Return the function that gathers batches, on the device where it holds the split, else on the host."""
    if not resident(arrays):
        return lambda indices, mask: jax.device_put(gather(arrays, indices, mask))
    on_device = jax.device_put(dict(arrays))
    return lambda indices, mask: _gather(on_device, indices, mask)


def held(stretch: Scanned) -> Callable[[Arrays], Stretch]:
    """Return a scanned program with its data placed on the device once."""
    return lambda arrays: partial(stretch, jax.device_put(dict(arrays)))


def member_programs(
    train: TrainStep, evaluate: EvalStep, members: int, *, scan: bool = False, deterministic: bool = False
) -> Programs:
    """Make one program that trains several runs on one device, each with its own state, key and order of examples.

    Seeds, learning rates and weight decays are arrays, so members may differ in them; all else is one program. On a CPU
    this is slower than one run after another: kernels that differ between members become grouped convolutions.

    Args:
        train: The step, made without an axis name.
        evaluate: Likewise; all members see the same batch.
        members: How many. `scan` and `deterministic` are those of `make_programs`.

    >>> programs = member_programs(train, evaluate, members=4)  # doctest: +SKIP
    """

    def part(tree: Any) -> list[Any]:
        leaves, structure = jax.tree.flatten(tree)
        return [structure.unflatten([np.asarray(leaf[member]) for leaf in leaves]) for member in range(members)]

    several = jax.vmap(train), jax.vmap(evaluate, in_axes=(0, None)), jax.vmap(scanned(train), (None, 0, 0, 0, 0))
    return _bound(*several, scan, deterministic)._replace(members=members, join=_stack, part=part)


def _stack(parts: Sequence[Any]) -> Any:
    """Stack trees leaf by leaf; host arrays stay on the host."""

    def stack(*leaves: Any) -> Any:
        return jnp.stack(leaves) if isinstance(leaves[0], jax.Array) else np.stack(leaves)

    return jax.tree.map(stack, *parts)


def scanned(train: TrainStep) -> Scanned:
    """Make the pure function that trains one step per row of indices, without returning to the host.

    Convolutions inside a scan are many times slower on a CPU; on an accelerator a step of a small network takes less
    time than its dispatch, which this saves.
    """

    def stretch(
        arrays: Mapping[str, jax.Array], state: TrainState, indices: jax.Array, masks: jax.Array, key: jax.Array
    ) -> tuple[TrainState, Sums]:
        def step(state: TrainState, chosen: tuple[jax.Array, jax.Array]) -> tuple[TrainState, Any]:
            return train(state, gather(arrays, *chosen), key)

        return jax.lax.scan(step, state, (indices, masks))

    return stretch


_gather = jax.jit(gather)
