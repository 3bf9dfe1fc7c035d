"""Several runs of one architecture in one program: the step under vmap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.train.parallel.programs import Programs, compiled, copied
from jaxcnn.train.parallel.scanned import scanned
from jaxcnn.train.parallel.single import feed, held
from jaxcnn.train.step import EvalStep, TrainStep


def member_programs(
    train: TrainStep, evaluate: EvalStep, members: int, *, scan: bool = False, deterministic: bool = False
) -> Programs:
    """Make one program that trains several runs on one device, each with its own state, key and order of examples.

    Seeds, learning rates and weight decays are arrays, so members may differ in them; all else is one program. On a CPU
    this is slower than one run after another: kernels that differ between members become grouped convolutions.

    Args:
        train: The step, made without an axis name.
        evaluate: Likewise; all members see the same batch.
        members: How many.
        scan: Stretches of steps as one program.
        deterministic: On a GPU, equal runs are equal to the bit, and slower.
    """
    step = compiled(jax.vmap(train), donate_argnums=0, deterministic=deterministic)
    several = jax.vmap(scanned(train), in_axes=(0, None, 0, 0, 0))
    stretch = compiled(several, donate_argnums=0, deterministic=deterministic)

    def part(tree: Any) -> list[Any]:
        leaves, structure = jax.tree.flatten(tree)
        return [structure.unflatten([np.asarray(leaf[member]) for leaf in leaves]) for member in range(members)]

    return Programs(
        mode="jit",
        devices=1,
        train=step,
        evaluate=compiled(jax.vmap(evaluate, in_axes=(0, None)), deterministic=deterministic),
        place=copied,
        fetch=jax.device_get,
        feed=feed,
        stretch=held(stretch) if scan else None,
        members=members,
        join=_stack,
        part=part,
    )


def _stack(parts: Sequence[Any]) -> Any:
    """Stack trees leaf by leaf; host arrays stay on the host."""

    def stack(*leaves: Any) -> Any:
        return jnp.stack(leaves) if isinstance(leaves[0], jax.Array) else np.stack(leaves)

    return jax.tree.map(stack, *parts)
