"""An ONNX model in 8 bits: weights per channel, activations by the range that calibration images give them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)


def to_int8(model: onnx.ModelProto, images: np.ndarray, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Return a model whose convolutions and dense layers compute in 8 bits (QDQ: quantised and dequantised values).

    Args:
        model: The float32 model.
        images: Calibration images, as the model takes them; one to five hundred of the training images.
        metadata: Names and texts that the file holds beside it.

    >>> to_int8(model, train_images[:200], {})  # doctest: +SKIP
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        logging.disable(logging.WARNING)  # it recommends passes that this model does not need
        # Signed activations: products of unsigned ones and signed weights saturate on CPUs without VNNI.
        quantize_static(
            model, str(path), _Images(images), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip
        logging.disable(logging.NOTSET)
        quantised = onnx.load(path)
    helper.set_model_props(quantised, dict(metadata))
    return quantised


class _Images(CalibrationDataReader):
    """Batches of calibration images."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches = iter([{"images": images[start : start + 32]} for start in range(0, len(images), 32)])

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]
        return next(self.batches, None)
