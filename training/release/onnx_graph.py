"""The network as an ONNX graph, and its weights back out of one."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from service.model.cell import Direction, Network
from training.release import evidence_graph
from training.release.graph import Graph

OPSET = 21
# Of graphs that this module wrote before: a table of n-grams, a second network for short texts.
_BEFORE = ("ngrams", "short_W")


class OldGraph(ValueError):
    """A graph with parts that the network no longer has: it can be served, but not trained on."""


def build(network: Network) -> bytes:
    """The ONNX model: token_ids int32 [batch, time], lengths int32 [batch] -> logits, evidence: docs/bundle.md."""
    graph = Graph()
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "label"])]
    _add_lstm(graph, network)
    if "hidden_kernel" in network.head:
        _add_last_states(graph, network)
    else:
        _add_pooling(graph, network)
        evidence_graph.add(graph, network)
        outputs.append(helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["batch", "time", "label"]))
    inputs = [
        helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["batch", "time"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    made = helper.make_graph(graph.nodes, "bilstm", inputs, outputs, initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()  # type: ignore[no-any-return]


def _add_lstm(graph: Graph, network: Network) -> None:
    """The states [time, 2, batch, hidden] of all steps, and the `last` [2, batch, hidden]."""
    directions = (network.forward, network.backward)
    graph.constants |= network.head | {
        "embedding": network.embedding,  # float16 [vocabulary, embedding]
        "W": np.stack([d.weights for d in directions]),  # [2, 4 * hidden, embedding]
        "R": np.stack([d.recurrence for d in directions]),  # [2, 4 * hidden, hidden]
        "B": np.stack([np.concatenate([d.bias, np.zeros_like(d.bias)]) for d in directions]),  # [2, 8 * hidden]
    }
    graph.node("Transpose", "token_ids", "ids", perm=[1, 0])  # [time, batch]
    graph.node("Gather", "embedding ids", "stored")
    graph.node("Cast", "stored", "inputs", to=TensorProto.FLOAT)  # [time, batch, embedding]
    size = network.forward.recurrence.shape[1]
    graph.node("LSTM", "inputs W R B lengths", "states last", hidden_size=size, direction="bidirectional")


def _add_last_states(graph: Graph, network: Network) -> None:
    graph.constants["flat"] = np.array([0, 2 * network.forward.recurrence.shape[1]])
    graph.node("Transpose", "last", "last_by_text", perm=[1, 0, 2])  # [batch, 2, hidden]
    graph.node("Reshape", "last_by_text flat", "last_flat")  # [batch, 2 * hidden]
    graph.node("Gemm", "last_flat hidden_kernel hidden_bias", "dense")
    graph.node("Relu", "dense", "dense_relu")
    graph.node("Gemm", "dense_relu kernel bias", "logits")


def _add_pooling(graph: Graph, network: Network) -> None:
    """The `logits` of maximum and mean over the real steps.

    Pooling in the LSTM's own layout: reduced over axis 0, one text's answer is bit-identical in any batch.
    """
    graph.constants |= {
        "zero": np.array(0),
        "one": np.array(1),
        "time_axis": np.array([0]),
        "last_three": np.array([1, 2, 3]),
        "of_text": np.array([1, 1, -1, 1]),
        "masked": np.array(-2.0, np.float32),  # below every state, which lies in (-1, 1)
        "nothing": np.array(0.0, np.float32),
        "flat": np.array([0, 4 * network.forward.recurrence.shape[1]]),
    }
    graph.node("Shape", "ids", "time_shape", start=0, end=1)  # [1]
    graph.node("Squeeze", "time_shape", "time")
    graph.node("Range", "zero time one", "range")
    graph.node("Unsqueeze", "range last_three", "steps")  # [time, 1, 1, 1]
    graph.node("Cast", "lengths", "lengths_int64", to=TensorProto.INT64)
    graph.node("Reshape", "lengths_int64 of_text", "lengths_by_text")  # [1, 1, batch, 1]
    graph.node("Less", "steps lengths_by_text", "real")  # [time, 1, batch, 1]
    graph.node("Where", "real states masked", "states_to_win")
    graph.node("Where", "real states nothing", "states_to_sum")
    graph.node("ReduceMax", "states_to_win time_axis", "highest", keepdims=1)
    graph.node("ReduceSum", "states_to_sum time_axis", "sum", keepdims=1)
    graph.node("Cast", "lengths_by_text", "divisor", to=TensorProto.FLOAT)
    graph.node("Div", "sum divisor", "mean")  # [1, 2, batch, hidden]
    graph.node("Concat", "highest mean", "pooled", axis=1)  # [1, 4, batch, hidden]
    graph.node("Squeeze", "pooled time_axis", "pooled_once")
    graph.node("Transpose", "pooled_once", "pooled_by_text", perm=[1, 0, 2])  # [batch, 4, hidden]
    graph.node("Reshape", "pooled_by_text flat", "features")  # [batch, 4 * hidden]
    graph.node("Gemm", "features kernel bias", "logits")


def read(model: bytes) -> Network:
    """The weights, back out of a graph that `build` wrote. Raises OldGraph."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(model).graph.initializer}
    if any(name in found for name in _BEFORE):
        raise OldGraph(
            "expected a bundle of one network, found a bundle of an older kind, with a table of n-grams or a second "
            "network: it can be served but not trained on; start from models/reviews-bilstm, or from none"
        )
    head = {name: found[name] for name in ("hidden_kernel", "hidden_bias", "kernel", "bias") if name in found}
    gates = found["B"].shape[1] // 2
    forward, backward = (Direction(found["W"][d], found["R"][d], found["B"][d][:gates]) for d in (0, 1))
    return Network(found["embedding"], forward, backward, head)
