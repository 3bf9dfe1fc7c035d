"""A program as a LiteRT (TensorFlow Lite) file for phones, by litert-converter; TensorFlow is not needed.

The converter's interface is internal to it and was tried with version 0.5.0.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found]
from jax import export
from litert_converter.mlir import ir, passmanager  # type: ignore[import-not-found]
from litert_converter.mlir._mlir_libs import converter_api_ext as converter  # type: ignore[import-not-found]

from jaxcnn.errors import InputError
from jaxcnn.export.program import Program
from jaxcnn.export.stablehlo import compute

PASSES = "builtin.module(vhlo-legalize-to-stablehlo,reconcile-unrealized-casts,inline,strip-debuginfo)"


def to_litert(program: Program) -> bytes:
    """Return a program as the bytes of a LiteRT file with the signature `serving_default`; the batch is dynamic.

    Raises:
        InputError: It has an operation that LiteRT does not have for any number of images, as two-stage detectors do.

    >>> to_litert(trace(lambda images: images.mean((1, 2)), (8, 8, 3)))[4:8]  # doctest: +SKIP
    b'TFL3'
    """
    images = jax.ShapeDtypeStruct(program.images.shape, program.images.dtype)
    exported = export.export(jax.jit(lambda images: compute(program, images)), platforms=("cpu",))(images)
    context = ir.Context()
    converter.prepare_mlir_context(context)
    with context:
        module = ir.Module.parse(exported.mlir_module_serialized)
        _erase_assertions(module.operation)
        passmanager.PassManager.parse(PASSES).run(module.operation)
        names = sorted(program.outputs)  # the order of a dict's leaves in JAX
        converter.set_signature(module.operation, "serving_default", ["images"], names)
        try:
            converter.run_convert_to_tfl_passes(module, passmanager.PassManager(), converter.ConvertToTFLConfig())
        except ValueError as error:
            raise InputError(
                f"to='litert': the converter refuses the network ({' '.join(str(error).split())[:120]}); export it to "
                "stablehlo"
            ) from None
        return converter.export_flatbuffer_to_bytes(module.operation)


def _erase_assertions(operation: Any) -> None:
    """Erase the checks that there is an image, which LiteRT does not have."""
    for region in operation.regions:
        for block in region.blocks:
            for each in list(block.operations):
                if each.operation.name.startswith("vhlo.custom_call") and "shape_assertion" in str(each):
                    each.operation.erase()
                else:
                    _erase_assertions(each.operation)


def open_litert(content: bytes, *, threads: int = 1) -> Any:
    """Return the function (images=array) -> outputs by name that a LiteRT file is, computed on the CPU.

    >>> open_litert(content)(images=images)["output"]  # doctest: +SKIP
    """
    return Interpreter(model_content=content, num_threads=threads).get_signature_runner()


def run_litert(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the outputs of a LiteRT file by name, on the CPU."""
    return open_litert(content)(images=images)
