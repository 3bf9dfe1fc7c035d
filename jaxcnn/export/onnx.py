"""A program as an ONNX model: one function for each primitive that networks of jaxcnn use in inference.

Maps are (N, H, W, C) in JAX and (N, C, H, W) in ONNX. Each value is kept in the order in which its operation gives it,
and transposed where an operation needs the other one: once behind the images, and before a dense layer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from jaxcnn.errors import InputError
from jaxcnn.export.program import Operand, Operation, Program, Value

OPSET, IR_VERSION = 18, 8
"""Versions of the operators and of the file format: those of ONNX 1.13, December 2022."""
FIRST = (0, 3, 1, 2)
"""Channels first: the axis of JAX that each axis of ONNX is."""
NAMES = {
    "neg": "Neg", "exp": "Exp", "log": "Log", "tanh": "Tanh", "logistic": "Sigmoid", "sqrt": "Sqrt", "abs": "Abs",
    "erf": "Erf", "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min",
}  # fmt: skip
"""Operations value by value that have a counterpart in ONNX."""


def to_onnx(program: Program, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Return a program as an ONNX model with an input `images`, a dynamic batch and all weights.

    Args:
        program: The network.
        metadata: Names and texts that the file holds beside it.

    Raises:
        InputError: It has a primitive that is not written to ONNX; the message names it.

    >>> from jaxcnn.export.program import trace
    >>> model = to_onnx(trace(lambda images: 2 * images.sum((1, 2, 3)), (8, 8, 1)), {})
    >>> [node.op_type for node in model.graph.node]
    ['ReduceMean', 'Mul', 'Identity']
    """
    graph = _Graph(program)
    for operation in program.operations:
        write = WRITERS.get(operation.primitive.name)
        if write is None:
            raise InputError(
                f"to='onnx': the network has the operation {operation.primitive.name!r}, which is not written to ONNX; "
                "export it to stablehlo"
            )
        write(graph, operation)
    for name, output in program.outputs.items():
        graph.nodes.append(helper.make_node("Identity", [graph.name(output)], [name]))
    inputs, outputs = [_info("images", program.images)], [_info(*each) for each in program.outputs.items()]
    made = helper.make_graph(graph.nodes, "network", inputs, outputs, graph.initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="jaxcnn")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    return model


def _info(name: str, value: Operand) -> onnx.ValueInfoProto:
    shape = [size if isinstance(size, int) else str(size) for size in value.shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype)), shape)


class _Graph:
    """Nodes and weights so far, and the names of the values, in JAX's order of axes and with channels first."""

    def __init__(self, program: Program) -> None:
        self.nodes, self.initializers = list[onnx.NodeProto](), list[onnx.TensorProto]()
        self.last: dict[Value, str] = {program.images: "images"}
        self.first: dict[Value, str] = {}
        self.node_of: dict[Value, onnx.NodeProto] = {}
        self.means: dict[Value, tuple[Value, int]] = {}  # sums that are so many times a mean, not yet multiplied
        operands = [operand for each in program.operations for operand in each.operands]
        self.uses = Counter(each for each in [*operands, *program.outputs.values()] if isinstance(each, Value))

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        """Append a node and return the name of its output."""
        name = f"{kind.lower()}_{len(self.nodes) + 1}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, array: Any) -> str:
        """Add an array to the weights and return its name."""
        name = f"constant_{len(self.initializers) + 1}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)), name))
        return name

    def integers(self, numbers: Any) -> str:
        """Add whole numbers, such as axes or a shape, and return their name."""
        return self.constant(np.asarray(numbers, np.int64))

    def name(self, operand: Operand, *, first: bool = False) -> str:
        """Return the name of an operand in JAX's order of axes, or with channels first."""
        if not isinstance(operand, Value):
            return self.constant(operand.transpose(FIRST) if first and operand.ndim == 4 else operand)
        if operand in self.means:
            mean, count = self.means.pop(operand)
            names = [self.name(mean, first=mean in self.first), self.constant(np.asarray(count, operand.dtype))]
            self.store(operand, self.node("Mul", names), first=mean in self.first)
        here, there = (self.first, self.last) if first else (self.last, self.first)
        if operand not in here:
            order = FIRST if first else [FIRST.index(axis) for axis in range(4)]
            here[operand] = self.node("Transpose", [there[operand]], perm=order)
        return here[operand]

    def has_first(self, *operands: Operand) -> bool:
        """Return whether one of them is there with channels first."""
        return any(self.means.get(each, (each,))[0] in self.first for each in operands if isinstance(each, Value))

    def store(self, value: Value, name: str, *, first: bool = False) -> None:
        """Say under which name and in which order a value is there, which the last node has made."""
        (self.first if first else self.last)[value] = name
        self.node_of[value] = self.nodes[-1]

    def alias(self, result: Value, value: Value) -> None:
        """Let a result have the names of a value: its node does more than before."""
        for names in (self.first, self.last):
            if value in names:
                names[result] = names[value]
        if value in self.node_of:
            self.node_of[result] = self.node_of[value]

    def alone(self, operand: Operand, *kinds: str) -> onnx.NodeProto | None:
        """Return the node of a value that nothing else uses if it is of one of the kinds; else None."""
        node = self.node_of.get(operand) if isinstance(operand, Value) and self.uses[operand] == 1 else None
        return node if node is not None and node.op_type in kinds else None


