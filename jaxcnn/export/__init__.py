"""Networks for other programs: one list of operations, written as StableHLO or ONNX, in float32 or int8."""

from jaxcnn.export.program import Program, trace

__all__ = ["Program", "trace"]
