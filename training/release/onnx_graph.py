"""The network as an ONNX graph, and its weights back out of one."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.model import cell
from service.model.cell import Direction, Network

OPSET = 21


def build(network: Network) -> bytes:
    """The ONNX model: token_ids int32 [batch, time], lengths int32 [batch] -> logits, evidence: docs/bundle.md."""
    constants = _reader_constants(network, "") | network.head
    nodes = [helper.make_node("Transpose", ["token_ids"], ["ids"], perm=[1, 0])]  # [time, batch]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "label"])]
    if "hidden_kernel" in network.head:
        nodes += [*_lstm_nodes(network, ""), *_last_nodes(constants, network.forward.recurrence.shape[1])]
    else:
        nodes += _pooled_nodes(constants, network, "")
        found = "own"
        if network.ngrams is not None or network.short:
            nodes += _long_share_nodes(constants, network.short_tokens)
        if network.ngrams is not None:
            nodes += _ngram_nodes(constants, network)
            found = "long"
        if network.short:
            nodes += _short_nodes(constants, network, found)
            found = "all"
        nodes += [helper.make_node("Identity", [f"{found}_{output}"], [output]) for output in ("logits", "evidence")]
        outputs.append(helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["batch", "time", "label"]))
    inputs = [
        helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["batch", "time"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
    ]
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    made = helper.make_graph(nodes, "bilstm", inputs, outputs, initializers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()  # type: ignore[no-any-return]


def _reader_constants(network: Network, prefix: str) -> dict[str, NDArray[Any]]:
    """What a reader reads with; `prefix` goes before every name that is the short reader's."""
    directions = (network.forward, network.backward)
    return {
        f"{prefix}embedding": network.embedding,
        f"{prefix}W": np.stack([d.weights for d in directions]),  # [2, 4 * hidden, embedding]
        f"{prefix}R": np.stack([d.recurrence for d in directions]),  # [2, 4 * hidden, hidden]
        f"{prefix}B": np.stack(
            [np.concatenate([d.bias, np.zeros_like(d.bias)]) for d in directions]
        ),  # [2, 8 * hidden]
    }


def _lstm_nodes(network: Network, prefix: str) -> list[onnx.NodeProto]:
    half = network.embedding.dtype == np.float16
    return [
        helper.make_node(
            "Gather", [f"{prefix}embedding", f"{prefix}ids"], [f"{prefix}stored" if half else f"{prefix}inputs"]
        ),  # [time, batch, embedding]
        *([helper.make_node("Cast", [f"{prefix}stored"], [f"{prefix}inputs"], to=TensorProto.FLOAT)] if half else []),
        helper.make_node(
            "LSTM",
            [f"{prefix}{name}" for name in ("inputs", "W", "R", "B", "lengths")],
            [f"{prefix}states", f"{prefix}last"],  # [time, 2, batch, hidden], [2, batch, hidden]
            hidden_size=network.forward.recurrence.shape[1],
            direction="bidirectional",
        ),
    ]


def _last_nodes(constants: dict[str, NDArray[Any]], hidden_size: int) -> list[onnx.NodeProto]:
    constants["flat"] = np.array([0, 2 * hidden_size])
    return [
        helper.make_node("Transpose", ["last"], ["last_by_text"], perm=[1, 0, 2]),  # [batch, 2, hidden]
        helper.make_node("Reshape", ["last_by_text", "flat"], ["last_flat"]),  # [batch, 2 * hidden]
        helper.make_node("Gemm", ["last_flat", "hidden_kernel", "hidden_bias"], ["dense"]),
        helper.make_node("Relu", ["dense"], ["dense_relu"]),
        helper.make_node("Gemm", ["dense_relu", "kernel", "bias"], ["logits"]),
    ]


