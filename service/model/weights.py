"""The weights of a bundle's graph, as arrays for `cell`.

The names are those that `training.release.onnx_graph.build` gives.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.cell import Array, Direction, Network

Arrays = Mapping[str, NDArray[Any]]


class UnknownGraph(Exception):
    """A graph whose weights have other names or shapes than those of this project's networks."""


def read(tensors: Arrays) -> Network:
    """The LSTM of a graph with these `tensors`, without its head. Raises UnknownGraph."""
    try:
        return Network(_floats(tensors, "embedding"), *_directions(tensors), head={})
    except (KeyError, ValueError, IndexError, TypeError) as error:
        expected = "expected a graph with the initializers embedding, W, R and B of one bidirectional LSTM"
        raise UnknownGraph(f"{expected}, found another") from error


def _directions(tensors: Arrays) -> tuple[Direction, Direction]:
    """Forward and backward, from the operator's inputs W, R [2, 4 * hidden, ...] and B [2, 8 * hidden]."""
    weights, recurrence, bias = (_floats(tensors, name) for name in "WRB")
    hidden = recurrence.shape[2]
    if weights.shape[:2] != (2, 4 * hidden) or recurrence.shape != (2, 4 * hidden, hidden):
        raise ValueError
    # B holds the input's biases and then the recurrence's; the LSTM adds both.
    sums = bias[:, : 4 * hidden] + bias[:, 4 * hidden :]
    forward, backward = (Direction(weights[at], recurrence[at], sums[at]) for at in (0, 1))
    return forward, backward


def _floats(tensors: Arrays, name: str) -> Array:
    array = tensors[name]
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(name)
    return array
