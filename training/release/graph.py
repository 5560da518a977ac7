"""A small builder of ONNX graphs."""

from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper


class Graph:
    """Nodes and constants as they are added; every value has the name it is given."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def node(self, operator: str, inputs: str, outputs: str, **attributes: Any) -> None:
        """Adds an operator; `inputs` and `outputs` are names with blanks between them."""
        self.nodes.append(helper.make_node(operator, inputs.split(), outputs.split(), **attributes))
