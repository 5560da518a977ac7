"""Extracts from an ONNX model the nodes that some of its outputs need.

onnxruntime runs every node of a graph, whichever outputs are fetched (`only_execute_path_to_fetches` changes nothing on
the CPU, tried with 1.31). The service has no `onnx` package; it reads only these protobuf fields:
ModelProto.graph = 7; GraphProto.node = 1, .output = 12; NodeProto.input = 1, .output = 2, .attribute = 5;
AttributeProto.g = 6; ValueInfoProto.name = 1 (onnx.proto; wire format: protobuf.dev/programming-guides/encoding).
"""

from collections.abc import Collection, Iterator

_GRAPH, _NODE, _GRAPH_OUTPUT, _NODE_INPUT, _NODE_OUTPUT, _ATTRIBUTE, _BRANCH, _NAME = 7, 1, 12, 1, 2, 5, 6, 1
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def only(model: bytes, outputs: Collection[str]) -> bytes:
    """The serialized `model` with only these `outputs` and the nodes they need. Raises ValueError if it is malformed.

    onnxruntime must have loaded `model` before: it limits the depth of nested branches, which `_inputs` recurses into.
    """
    parts: list[bytes | memoryview] = []
    for number, field, payload in fields(memoryview(model)):
        parts += _delimited(_GRAPH, _extract(payload, outputs)) if number == _GRAPH else [field]
    return b"".join(parts)


def _extract(graph: memoryview, outputs: Collection[str]) -> bytes:
    parts = list(fields(graph))
    needed, kept = set(outputs), set[int]()
    for index in reversed(range(len(parts))):  # ONNX lists nodes in topological order
        number, _, payload = parts[index]
        if number == _NODE and needed.intersection(_names(payload, _NODE_OUTPUT)):
            needed.update(_inputs(payload))
            kept.add(index)
        elif number == _GRAPH_OUTPUT:
            if set(_names(payload, _NAME)) <= set(outputs):
                kept.add(index)
        elif number != _NODE:
            kept.add(index)
    return b"".join(field for index, (_, field, _) in enumerate(parts) if index in kept)


def _inputs(node: memoryview) -> Iterator[str]:
    """The names of the values that `node` reads, and those that the nodes in its branches read."""
    yield from _names(node, _NODE_INPUT)
    for attribute in _payloads(node, _ATTRIBUTE):
        for branch in _payloads(attribute, _BRANCH):
            for inner in _payloads(branch, _NODE):
                yield from _inputs(inner)


def _names(message: memoryview, field_number: int) -> list[str]:
    return [bytes(payload).decode() for payload in _payloads(message, field_number)]


def _payloads(message: memoryview, field_number: int) -> list[memoryview]:
    return [payload for number, _, payload in fields(message) if number == field_number]


def fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yields (field number, the whole field, its payload) for each field of a protobuf `message`. Raises ValueError."""
    at = 0
    while at < len(message):
        tag, start = varint(message, at)
        end = start
        if tag & 7 == _VARINT:
            _, end = varint(message, start)
        elif tag & 7 == _LENGTH:
            size, start = varint(message, start)
            end = start + size
        elif tag & 7 in (_FIXED64, _FIXED32):
            end = start + (8 if tag & 7 == _FIXED64 else 4)
        if end == at or end > len(message) or tag & 7 not in (_VARINT, _FIXED64, _LENGTH, _FIXED32):
            raise ValueError(f"expected a protobuf field at byte {at} of {len(message)}, found none")
        yield tag >> 3, message[at:end], message[start:end]
        at = end


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number encoded at offset `at` of `message`, and the offset of the next byte. Raises ValueError."""
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at
    raise ValueError("expected a protobuf number, found the end")


def _delimited(number: int, payload: bytes) -> list[bytes]:
    header, size = bytearray([number << 3 | _LENGTH]), len(payload)
    while size > 0x7F:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    header.append(size)
    return [bytes(header), payload]
