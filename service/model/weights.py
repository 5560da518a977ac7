"""The weights of a bundle's graph, as arrays for `cell`.

The service has no `onnx` package; of the graph it reads only its initializers, in these protobuf fields:
ModelProto.graph = 7; GraphProto.initializer = 5; TensorProto.dims = 1, .data_type = 2, .name = 8, .raw_data = 9.
The names are those that `training.release.onnx_graph.build` gives.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.cell import Array, Direction, Network
from service.model.onnx_extract import fields, varint

_GRAPH, _INITIALIZER, _DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 7, 5, 1, 2, 8, 9
_TYPES: dict[int, np.dtype[Any]] = {
    number: np.dtype(name) for number, name in {1: "<f4", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}.items()
}

Arrays = Mapping[str, NDArray[Any]]


class UnknownGraph(Exception):
    """A graph whose weights have other names or shapes than those of this project's networks."""


def read(model: bytes) -> Network:
    """The LSTMs of a serialized `model`, the short reader's as well, without head and n-grams.

    The arrays are views of `model`. Raises UnknownGraph.
    """
    try:
        arrays = _initializers(model)
        short = None
        if "short_W" in arrays:
            short = Network(_floats(arrays, "short_embedding"), *_directions(arrays, "short_"), head={})
        return Network(
            _floats(arrays, "embedding"),
            *_directions(arrays, ""),
            head={},
            short_tokens=int(arrays.get("short_tokens", np.zeros(()))),
            short=short,
            short_weight=float(arrays.get("short_weight", np.ones(()))),
        )
    except (KeyError, ValueError, IndexError, TypeError) as error:
        expected = "expected a graph with the initializers embedding, W, R and B of one bidirectional LSTM"
        raise UnknownGraph(f"{expected}, found another") from error


def _directions(arrays: Arrays, prefix: str) -> tuple[Direction, Direction]:
    """Forward and backward, from the operator's inputs W, R [2, 4 * hidden, ...] and B [2, 8 * hidden]."""
    weights, recurrence, bias = (_floats(arrays, prefix + name) for name in "WRB")
    hidden = recurrence.shape[2]
    if weights.shape[:2] != (2, 4 * hidden) or recurrence.shape != (2, 4 * hidden, hidden):
        raise ValueError(prefix)
    # B holds the input's biases and then the recurrence's; the LSTM adds both.
    sums = bias[:, : 4 * hidden] + bias[:, 4 * hidden :]
    forward, backward = (Direction(weights[at], recurrence[at], sums[at]) for at in (0, 1))
    return forward, backward


def _floats(arrays: Arrays, name: str) -> Array:
    array = arrays[name]
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(name)
    return array


def _initializers(model: bytes) -> dict[str, NDArray[Any]]:
    """The tensors that the graph stores as raw bytes, by name. Raises ValueError."""
    arrays = dict[str, NDArray[Any]]()
    graphs = [payload for number, _, payload in fields(memoryview(model)) if number == _GRAPH]
    for graph in graphs:
        for number, _, tensor in fields(graph):
            if number == _INITIALIZER:
                name, array = _tensor(tensor)
                if array is not None:
                    arrays[name] = array
    return arrays


def _tensor(tensor: memoryview) -> tuple[str, NDArray[Any] | None]:
    """Name and values of a TensorProto; None where they are not raw bytes of a type in _TYPES. Raises ValueError."""
    shape, name, raw, data_type = list[int](), "", None, 0
    for number, _, payload in fields(tensor):
        if number == _DIMS:  # one field for each, or packed into one
            at = 0
            while at < len(payload):
                size, at = varint(payload, at)
                shape.append(size)
        elif number == _DATA_TYPE:
            data_type, _ = varint(payload, 0)
        elif number == _NAME:
            name = bytes(payload).decode()
        elif number == _RAW_DATA:
            raw = payload
    if raw is None or data_type not in _TYPES:
        return name, None
    return name, np.frombuffer(raw, _TYPES[data_type]).reshape(shape)
