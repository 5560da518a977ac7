"""The network in plain NumPy, the LSTM gate by gate: a readable form of the graph, and the oracle of the tests.

Equations of Hochreiter and Schmidhuber (1997) with the forget gate of Gers, Schmidhuber and Cummins (2000), in the
gate order and parameter layout of ONNX's LSTM operator: i, o, f, c stacked in `weights`, `recurrence` and `bias`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Direction:
    """The LSTM's parameters of one direction."""

    weights: Array  # [4 * hidden, embedding]
    recurrence: Array  # [4 * hidden, hidden]
    bias: Array  # [4 * hidden], the sum of the input's and the recurrence's biases


@dataclass(frozen=True)
class Trace:
    """One direction's gates and states along a text; every array is [time, hidden], row t belongs to token t."""

    input_gate: Array
    output_gate: Array
    forget_gate: Array
    candidate: Array
    cell: Array
    hidden: Array


@dataclass(frozen=True)
class Network:
    """The whole network of a bundle, as arrays."""

    embedding: Array  # [vocabulary, embedding]
    forward: Direction
    backward: Direction
    head: dict[str, Array]  # pooled: kernel [4 * hidden, label], bias [label]; last states: see `logits`


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0, -x))


def run(inputs: Array, direction: Direction, reverse: bool = False) -> Trace:
    """Runs one direction over `inputs` [time, embedding]; with `reverse` from the last token to the first."""
    time, hidden_size = len(inputs), direction.recurrence.shape[1]
    trace = Trace(*(np.zeros((time, hidden_size), inputs.dtype) for _ in range(6)))
    hidden = cell = np.zeros(hidden_size, inputs.dtype)
    for t in reversed(range(time)) if reverse else range(time):
        gates = direction.weights @ inputs[t] + direction.recurrence @ hidden + direction.bias  # [4 * hidden]
        i, o, f, c = np.split(gates, 4)
        trace.input_gate[t], trace.output_gate[t], trace.forget_gate[t] = sigmoid(i), sigmoid(o), sigmoid(f)
        trace.candidate[t] = np.tanh(c)
        # The share of the old cell state that is kept, plus what is written into it.
        cell = trace.forget_gate[t] * cell + trace.input_gate[t] * trace.candidate[t]
        hidden = trace.output_gate[t] * np.tanh(cell)
        trace.cell[t], trace.hidden[t] = cell, hidden
    return trace


def traces(token_ids: NDArray[np.int32], network: Network) -> tuple[Trace, Trace]:
    """Both directions over a text's `token_ids` [time]."""
    inputs = _inputs(token_ids, network)
    return run(inputs, network.forward), run(inputs, network.backward, reverse=True)


def _inputs(token_ids: NDArray[np.int32], network: Network) -> Array:
    return network.embedding[token_ids].astype(network.forward.weights.dtype)  # [time, embedding]


def logits(token_ids: NDArray[np.int32], network: Network) -> tuple[Array, Array | None]:
    """Logits [label] and evidence [time, label] of a text's `token_ids` [time]; evidence is None without pooling."""
    forward, backward = traces(token_ids, network)
    head = network.head
    if "hidden_kernel" in head:  # a hidden layer over the last states, instead of pooling
        last = np.concatenate([forward.hidden[-1], backward.hidden[0]])  # [2 * hidden]
        dense = np.maximum(last @ head["hidden_kernel"] + head["hidden_bias"], 0)  # [dense]
        return dense @ head["kernel"] + head["bias"], None
    inputs = _inputs(token_ids, network)
    shares = [  # [2, time, hidden] each
        _shares(forward, _alone(inputs, network.forward), reverse=False),
        _shares(backward, _alone(inputs, network.backward), reverse=True),
    ]
    by_step = np.concatenate([part[pool] for pool in (0, 1) for part in shares], axis=1)  # [time, 4 * hidden]
    evidence = by_step @ head["kernel"]  # [time, label]
    states = np.concatenate([forward.hidden, backward.hidden], axis=1)  # [time, 2 * hidden]
    pooled = np.concatenate([states.max(axis=0), states.mean(axis=0)])  # [4 * hidden]
    return pooled @ head["kernel"] + head["bias"], evidence


def _alone(inputs: Array, direction: Direction) -> Array:
    """What each token would write into the cell with nothing before it, [time, hidden]."""
    i, _, _, c = np.split(inputs @ direction.weights.T + direction.bias, 4, axis=1)
    return np.asarray(sigmoid(i) * np.tanh(c))


def _shares(trace: Trace, alone: Array, reverse: bool) -> Array:
    """Each token's part of the maximum and of the mean of the states, [2, time, hidden]; over time they sum to these.

    A cell is a sum over steps: of what was written at each, times the forget gates since (Murdoch and Szlam 2017,
    "Automatic Rule Extraction from Long Short Term Memory Networks"). A state is a share of its cell, `open_`, and so
    of each of these parts. Of what was written at a step the token gets what it would have written `alone`; what
    those read before it made of that goes to the one read just before, in `reverse` the next of the text.
    """
    time = len(trace.cell)
    is_max = trace.hidden.argmax(axis=0) == np.arange(time)[:, None]  # [time, hidden]: the first of equals
    written = trace.input_gate * trace.candidate
    open_ = np.clip(np.divide(trace.hidden, trace.cell, out=np.zeros_like(trace.cell), where=trace.cell != 0), 0, 1)
    reads = np.stack([np.where(is_max, open_, 0), open_ / time])  # [2, time, hidden]
    read, later = np.zeros_like(reads), np.zeros_like(reads[:, 0])
    for t in range(time) if reverse else reversed(range(time)):  # against the direction in which the LSTM ran
        read[:, t] = reads[:, t] + later
        later = read[:, t] * trace.forget_gate[t]
    shares, by_others = read * alone, read * (written - alone)  # nothing is before the first token
    if reverse:
        shares[:, 1:] += by_others[:, :-1]
    else:
        shares[:, :-1] += by_others[:, 1:]
    return shares