def _by_value(graph: _Graph, operation: Operation) -> None:
    """Write an operation value by value, in the order in which its operands are there."""
    first = graph.has_first(*operation.operands)
    names = [graph.name(each, first=first) for each in operation.operands]
    graph.store(operation.results[0], graph.node(NAMES[operation.primitive.name], names), first=first)


def _constant(operation: Operation) -> tuple[Value, np.ndarray] | None:
    """Return the value and the constant of an operation on these two; None where both are values."""
    one, other = operation.operands
    if not isinstance(one, Value):
        one, other = other, one
    return None if not isinstance(one, Value) or isinstance(other, Value) else (one, other)


def _add(graph: _Graph, operation: Operation) -> None:
    if (pair := _constant(operation)) is not None:
        node, shape = graph.alone(pair[0], "Conv", "Gemm"), pair[1].shape
        if (
            node is not None
            and len(node.input) == 2
            and math.prod(shape) == operation.results[0].shape[-1] == shape[-1]
        ):
            node.input.append(graph.constant(pair[1].reshape(-1)))
            return graph.alias(operation.results[0], pair[0])
    return _by_value(graph, operation)


def _mul(graph: _Graph, operation: Operation) -> None:
    pair = _constant(operation)
    if pair is not None and pair[0] in graph.means and graph.uses[pair[0]] == 1 and pair[1].size == 1:
        mean, count = graph.means[pair[0]]
        if abs(count * pair[1].item() - 1) < 1e-6:
            return graph.alias(operation.results[0], mean)
        operation = operation._replace(operands=(mean, pair[1] * np.asarray(count, pair[1].dtype)))
    return _by_value(graph, operation)


def _max(graph: _Graph, operation: Operation) -> None:
    pair = _constant(operation)
    if pair is None or (pair[1] != 0).any() or pair[0].shape != operation.results[0].shape:
        return _by_value(graph, operation)
    first = graph.has_first(pair[0])
    return graph.store(operation.results[0], graph.node("Relu", [graph.name(pair[0], first=first)]), first=first)


def _min(graph: _Graph, operation: Operation) -> None:
    pair = _constant(operation)
    node = None if pair is None or pair[1].size != 1 else graph.alone(pair[0], "Relu")
    if pair is None or node is None:
        return _by_value(graph, operation)
    node.op_type = "Clip"
    node.input.extend([graph.constant(np.zeros((), pair[1].dtype)), graph.constant(pair[1].reshape(()))])
    return graph.alias(operation.results[0], pair[0])


def _square(graph: _Graph, operation: Operation) -> None:
    (x,) = operation.operands
    first = graph.has_first(x)
    graph.store(operation.results[0], graph.node("Mul", [graph.name(x, first=first)] * 2), first=first)


def _power(graph: _Graph, operation: Operation) -> None:
    (x,), first = operation.operands, graph.has_first(*operation.operands)
    names = [graph.name(x, first=first), graph.constant(np.asarray(operation.params["y"], operation.results[0].dtype))]
    graph.store(operation.results[0], graph.node("Pow", names), first=first)


def _rsqrt(graph: _Graph, operation: Operation) -> None:
    first = graph.has_first(*operation.operands)
    root = graph.node("Sqrt", [graph.name(operation.operands[0], first=first)])
    graph.store(operation.results[0], graph.node("Reciprocal", [root]), first=first)


def _erfc(graph: _Graph, operation: Operation) -> None:
    first = graph.has_first(*operation.operands)
    erf = graph.node("Erf", [graph.name(operation.operands[0], first=first)])
    one = graph.constant(np.ones((), operation.results[0].dtype))
    graph.store(operation.results[0], graph.node("Sub", [one, erf]), first=first)


def _cast(graph: _Graph, operation: Operation) -> None:
    first, result = graph.has_first(*operation.operands), operation.results[0]
    kind = helper.np_dtype_to_tensor_dtype(result.dtype)
    graph.store(result, graph.node("Cast", [graph.name(operation.operands[0], first=first)], to=kind), first=first)


