"""A program as StableHLO, the format of XLA: one file with all weights for CPUs, GPUs and TPUs, read by JAX alone."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax import export

from jaxcnn.export.program import Operand, Program, Value

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(program: Program) -> bytes:
    """Return a program as the bytes of a file for `jax.export.deserialize`; the batch is dynamic.

    >>> from jaxcnn.export.program import trace
    >>> content = to_stablehlo(trace(lambda images: 2 * images.sum((1, 2, 3)), (8, 8, 1)))
    >>> run_stablehlo(content, np.ones((3, 8, 8, 1), np.float32))["output"].tolist()
    [128.0, 128.0, 128.0]
    """
    images = jax.ShapeDtypeStruct(program.images.shape, program.images.dtype)
    exported = export.export(jax.jit(lambda images: compute(program, images)), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())


def run_stablehlo(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the outputs of a file by name, on this machine's device."""
    return jax.device_get(export.deserialize(bytearray(content)).call(images))


def compute(program: Program, images: Any) -> dict[str, Any]:
    """Compute a program by JAX, for a symbolic number of images."""
    env: dict[Value, Any] = {program.images: images}

    def read(operand: Operand) -> Any:
        return env[operand] if isinstance(operand, Value) else jax.numpy.asarray(operand)

    for primitive, operands, params, results in program.operations:
        made = primitive.bind(*map(read, operands), **params)
        env.update(zip(results, made if primitive.multiple_results else [made], strict=True))
    return {name: read(output) for name, output in program.outputs.items()}