def _pooled_nodes(constants: dict[str, NDArray[Any]], network: Network, prefix: str) -> list[onnx.NodeProto]:
    """A reader's `own_logits` and `own_evidence`, from its `ids` [time, batch] and `lengths` [batch].

    Pooling in the LSTM's own layout: reduced over axis 0, one text's answer is bit-identical in any batch.
    """
    hidden_size = network.forward.recurrence.shape[1]
    shared = {
        "zero": np.array(0),
        "one": np.array(1),
        "time_axis": np.array([0]),
        "last_three": np.array([1, 2, 3]),
        "of_text": np.array([1, 1, -1, 1]),
        "masked": np.array(-2.0, np.float32),
        "nothing": np.array(0.0, np.float32),
        "bias": network.head["bias"],
    }
    constants |= shared
    constants |= {
        f"{prefix}kernel": network.head["kernel"],
        f"{prefix}flat": np.array([0, 4 * hidden_size]),
        f"{prefix}flat_steps": np.array([0, 0, 4 * hidden_size]),
    }

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        names = [name if name in shared else prefix + name for name in inputs.split()]
        return helper.make_node(kind, names, [prefix + output], **attributes)

    pooling = [
        node("Shape", "ids", "time_shape", start=0, end=1),  # [1]
        node("Squeeze", "time_shape", "time"),
        node("Range", "zero time one", "range"),
        node("Unsqueeze", "range last_three", "steps"),  # [time, 1, 1, 1]
        node("Cast", "lengths", "lengths_int64", to=TensorProto.INT64),
        node("Reshape", "lengths_int64 of_text", "lengths_by_text"),  # [1, 1, batch, 1]
        node("Less", "steps lengths_by_text", "real"),  # [time, 1, batch, 1]
        node("Where", "real states masked", "states_to_win"),
        node("Where", "real states nothing", "states_to_sum"),
        node("ReduceMax", "states_to_win time_axis", "highest", keepdims=1),
        node("ReduceSum", "states_to_sum time_axis", "sum", keepdims=1),
        node("Cast", "lengths_by_text", "divisor", to=TensorProto.FLOAT),
        node("Div", "sum divisor", "mean"),  # [1, 2, batch, hidden]
        node("Concat", "highest mean", "pooled", axis=1),  # [1, 4, batch, hidden]
        node("Squeeze", "pooled time_axis", "pooled_once"),
        node("Transpose", "pooled_once", "pooled_by_text", perm=[1, 0, 2]),  # [batch, 4, hidden]
        node("Reshape", "pooled_by_text flat", "features"),  # [batch, 4 * hidden]
        node("Gemm", "features kernel bias", "own_logits"),
    ]
    evidence = [
        node("ArgMax", "states_to_win", "winner", axis=0, keepdims=1),  # the first of equals
        node("Equal", "steps winner", "won"),  # [time, 2, batch, hidden]
        node("Where", "won states nothing", "highest_shares"),
        node("Div", "states_to_sum divisor", "mean_shares"),
        node("Concat", "highest_shares mean_shares", "shares", axis=1),  # [time, 4, batch, hidden]
        node("Transpose", "shares", "shares_by_text", perm=[2, 0, 1, 3]),  # [batch, time, 4, hidden]
        node("Reshape", "shares_by_text flat_steps", "step_features"),  # [batch, time, 4 * hidden]
        node("MatMul", "step_features kernel", "own_evidence"),
    ]
    return [*_lstm_nodes(network, prefix), *pooling, *evidence]


