"""onnxruntime on the file that `jaxcnn export --to onnx` writes: inference, batch norm folded into the kernels."""

from collections.abc import Callable
from typing import Any

import onnxruntime
import optax
from networks import CLASSES, SHAPES, SPECS, batch
from ours import jax  # the import prepares the backend as our entry points do

from jaxcnn.export.onnx import to_onnx
from jaxcnn.export.program import trace
from jaxcnn.models import build, named
from jaxcnn.nn.calls import infer
from jaxcnn.train.state import make_init


def make_inference(network: str, batch_size: int, dtype: str, variant: str = "") -> tuple[int, Callable[[int], float]]:
    """Return the number of parameters, and steps -> mean logit."""
    module = build(named(SPECS[network]), num_classes=CLASSES)
    variables = make_init(module, optax.identity(), SHAPES[network])(jax.random.key(0)).trained
    program = trace(lambda images: infer(module, variables, images), SHAPES[network])
    session = onnxruntime.InferenceSession(to_onnx(program, {}).SerializeToString())
    images, _ = batch(network, batch_size)

    def run(steps: int) -> float:
        logits: Any = None
        for _ in range(steps):
            (logits,) = session.run(None, {"images": images})
        return float(logits.mean())

    return sum(p.size for p in jax.tree.leaves(variables["params"])), run
