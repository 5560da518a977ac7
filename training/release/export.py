"""The network's weights, from torch to the graph's and back, and the proof that three implementations agree."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from service.model.cell import Array, Direction, Network, logits
from service.model.tokenizer import Batch
from training.network.bilstm import BiLSTM

# Of the largest logit, or of 1 where that is smaller. float32 sums of a few hundred terms, over a few hundred steps:
# measured about 1e-6.
PARITY_TOLERANCE = 1e-4


class ParityError(Exception):
    """The exported graph does not answer as the network does."""


def arrays(model: BiLSTM, temperature: float = 1.0) -> Network:
    """The network's weights in ONNX's layout, `temperature` folded into the last layer (Guo et al. 2017).

    The embeddings are stored as float16, half as large: `round_embedding` makes the network's own the same.
    """
    weights = {name: tensor.detach().float().cpu().numpy() for name, tensor in model.state_dict().items()}
    kernel, bias = weights["output.weight"].T / temperature, weights["output.bias"] / temperature
    head: dict[str, Array] = {}
    if model.head == "last":
        head = {"hidden_kernel": weights["hidden.weight"].T, "hidden_bias": weights["hidden.bias"]}
        if model.labels == 2:  # the single unit's logit stands against 0
            kernel, bias = np.hstack([np.zeros_like(kernel), kernel]), np.concatenate([[0.0], bias])
    head |= {"kernel": kernel, "bias": bias}
    return Network(
        weights["embedding.weight"].astype(np.float16),
        _direction(weights, "forward_lstm"),
        _direction(weights, "backward_lstm"),
        {name: np.ascontiguousarray(array, np.float32) for name, array in head.items()},
    )


def round_embedding(model: BiLSTM) -> None:
    """Rounds the embeddings to float16, as the graph stores them: an error of 1 in 2048 at most."""
    with torch.no_grad():
        model.embedding.weight.copy_(model.embedding.weight.half())


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
    state = {"embedding.weight": network.embedding.astype(np.float32)}
    for layer, direction in (("forward_lstm", network.forward), ("backward_lstm", network.backward)):
        back = (0, 2, 3, 1)
        state[f"{layer}.weight_ih_l0"] = _reorder(direction.weights, back)
        state[f"{layer}.weight_hh_l0"] = _reorder(direction.recurrence, back)
        state[f"{layer}.bias_ih_l0"] = _reorder(direction.bias, back)
        state[f"{layer}.bias_hh_l0"] = np.zeros_like(direction.bias)
    if model.head == "last":
        state |= {"hidden.weight": network.head["hidden_kernel"].T, "hidden.bias": network.head["hidden_bias"]}
    if with_output:
        units = len(model.output.bias)
        state |= {"output.weight": network.head["kernel"][:, -units:].T, "output.bias": network.head["bias"][-units:]}
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    model.load_state_dict(model.state_dict() | tensors)


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
    for chosen in shapes:
        lengths = np.clip(chosen, 1, max_tokens).astype(np.int32)
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