def _conv(graph: _Graph, operation: Operation) -> None:
    (x, kernel), params = operation.operands, operation.params
    numbers = params["dimension_numbers"]
    plain = tuple(numbers.lhs_spec) == tuple(numbers.out_spec) == (0, 3, 1, 2) and numbers.rhs_spec == (3, 2, 0, 1)
    if not plain or isinstance(kernel, Value) or max(params["lhs_dilation"]) > 1 or params["batch_group_count"] > 1:
        raise InputError(
            "to='onnx': the network has a transposed convolution, one of a computed kernel, or one of another order of "
            "axes, which is not written to ONNX; export it to stablehlo"
        )
    names = [graph.name(x, first=True), graph.constant(kernel.transpose(3, 2, 0, 1))]
    (top, bottom), (left, right) = params["padding"]
    made = graph.node(
        "Conv", names, pads=[top, left, bottom, right], strides=params["window_strides"],
        dilations=params["rhs_dilation"], group=params["feature_group_count"], kernel_shape=kernel.shape[:2],
    )  # fmt: skip
    graph.store(operation.results[0], made, first=True)


def _dot(graph: _Graph, operation: Operation) -> None:
    (one, other), result = operation.operands, operation.results[0]
    ((contracted_one, contracted_other), (batch_one, batch_other)) = operation.params["dimension_numbers"]
    if len(one.shape) == len(other.shape) == 2 and (contracted_one, contracted_other) == ((1,), (0,)):
        kind = "MatMul" if isinstance(other, Value) else "Gemm"
        return graph.store(result, graph.node(kind, [graph.name(one), graph.name(other)]))
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left, right = [next(letters) for _ in one.shape], [next(letters) for _ in other.shape]
    for place, its in [*zip(contracted_one, contracted_other, strict=True), *zip(batch_one, batch_other, strict=True)]:
        right[its] = left[place]
    rows = [left[axis] for axis in batch_one]
    rows += [each for axis, each in enumerate(left) if axis not in (*contracted_one, *batch_one)]
    rows += [each for axis, each in enumerate(right) if axis not in (*contracted_other, *batch_other)]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(rows)}"
    return graph.store(result, graph.node("Einsum", [graph.name(one), graph.name(other)], equation=equation))