def _long_share_nodes(constants: dict[str, NDArray[Any]], short_tokens: int) -> list[onnx.NodeProto]:
    """`service.model.cell.long_share`, [batch, 1]."""
    constants |= {
        "short_tokens": np.array(short_tokens, np.float32),
        "ramp_tokens": np.array(max(1, short_tokens), np.float32),
        "in_full": np.array(1.0, np.float32),
        "label_axis": np.array([1]),
    }
    return [
        helper.make_node("Unsqueeze", ["lengths", "label_axis"], ["lengths_of_texts"]),  # [batch, 1]
        helper.make_node("Cast", ["lengths_of_texts"], ["tokens"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["tokens", "short_tokens"], ["tokens_above"]),
        helper.make_node("Div", ["tokens_above", "ramp_tokens"], ["ramp"]),
        helper.make_node("Clip", ["ramp", "nothing", "in_full"], ["long_share"]),
    ]


def _short_nodes(constants: dict[str, NDArray[Any]], network: Network, found: str) -> list[onnx.NodeProto]:
    """The short reader, and what both say together; `found` is what the long one's outputs are named by.

    It reads the texts in which it counts, and of them no more steps than may count. Most batches of reviews have no
    such text, and then it is not asked: its weights would only drive the other's out of the caches.
    """
    assert network.short
    constants |= _reader_constants(network.short, "short_")
    constants |= {
        "short_weight": np.array(network.short_weight, np.float32),
        "heard": np.array(2 * network.short_tokens, np.int32),
        "first_step": np.array([0]),
        "last_heard": np.array([2 * network.short_tokens]),
        "before": np.array([0, 0, 0, 0]),
        "none": np.array([0]),
        "no_states": np.zeros((0, 2, 0, network.short.forward.recurrence.shape[1]), np.float32),
    }
    reading = [
        helper.make_node("Less", ["lengths", "heard"], ["is_short"]),  # [batch]
        helper.make_node("NonZero", ["is_short"], ["short_places"]),  # [1, short]
        helper.make_node("Squeeze", ["short_places", "time_axis"], ["short_rows"]),
        helper.make_node("Unsqueeze", ["short_rows", "label_axis"], ["short_rows_column"]),  # [short, 1]
        helper.make_node("Slice", ["ids", "first_step", "last_heard", "time_axis"], ["ids_heard"]),
        helper.make_node("Gather", ["ids_heard", "short_rows"], ["short_ids"], axis=1),  # [time heard, short]
        helper.make_node("Gather", ["lengths", "short_rows"], ["short_lengths"]),
        helper.make_node("Sub", ["in_full", "long_share"], ["not_long"]),
        helper.make_node("Mul", ["not_long", "short_weight"], ["say_of_short"]),  # [batch, 1]
        helper.make_node("Sub", ["in_full", "say_of_short"], ["rest"]),
        helper.make_node("Gather", ["say_of_short", "short_rows"], ["share_of_short"]),  # [short, 1]
    ]
    logits = [
        helper.make_node("Mul", [f"{found}_logits", "rest"], ["long_part"]),
        helper.make_node("Mul", ["short_own_logits", "share_of_short"], ["short_part"]),
        helper.make_node("ScatterND", ["long_part", "short_rows_column", "short_part"], ["both"], reduction="add"),
    ]
    evidence = [
        helper.make_node("Unsqueeze", ["rest", "label_axis"], ["rest_of_steps"]),  # [batch, 1, 1]
        helper.make_node("Unsqueeze", ["share_of_short", "label_axis"], ["share_of_short_steps"]),
        helper.make_node("Mul", [f"{found}_evidence", "rest_of_steps"], ["long_shares"]),
        helper.make_node("Mul", ["short_own_evidence", "share_of_short_steps"], ["heard_shares"]),
        helper.make_node("Sub", ["time_shape", "short_time_shape"], ["unheard"]),
        helper.make_node("Concat", ["before", "unheard", "none"], ["padding"], axis=0),  # of steps, at their end
        helper.make_node("Pad", ["heard_shares", "padding"], ["heard_shares_of_all"]),  # [short, time, label]
        helper.make_node(
            "ScatterND", ["long_shares", "short_rows_column", "heard_shares_of_all"], ["both"], reduction="add"
        ),
    ]
    reader = _pooled_nodes(constants, network.short, "short_")
    heard = [helper.make_node("Identity", ["handed_states"], ["short_states"])]
    heard += [node for node in reader if "short_states" not in node.output]
    return [
        helper.make_node("ReduceMin", ["lengths"], ["shortest"], keepdims=0),
        helper.make_node("Less", ["shortest", "heard"], ["any_short"]),
        # Evidence is another branch, so that the graph can be cut to its logits; it takes over what the LSTM has read.
        _if_any_short(
            [*reading, *reader, *logits],
            {"all_logits": ("both", f"{found}_logits"), "handed_states": ("short_states", "no_states")},
        ),
        _if_any_short([*reading, *heard, *evidence], {"all_evidence": ("both", f"{found}_evidence")}),
    ]


def _if_any_short(nodes: list[onnx.NodeProto], outputs: Mapping[str, tuple[str, str]]) -> onnx.NodeProto:
    """Its `outputs`, each by what it is where a text is short, and otherwise; of the `nodes` only those it takes."""
    wanted, taken = {name for name, _ in outputs.values()}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            taken.append(node)
    same = [helper.make_node("Identity", [name], [f"same_{name}"]) for _, name in outputs.values()]

    def branch(nodes: list[onnx.NodeProto], name: str, made: Iterable[str]) -> onnx.GraphProto:
        return helper.make_graph(
            nodes, name, [], [helper.make_tensor_value_info(one, TensorProto.FLOAT, None) for one in made]
        )

    return helper.make_node(
        "If",
        ["any_short"],
        list(outputs),
        then_branch=branch(taken[::-1], "both_readers", [name for name, _ in outputs.values()]),
        else_branch=branch(same, "one_reader", [node.output[0] for node in same]),
    )


def _ngram_nodes(constants: dict[str, NDArray[Any]], network: Network) -> list[onnx.NodeProto]:
    """The weights of hashed pairs and triples of tokens (`model.ngram_buckets`), added to logits and evidence.

    Pairs stand before triples along one axis of 2 * time, summed like the pools over axis 0.
    """
    assert network.ngrams is not None
    constants |= {
        "ngrams": network.ngrams,
        "ngram_scale": np.array(network.ngram_scale, np.float32),
        **{f"multiplier_{at}": np.array(multiplier) for at, multiplier in enumerate(cell.MULTIPLIERS)},
        "triple": np.array(cell.TRIPLE),
        "buckets": np.array(len(network.ngrams)),
        "two": np.array(2),
        "first_row": np.array([1]),
        "second_row": np.array([2]),
        "last_row": np.array([-1]),
        "before_last_row": np.array([-2]),
        "end": np.array([2**31]),
        "ids_after": np.array([0, 0, 2, 0]),
        "one_before": np.array([1, 0, 0, 0, 0, 0]),
        "two_before": np.array([2, 0, 0, 0, 0, 0]),
        "in_two": np.array(1 / 2, np.float32),
        "in_three": np.array(1 / 3, np.float32),
    }
    buckets = [
        helper.make_node("Cast", ["ids"], ["first"], to=TensorProto.INT64),  # [time, batch]
        helper.make_node("Pad", ["first", "ids_after"], ["padded"]),  # [time + 2, batch]
        helper.make_node("Slice", ["padded", "first_row", "last_row", "time_axis"], ["second"]),
        helper.make_node("Slice", ["padded", "second_row", "end", "time_axis"], ["third"]),
        helper.make_node("Mul", ["first", "multiplier_0"], ["first_hash"]),
        helper.make_node("Mul", ["second", "multiplier_1"], ["second_hash"]),
        helper.make_node("Mul", ["third", "multiplier_2"], ["third_hash"]),
        helper.make_node("Add", ["first_hash", "second_hash"], ["pair_hash"]),
        helper.make_node("Add", ["pair_hash", "third_hash"], ["three_hash"]),
        helper.make_node("Add", ["three_hash", "triple"], ["triple_hash"]),
        helper.make_node("Concat", ["pair_hash", "triple_hash"], ["hashes"], axis=0),  # [2 * time, batch]
        helper.make_node("Mod", ["hashes", "buckets"], ["ngram_buckets"]),
    ]
    sums = [
        helper.make_node("Gather", ["ngrams", "ngram_buckets"], ["stored"]),  # [2 * time, batch, label] float16
        helper.make_node("Cast", ["stored"], ["found"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["range", "one"], ["pair_ends"]),  # [time]
        helper.make_node("Add", ["range", "two"], ["triple_ends"]),
        helper.make_node("Concat", ["pair_ends", "triple_ends"], ["ends"], axis=0),
        helper.make_node("Unsqueeze", ["ends", "ends_axes"], ["ends_by_text"]),  # [2 * time, 1, 1]
        helper.make_node("Unsqueeze", ["lengths_int64", "label_axis"], ["lengths_column"]),  # [batch, 1]
        helper.make_node("Less", ["ends_by_text", "lengths_column"], ["whole"]),  # [2 * time, batch, 1]
        helper.make_node("Where", ["whole", "found", "nothing"], ["ngram_weights"]),
        helper.make_node("ReduceSum", ["ngram_weights", "time_axis"], ["ngram_sum"], keepdims=0),  # [batch, label]
        helper.make_node("Sqrt", ["tokens"], ["lengths_root"]),
        helper.make_node("Div", ["long_share", "lengths_root"], ["length_scale"]),
        helper.make_node("Mul", ["length_scale", "ngram_scale"], ["scale"]),  # [batch, 1]
        helper.make_node("Mul", ["ngram_sum", "scale"], ["ngram_logits"]),
        helper.make_node("Add", ["own_logits", "ngram_logits"], ["long_logits"]),
    ]
    constants |= {"ends_axes": np.array([1, 2])}
    # Each token of an n-gram bears an equal share: the weights, moved down by a row for each token after the first.
    evidence = [
        helper.make_node("Mul", ["ngram_weights", "scale"], ["scaled"]),
        helper.make_node("Split", ["scaled"], ["pairs", "triples"], axis=0, num_outputs=2),  # [time, batch, label]
        helper.make_node("Mul", ["pairs", "in_two"], ["pair_0"]),
        helper.make_node("Mul", ["triples", "in_three"], ["triple_0"]),
        helper.make_node("Pad", ["pair_0", "one_before"], ["pair_moved"]),
        helper.make_node("Slice", ["pair_moved", "time_axis", "last_row", "time_axis"], ["pair_1"]),
        helper.make_node("Pad", ["triple_0", "one_before"], ["triple_moved"]),
        helper.make_node("Slice", ["triple_moved", "time_axis", "last_row", "time_axis"], ["triple_1"]),
        helper.make_node("Pad", ["triple_0", "two_before"], ["triple_moved_twice"]),
        helper.make_node("Slice", ["triple_moved_twice", "time_axis", "before_last_row", "time_axis"], ["triple_2"]),
        helper.make_node("Sum", ["pair_0", "pair_1", "triple_0", "triple_1", "triple_2"], ["ngram_shares"]),
        helper.make_node("Transpose", ["ngram_shares"], ["ngram_shares_by_text"], perm=[1, 0, 2]),
        helper.make_node("Add", ["own_evidence", "ngram_shares_by_text"], ["long_evidence"]),  # [batch, time, label]
    ]
    return buckets + sums + evidence


def read(model: bytes) -> Network:
    """The weights, back out of a graph that `build` wrote."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(model).graph.initializer}
    head = {name: found[name] for name in ("hidden_kernel", "hidden_bias", "kernel", "bias") if name in found}
    scale = float(found["ngram_scale"]) if "ngrams" in found else 1.0
    short_tokens = int(found.get("short_tokens", 0))  # older graphs count n-grams in full at every length
    short, short_weight = None, float(found.get("short_weight", 1.0))  # in older graphs it alone counted
    if "short_W" in found:
        short = Network(
            found["short_embedding"],
            *_directions(found, "short_"),
            {"kernel": found["short_kernel"], "bias": head["bias"]},
        )
    ngrams = found.get("ngrams")
    return Network(found["embedding"], *_directions(found, ""), head, ngrams, scale, short_tokens, short, short_weight)


def _directions(found: dict[str, NDArray[Any]], prefix: str) -> tuple[Direction, Direction]:
    weights, recurrence, bias = (found[prefix + name] for name in "WRB")
    gates = bias.shape[1] // 2
    forward, backward = (Direction(weights[d], recurrence[d], bias[d][:gates]) for d in (0, 1))
    return forward, backward
