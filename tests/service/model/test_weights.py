"""The weights that the service reads of a graph are those that `onnx` reads."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from service.model import onnx_tensors, weights
from service.model.bundle import Bundle
from service.model.weights import UnknownGraph
from training.release import onnx_graph


def test_they_are_those_that_onnx_reads(tiny_bundle: Bundle) -> None:
    found, expected = weights.read(onnx_tensors.read(tiny_bundle.model)), onnx_graph.read(tiny_bundle.model)
    assert np.array_equal(found.embedding, expected.embedding)
    for direction in ("forward", "backward"):
        for name, array in vars(getattr(expected, direction)).items():
            assert np.array_equal(vars(getattr(found, direction))[name], array), (direction, name)


@pytest.mark.parametrize("change", ["name", "type", "shape", "storage", "missing"])
def test_another_graph_is_refused(tiny_bundle: Bundle, change: str) -> None:
    model = onnx.load_from_string(tiny_bundle.model)
    tensor = next(one for one in model.graph.initializer if one.name == "R")
    match change:
        case "name":
            tensor.name = "recurrence"
        case "type":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.int64), "R"))
        case "shape":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:, :, :-1], "R"))
        case "storage":
            tensor.float_data.extend(numpy_helper.to_array(tensor).ravel().tolist())
            tensor.ClearField("raw_data")
        case "missing":
            model.graph.initializer.remove(tensor)
    with pytest.raises(UnknownGraph, match="expected a graph with the initializers"):
        weights.read(onnx_tensors.read(model.SerializeToString()))


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"no protobuf at all"])
def test_what_is_no_graph_is_refused(content: bytes) -> None:
    with pytest.raises(UnknownGraph):
        weights.read({"W": np.frombuffer(content, np.uint8)})
