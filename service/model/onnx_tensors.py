"""The tensors of an ONNX graph as arrays.

Read are these fields (onnx.proto): ModelProto.graph = 7; GraphProto.initializer = 5; TensorProto.dims = 1,
.data_type = 2, .name = 8, .raw_data = 9.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.protobuf import numbers, payloads, texts

_GRAPH, _INITIALIZER, _DIMS, _DATA_TYPE, _NAME, _RAW = 7, 5, 1, 2, 8, 9
_TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}  # TensorProto.DataType


def read(model: bytes) -> dict[str, NDArray[Any]]:
    """Copies, by name, of the tensors that the graph of `model` stores as raw bytes of numbers.

    Views would keep the whole of `model` in memory. Raises ValueError where a tensor has not the bytes that it states.
    """
    found = dict[str, NDArray[Any]]()
    for graph in payloads(memoryview(model), _GRAPH):
        for tensor in payloads(graph, _INITIALIZER):
            raw, kinds = payloads(tensor, _RAW), numbers(tensor, _DATA_TYPE)
            if len(raw) == len(kinds) == 1 and kinds[0] in _TYPES:
                [name] = texts(tensor, _NAME)
                found[name] = np.frombuffer(raw[0], _TYPES[kinds[0]]).reshape(numbers(tensor, _DIMS)).copy()
    return found
