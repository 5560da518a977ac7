"""Weights -> ONNX graph, and the proof that three implementations agree: torch, onnxruntime, plain NumPy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service import cell
from service.cell import Array, Direction, Network, logits
from service.tokenizer import Batch
from training.model import BiLSTM

OPSET = 21
# Of the largest logit, or of 1 where that is smaller. float32 sums of a few hundred terms, over a few hundred steps:
# measured about 1e-6.
PARITY_TOLERANCE = 1e-4


class ParityError(Exception):
    """The exported graph does not answer as the network does."""


def arrays(model: BiLSTM, temperature: float = 1.0) -> Network:
    """The network's weights in ONNX's layout, `temperature` folded into the last layer (Guo et al. 2017)."""
    weights = {name: tensor.detach().float().cpu().numpy() for name, tensor in model.state_dict().items()}
    kernel, bias = weights["output.weight"].T / temperature, weights["output.bias"] / temperature
    head: dict[str, Array] = {}
    if model.head == "last":
        head = {"hidden_kernel": weights["hidden.weight"].T, "hidden_bias": weights["hidden.bias"]}
        if model.labels == 2:  # the single unit's logit stands against 0
            kernel, bias = np.hstack([np.zeros_like(kernel), kernel]), np.concatenate([[0.0], bias])
    head |= {"kernel": kernel, "bias": bias}
    # A float16 weight is wrong by 1 in 2048 at most: nothing beside what a bucket's n-grams have in common.
    ngrams = weights["ngrams.weight"].astype(np.float16) if model.ngram_buckets else None
    return Network(
        weights["embedding.weight"],
        _direction(weights, "forward_lstm"),
        _direction(weights, "backward_lstm"),
        {name: np.ascontiguousarray(array, np.float32) for name, array in head.items()},
        ngrams,
        1 / temperature,
        model.short_tokens,
    )


def _direction(weights: dict[str, NDArray[Any]], layer: str) -> Direction:
    return Direction(
        _reorder(weights[f"{layer}.weight_ih_l0"]),
        _reorder(weights[f"{layer}.weight_hh_l0"]),
        _reorder(weights[f"{layer}.bias_ih_l0"] + weights[f"{layer}.bias_hh_l0"]),
    )


def _reorder(stacked: Array, order: Sequence[int] = (0, 3, 1, 2)) -> Array:
    """torch stacks the gates i, f, g, o, ONNX i, o, f, c (its c is torch's g)."""
    gates = np.split(stacked, 4)
    return np.concatenate([gates[index] for index in order])


def load_arrays(model: BiLSTM, network: Network, with_output: bool = True) -> None:
    """The reverse of `arrays`, for a warm start; without `with_output` the last layer stays as it is."""
    state = {"embedding.weight": network.embedding}
    for layer, direction in (("forward_lstm", network.forward), ("backward_lstm", network.backward)):
        back = (0, 2, 3, 1)
        state[f"{layer}.weight_ih_l0"] = _reorder(direction.weights, back)
        state[f"{layer}.weight_hh_l0"] = _reorder(direction.recurrence, back)
        state[f"{layer}.bias_ih_l0"] = _reorder(direction.bias, back)
        state[f"{layer}.bias_hh_l0"] = np.zeros_like(direction.bias)
    if model.head == "last":
        state |= {"hidden.weight": network.head["hidden_kernel"].T, "hidden.bias": network.head["hidden_bias"]}
    if with_output and network.ngrams is not None:
        # The scale is folded into the last layer, but the table is stored as it was trained.
        state |= {"ngrams.weight": network.ngrams.astype(np.float32) * network.ngram_scale}
        model.short_tokens = network.short_tokens  # they were trained for that
    if with_output:
        units = len(model.output.bias)
        state |= {"output.weight": network.head["kernel"][:, -units:].T, "output.bias": network.head["bias"][-units:]}
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    model.load_state_dict(model.state_dict() | tensors)


def graph(network: Network) -> bytes:
    """The ONNX model: token_ids int32 [batch, time], lengths int32 [batch] -> logits, evidence (design: README)."""
    hidden_size = network.forward.recurrence.shape[1]
    directions = (network.forward, network.backward)
    constants: dict[str, NDArray[Any]] = {
        "embedding": network.embedding,
        "W": np.stack([d.weights for d in directions]),  # [2, 4 * hidden, embedding]
        "R": np.stack([d.recurrence for d in directions]),  # [2, 4 * hidden, hidden]
        "B": np.stack([np.concatenate([d.bias, np.zeros_like(d.bias)]) for d in directions]),  # [2, 8 * hidden]
        **network.head,
    }
    nodes = [
        helper.make_node("Transpose", ["token_ids"], ["ids"], perm=[1, 0]),  # [time, batch]
        helper.make_node("Gather", ["embedding", "ids"], ["inputs"]),  # [time, batch, embedding]
        helper.make_node(
            "LSTM",
            ["inputs", "W", "R", "B", "lengths"],
            ["states", "last"],  # [time, 2, batch, hidden], [2, batch, hidden]
            hidden_size=hidden_size,
            direction="bidirectional",
        ),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "label"])]
    if "hidden_kernel" in network.head:
        nodes += _last_nodes(constants, hidden_size)
    else:
        if network.ngrams is not None:
            constants |= {
                "ngrams": network.ngrams,
                "ngram_scale": np.array(network.ngram_scale, np.float32),
                "short_tokens": np.array(network.short_tokens, np.float32),
                "ramp_tokens": np.array(max(1, network.short_tokens), np.float32),  # 0: in full at every length
            }
        nodes += _pooled_nodes(constants, hidden_size, network.ngrams is not None)
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