def _reduce(graph: _Graph, operation: Operation) -> None:
    (x,), axes, result = operation.operands, tuple(operation.params["axes"]), operation.results[0]
    first = graph.has_first(x) and axes != (1,) and axes != (2,) and axes != (0,) and axes != (0, 1) and axes != (0, 2)
    names = [graph.name(x, first=first), graph.integers([FIRST.index(each) if first else each for each in axes])]
    if operation.primitive.name in ("reduce_max", "reduce_min"):
        kind = {"reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}[operation.primitive.name]
        return graph.store(result, graph.node(kind, names, keepdims=0))
    count = math.prod(x.shape[axis] for axis in axes)
    if not isinstance(count, int):
        return graph.store(result, graph.node("ReduceSum", names, keepdims=0))
    mean = Value(result.shape, result.dtype)
    graph.store(mean, graph.node("ReduceMean", names, keepdims=0))
    graph.means[result] = mean, count
    return None


def _window(graph: _Graph, operation: Operation) -> None:
    (x, *_), params, result = operation.operands, operation.params, operation.results[0]
    window, strides, pads = (params[name] for name in ("window_dimensions", "window_strides", "padding"))
    if window[::3] != (1, 1) or strides[::3] != (1, 1) or max(*params["base_dilation"], *params["window_dilation"]) > 1:
        raise InputError("to='onnx': the network reduces windows other than of pixels; export it to stablehlo")
    pads = [*(before for before, _ in pads[1:3]), *(after for _, after in pads[1:3])]
    shape = {"kernel_shape": window[1:3], "strides": strides[1:3], "pads": pads}
    if operation.primitive.name == "reduce_window_max":
        return graph.store(result, graph.node("MaxPool", [graph.name(x, first=True)], **shape), first=True)
    mean = Value(result.shape, result.dtype)
    made = graph.node("AveragePool", [graph.name(x, first=True)], **shape, count_include_pad=1)
    graph.store(mean, made, first=True)
    graph.means[result] = mean, math.prod(window)
    return None


def _reshape(graph: _Graph, operation: Operation) -> None:
    """Write a change of shape alone; the batch, and what grows with it, is inferred: -1."""
    result = operation.results[0]
    shape = [size if isinstance(size, int) else -1 for size in result.shape]
    graph.store(result, graph.node("Reshape", [graph.name(operation.operands[0]), graph.integers(shape)]))


def _broadcast(graph: _Graph, operation: Operation) -> None:
    (x, *_), result = operation.operands, operation.results[0]
    places = dict(zip(operation.params["broadcast_dimensions"], x.shape, strict=True))
    shape = [places.get(axis, 1) for axis in range(len(result.shape))]
    name = graph.name(x)
    if len(shape) != len(x.shape):
        name = graph.node("Reshape", [name, graph.integers([n if isinstance(n, int) else -1 for n in shape])])
    grown = [size if isinstance(size, int) else 1 for size in result.shape]
    if not isinstance(x, Value) and not all(isinstance(size, int) for size in result.shape):
        raise InputError("to='onnx': an output of the network is one constant for each image; export it to stablehlo")
    graph.store(result, graph.node("Expand", [name, graph.integers(grown)]))


def _transpose(graph: _Graph, operation: Operation) -> None:
    names = [graph.name(operation.operands[0])]
    graph.store(operation.results[0], graph.node("Transpose", names, perm=operation.params["permutation"]))


def _concatenate(graph: _Graph, operation: Operation) -> None:
    first, axis = graph.has_first(*operation.operands), operation.params["dimension"]
    names = [graph.name(each, first=first) for each in operation.operands]
    axis = FIRST.index(axis) if first else axis
    graph.store(operation.results[0], graph.node("Concat", names, axis=axis), first=first)


def _slice(graph: _Graph, operation: Operation) -> None:
    (x,), params = operation.operands, operation.params
    strides = params["strides"] or (1,) * len(x.shape)
    taken = [
        (axis, start, stop, stride)
        for axis, (start, stop, stride) in enumerate(
            zip(params["start_indices"], params["limit_indices"], strides, strict=True)
        )
        if (start, stop, stride) != (0, x.shape[axis], 1)
    ]  # never the batch, whose length is unknown
    if not taken:
        return graph.alias(operation.results[0], x)  # type: ignore[arg-type]
    first = graph.has_first(x)
    axes, starts, stops, strides = zip(*taken, strict=True)
    axes = [FIRST.index(axis) if first else axis for axis in axes]
    names = [graph.name(x, first=first), *map(graph.integers, (starts, stops, axes, strides))]
    return graph.store(operation.results[0], graph.node("Slice", names), first=first)


def _pad(graph: _Graph, operation: Operation) -> None:
    (x, value), first = operation.operands, graph.has_first(operation.operands[0])
    pads = operation.params["padding_config"]
    if any(low < 0 or high < 0 or inner for low, high, inner in pads):
        raise InputError("to='onnx': the network pads between pixels or cuts by padding; export it to stablehlo")
    pads = [pads[axis] for axis in FIRST] if first else pads
    names = [graph.name(x, first=first), graph.integers([p[0] for p in pads] + [p[1] for p in pads]), graph.name(value)]
    graph.store(operation.results[0], graph.node("Pad", names), first=first)


WRITERS: Mapping[str, Callable[[_Graph, Operation], None]] = {
    **dict.fromkeys(NAMES, _by_value),
    "add": _add, "mul": _mul, "max": _max, "min": _min, "square": _square, "integer_pow": _power, "rsqrt": _rsqrt,
    "erfc": _erfc, "convert_element_type": _cast, "conv_general_dilated": _conv, "dot_general": _dot,
    "reduce_sum": _reduce, "reduce_max": _reduce, "reduce_min": _reduce, "reduce_window_max": _window,
    "reduce_window_sum": _window,
    "reshape": _reshape, "squeeze": _reshape, "broadcast_in_dim": _broadcast, "transpose": _transpose,
    "concatenate": _concatenate, "slice": _slice, "pad": _pad,
}  # fmt: skip
"""The function that writes each primitive."""


def open_session(content: bytes, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """Return a session of onnxruntime on the CPU; 0 threads: one for each core.

    Its default optimisations are on.

    >>> open_session(content, threads=1).run(None, {"images": images})  # doctest: +SKIP
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_onnx(content: bytes, images: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the outputs of an ONNX file by name, by onnxruntime on the CPU.

    >>> from jaxcnn.export.program import trace
    >>> model = to_onnx(trace(lambda images: 2 * images.sum((1, 2, 3)), (8, 8, 1)), {})
    >>> run_onnx(model.SerializeToString(), np.ones((3, 8, 8, 1), np.float32))["output"].tolist()
    [128.0, 128.0, 128.0]
    """
    session = open_session(content)
    outputs: Any = session.run(None, {"images": images})
    return dict(zip([each.name for each in session.get_outputs()], outputs, strict=True))
