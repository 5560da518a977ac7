"""Tensors as onnx's own package reads them."""

from pathlib import Path

import onnx
from onnx import numpy_helper

from service.model import onnx_tensors

SHIPPED = Path(__file__).parents[3] / "models/reviews-bilstm/model.onnx"


def test_tensors_are_read_as_onnx_reads_them() -> None:
    model = SHIPPED.read_bytes()
    expected = {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(model).graph.initializer}
    found = onnx_tensors.read(model)
    assert {"embedding", "W", "R", "B"} <= set(found)
    for name, array in found.items():
        assert (array.dtype, array.shape) == (expected[name].dtype, expected[name].shape)
        assert array.tobytes() == expected[name].tobytes()