def _last_nodes(constants: dict[str, NDArray[Any]], hidden_size: int) -> list[onnx.NodeProto]:
    constants["flat"] = np.array([0, 2 * hidden_size])
    return [
        helper.make_node("Transpose", ["last"], ["last_by_text"], perm=[1, 0, 2]),  # [batch, 2, hidden]
        helper.make_node("Reshape", ["last_by_text", "flat"], ["last_flat"]),  # [batch, 2 * hidden]
        helper.make_node("Gemm", ["last_flat", "hidden_kernel", "hidden_bias"], ["dense"]),
        helper.make_node("Relu", ["dense"], ["dense_relu"]),
        helper.make_node("Gemm", ["dense_relu", "kernel", "bias"], ["logits"]),
    ]


def _pooled_nodes(constants: dict[str, NDArray[Any]], hidden_size: int, ngrams: bool) -> list[onnx.NodeProto]:
    """Pooling in the LSTM's own layout: reduced over axis 0, one text's answer is bit-identical in any batch."""
    constants |= {
        "zero": np.array(0),
        "one": np.array(1),
        "time_axis": np.array([0]),
        "last_three": np.array([1, 2, 3]),
        "of_text": np.array([1, 1, -1, 1]),
        "masked": np.array(-2.0, np.float32),
        "nothing": np.array(0.0, np.float32),
        "flat": np.array([0, 4 * hidden_size]),
        "flat_steps": np.array([0, 0, 4 * hidden_size]),
    }
    pooling = [
        helper.make_node("Shape", ["token_ids"], ["time_shape"], start=1, end=2),  # [1]
        helper.make_node("Squeeze", ["time_shape"], ["time"]),
        helper.make_node("Range", ["zero", "time", "one"], ["range"]),
        helper.make_node("Unsqueeze", ["range", "last_three"], ["steps"]),  # [time, 1, 1, 1]
        helper.make_node("Cast", ["lengths"], ["lengths_int64"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["lengths_int64", "of_text"], ["lengths_by_text"]),  # [1, 1, batch, 1]
        helper.make_node("Less", ["steps", "lengths_by_text"], ["real"]),  # [time, 1, batch, 1]
        helper.make_node("Where", ["real", "states", "masked"], ["states_to_win"]),
        helper.make_node("Where", ["real", "states", "nothing"], ["states_to_sum"]),
        helper.make_node("ReduceMax", ["states_to_win", "time_axis"], ["highest"], keepdims=1),
        helper.make_node("ReduceSum", ["states_to_sum", "time_axis"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["lengths_by_text"], ["divisor"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["sum", "divisor"], ["mean"]),  # [1, 2, batch, hidden]
        helper.make_node("Concat", ["highest", "mean"], ["pooled"], axis=1),  # [1, 4, batch, hidden]
        helper.make_node("Squeeze", ["pooled", "time_axis"], ["pooled_once"]),
        helper.make_node("Transpose", ["pooled_once"], ["pooled_by_text"], perm=[1, 0, 2]),  # [batch, 4, hidden]
        helper.make_node("Reshape", ["pooled_by_text", "flat"], ["features"]),  # [batch, 4 * hidden]
        helper.make_node("Gemm", ["features", "kernel", "bias"], ["own_logits" if ngrams else "logits"]),
    ]
    evidence = [
        helper.make_node("ArgMax", ["states_to_win"], ["winner"], axis=0, keepdims=1),  # the first of equals
        helper.make_node("Equal", ["steps", "winner"], ["won"]),  # [time, 2, batch, hidden]
        helper.make_node("Where", ["won", "states", "nothing"], ["highest_shares"]),
        helper.make_node("Div", ["states_to_sum", "divisor"], ["mean_shares"]),
        helper.make_node("Concat", ["highest_shares", "mean_shares"], ["shares"], axis=1),  # [time, 4, batch, hidden]
        helper.make_node("Transpose", ["shares"], ["shares_by_text"], perm=[2, 0, 1, 3]),  # [batch, time, 4, hidden]
        helper.make_node("Reshape", ["shares_by_text", "flat_steps"], ["step_features"]),  # [batch, time, 4 * hidden]
        helper.make_node("MatMul", ["step_features", "kernel"], ["own_evidence" if ngrams else "evidence"]),
    ]
    return pooling + evidence + (_ngram_nodes(constants) if ngrams else [])


def _ngram_nodes(constants: dict[str, NDArray[Any]]) -> list[onnx.NodeProto]:
    """The weights of hashed pairs and triples of tokens (`model.ngram_buckets`), added to logits and evidence.

    Pairs stand before triples along one axis of 2 * time, summed like the pools over axis 0.
    """
    constants |= {
        **{f"multiplier_{at}": np.array(multiplier) for at, multiplier in enumerate(cell.MULTIPLIERS)},
        "triple": np.array(cell.TRIPLE),
        "buckets": np.array(len(constants["ngrams"])),
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
        "in_full": np.array(1.0, np.float32),
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
        helper.make_node("Cast", ["lengths_column"], ["lengths_float"], to=TensorProto.FLOAT),
        helper.make_node("Sqrt", ["lengths_float"], ["lengths_root"]),
        helper.make_node("Sub", ["lengths_float", "short_tokens"], ["tokens_above"]),
        helper.make_node("Div", ["tokens_above", "ramp_tokens"], ["ramp"]),
        helper.make_node("Clip", ["ramp", "nothing", "in_full"], ["ramp_share"]),
        helper.make_node("Div", ["ramp_share", "lengths_root"], ["length_scale"]),
        helper.make_node("Mul", ["length_scale", "ngram_scale"], ["scale"]),  # [batch, 1]
        helper.make_node("Mul", ["ngram_sum", "scale"], ["ngram_logits"]),
        helper.make_node("Add", ["own_logits", "ngram_logits"], ["logits"]),
    ]
    constants |= {"ends_axes": np.array([1, 2]), "label_axis": np.array([1])}
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
        helper.make_node("Add", ["own_evidence", "ngram_shares_by_text"], ["evidence"]),  # [batch, time, label]
    ]
    return buckets + sums + evidence


def network(model: bytes) -> Network:
    """Reads the weights back out of a graph that `graph` wrote."""
    found = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_from_string(model).graph.initializer}
    gates = found["B"].shape[1] // 2
    forward, backward = (Direction(found["W"][d], found["R"][d], found["B"][d][:gates]) for d in (0, 1))
    head = {name: found[name] for name in ("hidden_kernel", "hidden_bias", "kernel", "bias") if name in found}
    scale = float(found["ngram_scale"]) if "ngrams" in found else 1.0
    short_tokens = int(found.get("short_tokens", 0))  # older graphs count n-grams in full at every length
    return Network(found["embedding"], forward, backward, head, found.get("ngrams"), scale, short_tokens)


def prove_parity(model: BiLSTM, onnx_model: bytes, temperature: float, max_tokens: int) -> float:
    """The largest difference in any logit or evidence sum between torch, NumPy and onnxruntime, per unit of logit.

    Compared over several shapes with ragged lengths and rubbish in the padding. Raises ParityError over
    PARITY_TOLERANCE.
    """
    generator = np.random.default_rng(0)
    session = onnxruntime.InferenceSession(onnx_model, providers=["CPUExecutionProvider"])
    weights = arrays(model, temperature)
    worst = 0.0
    shapes = [[1], [17], [max_tokens, 3], [40, 17, 29], [33, 1, 32, 8, 21, 30, 2, 16], [2, 1, 2, 1, 1]]
    ramp = np.linspace(model.short_tokens, 2 * model.short_tokens, 5).astype(int)  # over which n-grams come in
    for chosen in (*shapes, np.clip([*ramp, *ramp + 1], 1, max_tokens)):
        lengths = np.array(chosen, np.int32)
        rows, time = len(lengths), int(lengths.max())
        batch = Batch(generator.integers(0, len(weights.embedding), (rows, time)).astype(np.int32), lengths)
        outputs = session.run(None, {"token_ids": batch.token_ids, "lengths": batch.lengths})
        with torch.inference_mode():
            model.eval()
            expected = model(torch.from_numpy(batch.token_ids), torch.from_numpy(lengths)).numpy() / temperature
        for row in range(rows):
            by_hand, shares = logits(batch.token_ids[row, : lengths[row]], weights)
            differences = [outputs[0][row] - expected[row], outputs[0][row] - by_hand]
            if shares is not None:
                found = outputs[1][row, : lengths[row]]
                differences += [found - shares, found.sum(axis=0) + weights.head["bias"] - outputs[0][row]]
            # NaN must fail too, hence no plain max().
            unit = max(1.0, float(np.abs(by_hand).max()))
            worst = float(np.max([worst, *(np.abs(difference).max() / unit for difference in differences)]))
            if not worst <= PARITY_TOLERANCE:
                raise ParityError(
                    f"expected torch, NumPy and onnxruntime to agree within {PARITY_TOLERANCE}, found {worst} "
                    f"for a text of {lengths[row]} tokens in a batch of {rows} x {time}; no bundle was written"
                )
    return worst
