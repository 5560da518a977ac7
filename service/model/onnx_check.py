"""Refuses an ONNX model that is more than a network: before onnxruntime sees it, which would do what it says.

A bundle is data. So its graph takes no tensor from another file, defines no function, has no loop, and uses no operator
but those in OPERATORS. What it takes of time and memory is bounded elsewhere (`Classifier`, `ovation verify`).

Read are these fields (onnx.proto): ModelProto.graph = 7, .opset_import = 8, .training_info = 20, .functions = 25;
OperatorSetIdProto.domain = 1; GraphProto.node = 1, .initializer = 5, .sparse_initializer = 15; NodeProto.input = 1,
.output = 2, .op_type = 4, .attribute = 5, .domain = 7; AttributeProto.name = 1, .i = 3, .t = 5, .g = 6, .tensors = 10,
.graphs = 11, .sparse_tensor = 22, .sparse_tensors = 23; TensorProto.dims = 1, .string_data = 6, .external_data = 13,
.data_location = 14.
"""

import math

from service.model.protobuf import fields, numbers, payloads, texts

# What `training/release/onnx_graph.py` writes or has written, and what a network for texts may need beside it. Of
# operators that make a tensor as large as a number says, only ConstantOfShape, Range and Pad are here. Scan, unlike
# Loop, goes no further than its input is long.
OPERATORS = {
    "Abs", "Add", "And", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Conv", "CumSum", "DequantizeLinear", "Div", "Dropout", "Equal", "Erf", "Exp", "Flatten",
    "GRU", "Gather", "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater",
    "GreaterOrEqual", "Identity", "If", "LSTM", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log",
    "LogSoftmax", "MatMul", "Max", "MaxPool", "Mean", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Pad",
    "Pow", "QuantizeLinear", "RNN", "Range", "Reciprocal", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Scan", "ScatterElements",
    "ScatterND", "Shape", "Sigmoid", "Sign", "Size", "Slice", "Softmax", "Softplus", "Split", "Sqrt", "Squeeze",
    "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze", "Where", "Xor",
}  # fmt: skip
_DOMAINS = ("", "ai.onnx")  # two names of ONNX itself
MAX_NODES, MAX_TENSORS, MAX_DEPTH = 5_000, 5_000, 8

_GRAPH, _OPSET, _TRAINING, _FUNCTIONS = 7, 8, 20, 25
_DOMAIN_OF_OPSET = 1
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15
_INPUT, _OUTPUT, _OPERATOR, _ATTRIBUTE, _DOMAIN = 1, 2, 4, 5, 7
_NAME, _INTEGER = 1, 3
_TENSOR, _BRANCH, _TENSORS, _BRANCHES, _SPARSE_TENSOR, _SPARSE_TENSORS = 5, 6, 10, 11, 22, 23
_DIMS, _STRINGS, _EXTERNAL, _LOCATION = 1, 6, 13, 14


class UnsafeGraph(ValueError):
    """A graph that is not read; the message says what was expected and what was found."""


def check(model: bytes) -> None:
    """Raises UnsafeGraph where `model` is more than a network of ordinary operators, or no ONNX at all."""
    try:
        _check_model(memoryview(model))
    except UnsafeGraph:
        raise
    except ValueError as error:  # of protobuf, or a name that is no UTF-8
        raise UnsafeGraph(f"expected an ONNX model, found an error: {error}") from error


def _check_model(model: memoryview) -> None:
    graphs = payloads(model, _GRAPH)
    if len(graphs) != 1:
        raise UnsafeGraph(f"expected one graph, found {len(graphs)}")
    for number, what in ((_FUNCTIONS, "functions of its own"), (_TRAINING, "training information")):
        if payloads(model, number):
            raise UnsafeGraph(f"expected no {what}, found some")
    for opset in payloads(model, _OPSET):
        if not set(texts(opset, _DOMAIN_OF_OPSET)) <= set(_DOMAINS):
            raise UnsafeGraph("expected ONNX's own operators, found another domain")
    nodes, tensors = _check_graph(graphs[0], 1)
    if nodes > MAX_NODES or tensors > MAX_TENSORS:
        expected = f"at most {MAX_NODES} nodes and {MAX_TENSORS} tensors"
        raise UnsafeGraph(f"expected {expected}, found {nodes} and {tensors}")


def _check_graph(graph: memoryview, depth: int) -> tuple[int, int]:
    """Nodes and tensors of `graph`, with its branches."""
    if depth > MAX_DEPTH:
        raise UnsafeGraph(f"expected branches at most {MAX_DEPTH} deep, found deeper ones")
    nodes = tensors = 0
    for number, _, payload in fields(graph):
        if number == _NODE:
            more = _check_node(payload, depth)
            nodes, tensors = nodes + 1 + more[0], tensors + more[1]
        elif number == _INITIALIZER:
            _check_tensor(payload)
            tensors += 1
        elif number == _SPARSE:
            raise UnsafeGraph("expected dense tensors, found a sparse one")
    return nodes, tensors


def _check_node(node: memoryview, depth: int) -> tuple[int, int]:
    if not set(texts(node, _DOMAIN)) <= set(_DOMAINS):
        raise UnsafeGraph("expected ONNX's own operators, found another domain")
    operators = texts(node, _OPERATOR)
    if len(operators) != 1 or operators[0] not in OPERATORS:
        found = ", ".join(operators)[:100] or "none"
        raise UnsafeGraph(f"expected one of the operators that a network needs (docs/bundle.md), found {found!r}")
    for number in (_INPUT, _OUTPUT):
        texts(node, number)  # which raises a ValueError where a name is no UTF-8
    if operators == ["Split"]:
        _check_split(node)
    nodes = tensors = 0
    for attribute in payloads(node, _ATTRIBUTE):
        for number, _, payload in fields(attribute):
            if number in (_BRANCH, _BRANCHES):
                more = _check_graph(payload, depth + 1)
                nodes, tensors = nodes + more[0], tensors + more[1]
            elif number in (_TENSOR, _TENSORS):
                _check_tensor(payload)
                tensors += 1
            elif number in (_SPARSE_TENSOR, _SPARSE_TENSORS):
                raise UnsafeGraph("expected dense tensors, found a sparse one")
    return nodes, tensors


def _check_split(node: memoryview) -> None:
    """`num_outputs` must be the number of outputs: where it is less, onnxruntime 1.31 ends the process."""
    outputs = len(payloads(node, _OUTPUT))
    for attribute in payloads(node, _ATTRIBUTE):
        if texts(attribute, _NAME) == ["num_outputs"] and numbers(attribute, _INTEGER) != [outputs]:
            raise UnsafeGraph(f"expected a Split with {outputs} outputs, as it has, found another number")


def _check_tensor(tensor: memoryview) -> None:
    for number, _, payload in fields(tensor):
        if number == _EXTERNAL or (number == _LOCATION and any(payload)):
            raise UnsafeGraph("expected all tensors in the file itself, found one of another file")
        if number == _STRINGS:
            raise UnsafeGraph("expected tensors of numbers, found one of strings")
    if math.prod(numbers(tensor, _DIMS)) >= 2**31:
        raise UnsafeGraph("expected tensors of fewer than 2**31 elements, found a larger one")
