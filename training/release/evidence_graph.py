"""Evidence as a part of the ONNX graph: the second half of `service.model.cell.logits` in operators.

The LSTM operator keeps its gates to itself. They are computed again, for all steps at once, since the states that they
depend on are known. Two scans over time follow: the first finds the cells, the second what the answer took from each.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from service.model.cell import Network
from training.release.graph import Graph

_INPUT_GATE, _FORGET_GATE, _CANDIDATE = 0, 2, 3  # in ONNX's order i, o, f, c


def add(graph: Graph, network: Network) -> None:
    """Adds `evidence` [batch, time, label] to the pooled network in `graph`.

    It reads `inputs` [time, batch, embedding], `real` [time, 1, batch, 1], `divisor` [1, 1, batch, 1], `steps`
    [time, 1, 1, 1], and `states_to_win` and `states_to_sum` [time, 2, batch, hidden].
    """
    size = network.forward.recurrence.shape[1]
    # The shares of a step stand by direction, then maximum and mean; in the head's kernel it is the other way round.
    rows = np.arange(4 * size).reshape(2, 2, size).transpose(1, 0, 2).ravel()
    graph.constants |= {
        "evidence_kernel": network.head["kernel"][rows],
        "unit": np.array(1.0, np.float32),
        "direction_axis": np.array([1]),
    }
    graph.node("Squeeze", "real direction_axis", "real_steps")  # [time, batch, 1]
    graph.node("Squeeze", "divisor direction_axis", "divisor_steps")  # [1, batch, 1]
    graph.node("ArgMax", "states_to_win", "winner", axis=0, keepdims=1)  # the first of equals
    graph.node("Equal", "steps winner", "won")  # [time, 2, batch, hidden]
    graph.node("Shape", "states", "state_shape", start=2, end=4)  # [batch, hidden]
    graph.node("ConstantOfShape", "state_shape", "no_cells")
    graph.node("Concat", "no_cells no_cells", "nothing_read", axis=1)  # [batch, 2 * hidden]
    for number, name in enumerate(("forward", "backward")):
        _add_gates(graph, network, number, name)
    inputs = "no_cells no_cells forward_kept forward_written backward_kept backward_written"
    _add_scan(graph, inputs, "forward_cells backward_cells", _cells(), directions=(0, 1))
    for number, name in enumerate(("forward", "backward")):
        _add_reads(graph, number, name)
    inputs = "nothing_read nothing_read forward_kept_twice forward_reads backward_kept_twice backward_reads"
    _add_scan(graph, inputs, "forward_read backward_read", _read(), directions=(1, 0))
    # Of what was written at a step, what others made of it goes to the token before: a step on in the other direction.
    for name, other in (("forward", "backward"), ("backward", "forward")):
        for part in ("alone", "by_others"):
            graph.node("Concat", f"{name}_{part} {name}_{part}", f"{name}_{part}_twice", axis=2)
            graph.node("Mul", f"{name}_read {name}_{part}_twice", f"{name}_{part}_shares")  # [time, batch, 2 * hidden]
        graph.node("Pad", f"{name}_by_others_shares {other}_move", f"{name}_before_shares")
        graph.node("Add", f"{name}_alone_shares {name}_before_shares", f"{name}_shares")
    graph.node("Concat", "forward_shares backward_shares", "shares", axis=2)  # [time, batch, 4 * hidden]
    graph.node("MatMul", "shares evidence_kernel", "evidence_by_step")  # [time, batch, label]
    graph.node("Transpose", "evidence_by_step", "evidence", perm=[1, 0, 2])


def _add_gates(graph: Graph, network: Network, number: int, name: str) -> None:
    """A direction's forget gates, `kept`, and what every step writes into the cells, `written`: what its token would
    write `alone`, and what the tokens before it make of that, `by_others`; each [time, batch, hidden]."""
    direction = (network.forward, network.backward)[number]
    size = direction.recurrence.shape[1]
    used = np.concatenate(
        [np.arange(gate * size, (gate + 1) * size) for gate in (_INPUT_GATE, _FORGET_GATE, _CANDIDATE)]
    )
    graph.constants |= {
        f"{name}_index": np.array(number),
        f"{name}_weights": direction.weights[used].T.copy(),  # [embedding, 3 * hidden]
        f"{name}_recurrence": direction.recurrence[used].T.copy(),  # [hidden, 3 * hidden]
        f"{name}_bias": direction.bias[used],
        # Drops the last step and puts zeros before the first, or the other way round.
        f"{name}_move": np.array([1, 0, 0, -1, 0, 0] if number == 0 else [-1, 0, 0, 1, 0, 0]),
    }
    graph.node("Gather", f"states_to_sum {name}_index", f"{name}_states", axis=1)  # [time, batch, hidden]
    graph.node("Pad", f"{name}_states {name}_move", f"{name}_states_before")
    graph.node("MatMul", f"inputs {name}_weights", f"{name}_by_input")
    graph.node("MatMul", f"{name}_states_before {name}_recurrence", f"{name}_by_state")
    graph.node("Add", f"{name}_by_input {name}_bias", f"{name}_gates_alone")
    graph.node("Add", f"{name}_gates_alone {name}_by_state", f"{name}_gates")
    for gates, written in ((f"{name}_gates", f"{name}_written"), (f"{name}_gates_alone", f"{name}_alone")):
        graph.node("Split", gates, f"{gates}_i {gates}_f {gates}_c", axis=2, num_outputs=3)
        graph.node("Sigmoid", f"{gates}_i", f"{gates}_let_in")
        graph.node("Tanh", f"{gates}_c", f"{gates}_candidate")
        graph.node("Mul", f"{gates}_let_in {gates}_candidate", f"{written}_anywhere")
        graph.node("Where", f"real_steps {written}_anywhere nothing", written)
    graph.node("Sigmoid", f"{name}_gates_f", f"{name}_kept")
    graph.node("Sub", f"{name}_written {name}_alone", f"{name}_by_others")


def _add_reads(graph: Graph, number: int, name: str) -> None:
    """How much of each cell the maximum and the mean read at each step, `reads` [time, batch, 2 * hidden]."""
    graph.node("Equal", f"{name}_cells nothing", f"{name}_empty")
    graph.node("Where", f"{name}_empty unit {name}_cells", f"{name}_cells_to_divide")
    graph.node("Div", f"{name}_states {name}_cells_to_divide", f"{name}_open_anyhow")
    graph.node("Clip", f"{name}_open_anyhow nothing unit", f"{name}_open")  # the share of a cell that its state shows
    graph.node("Gather", f"won {name}_index", f"{name}_won", axis=1)  # [time, batch, hidden]
    graph.node("Where", f"{name}_won {name}_open nothing", f"{name}_read_by_maximum")
    graph.node("Div", f"{name}_open divisor_steps", f"{name}_read_by_mean")
    graph.node("Concat", f"{name}_read_by_maximum {name}_read_by_mean", f"{name}_reads", axis=2)
    graph.node("Concat", f"{name}_kept {name}_kept", f"{name}_kept_twice", axis=2)


def _add_scan(graph: Graph, inputs: str, outputs: str, body: onnx.GraphProto, directions: tuple[int, int]) -> None:
    """A scan over time: the state and the step's two inputs of each direction -> its state, and its output.

    `directions` says of either direction whether it goes from the first step on (0) or from the last (1).
    """
    first, second = directions
    graph.node(
        "Scan",
        inputs,
        f"_{body.name}_first _{body.name}_second {outputs}",
        body=body,
        num_scan_inputs=4,
        scan_input_directions=[first, first, second, second],
        scan_output_directions=[first, second],
    )


def _cells() -> onnx.GraphProto:
    """c = kept * c + written."""
    nodes = []
    for name in ("first", "second"):
        nodes += [
            helper.make_node("Mul", [f"{name}_state", f"{name}_kept"], [f"{name}_left"]),
            helper.make_node("Add", [f"{name}_left", f"{name}_input"], [f"{name}_next"]),
            helper.make_node("Identity", [f"{name}_next"], [f"{name}_output"]),
        ]
    return _body("cells", nodes)


def _read() -> onnx.GraphProto:
    """read = reads + what later steps read of what is kept; for the step before, `kept` of that is left."""
    nodes = []
    for name in ("first", "second"):
        nodes += [
            helper.make_node("Add", [f"{name}_input", f"{name}_state"], [f"{name}_output"]),
            helper.make_node("Mul", [f"{name}_output", f"{name}_kept"], [f"{name}_next"]),
        ]
    return _body("read", nodes)


def _body(name: str, nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
    def values(*names: str) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(value, TensorProto.FLOAT, None) for value in names]

    inputs = values("first_state", "second_state", "first_kept", "first_input", "second_kept", "second_input")
    return helper.make_graph(nodes, name, inputs, values("first_next", "second_next", "first_output", "second_output"))
