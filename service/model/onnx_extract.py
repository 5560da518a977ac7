"""Extracts from an ONNX model the nodes that some of its outputs need.

onnxruntime runs every node of a graph, whichever outputs are fetched (`only_execute_path_to_fetches` changes nothing on
the CPU, tried with 1.31). Read are only these fields (onnx.proto): ModelProto.graph = 7; GraphProto.node = 1,
.output = 12; NodeProto.input = 1, .output = 2, .attribute = 5; AttributeProto.g = 6; ValueInfoProto.name = 1.
"""

from collections.abc import Collection, Iterator

from service.model.protobuf import delimited, fields, payloads, texts

_GRAPH, _NODE, _GRAPH_OUTPUT, _NODE_INPUT, _NODE_OUTPUT, _ATTRIBUTE, _BRANCH, _NAME = 7, 1, 12, 1, 2, 5, 6, 1


def only(model: bytes, outputs: Collection[str]) -> bytes:
    """The serialized `model` with only these `outputs` and the nodes they need. Raises ValueError if it is malformed.

    `onnx_check` bounds the depth of nested branches, which `_inputs` recurses into.
    """
    return b"".join(
        delimited(_GRAPH, _extract(field.payload, outputs)) if field.number == _GRAPH else field.whole
        for field in fields(memoryview(model))
    )


def _extract(graph: memoryview, outputs: Collection[str]) -> bytes:
    parts = list(fields(graph))
    needed, kept = set(outputs), set[int]()
    for index in reversed(range(len(parts))):  # ONNX lists nodes in topological order
        number, _, payload = parts[index]
        if number == _NODE and needed.intersection(texts(payload, _NODE_OUTPUT)):
            needed.update(_inputs(payload))
            kept.add(index)
        elif number == _GRAPH_OUTPUT:
            if set(texts(payload, _NAME)) <= set(outputs):
                kept.add(index)
        elif number != _NODE:
            kept.add(index)
    return b"".join(part.whole for index, part in enumerate(parts) if index in kept)


def _inputs(node: memoryview) -> Iterator[str]:
    """The names of the values that `node` reads, and those that the nodes in its branches read."""
    yield from texts(node, _NODE_INPUT)
    for attribute in payloads(node, _ATTRIBUTE):
        for branch in payloads(attribute, _BRANCH):
            for inner in payloads(branch, _NODE):
                yield from _inputs(inner)
