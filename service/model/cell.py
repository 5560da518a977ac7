"""The LSTM in plain NumPy, gate by gate: what the graph computes, readable; the oracle of the tests.

Equations of Hochreiter and Schmidhuber (1997) with the forget gate of Gers, Schmidhuber and Cummins (2000), in the
gate order and parameter layout of ONNX's LSTM operator: i, o, f, c stacked in `weights`, `recurrence` and `bias`.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# Odd 31-bit numbers: with token ids below 2^24 no sum of three products leaves int64.
MULTIPLIERS = (1_000_003, 998_244_353, 1_610_612_741)
TRIPLE = 12_345  # sets a triple apart from the pair whose third token has the id 0


@dataclass(frozen=True)
class Direction:
    """One direction's parameters."""

    weights: Array  # [4 * hidden, embedding]
    recurrence: Array  # [4 * hidden, hidden]
    bias: Array  # [4 * hidden], the input's and the recurrence's biases added


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
    ngrams: Array | None = None  # [bucket, label] weights of hashed pairs and triples of tokens, where there are any
    ngram_scale: float = 1.0  # what each of them is multiplied by, beside what the text's length makes of it
    # Up to here no n-gram counts, and the short reader has its full weight; from twice as many tokens on n-grams count
    # in full, and the short reader not at all.
    short_tokens: int = 0
    short: "Network | None" = None  # who reads short texts, where there is one; it has no n-grams, and the same bias
    short_weight: float = 1.0  # how much it counts up to `short_tokens`, from 0 to 1; the rest is this network's


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
        # What is kept of the old memory, and what is written into it.
        cell = trace.forget_gate[t] * cell + trace.input_gate[t] * trace.candidate[t]
        hidden = trace.output_gate[t] * np.tanh(cell)
        trace.cell[t], trace.hidden[t] = cell, hidden
    return trace


def traces(token_ids: NDArray[np.int32], network: Network) -> tuple[Trace, Trace]:
    """Both directions over one text's `token_ids` [time], of the reader that counts most in it."""
    if network.short and short_share(len(token_ids), network) > 0.5:
        network = network.short
    inputs = network.embedding[token_ids].astype(network.forward.weights.dtype)  # [time, embedding]
    return run(inputs, network.forward), run(inputs, network.backward, reverse=True)


def ngram_buckets(token_ids: NDArray[np.int32], buckets: int) -> list[NDArray[np.int64]]:
    """The buckets of a text's pairs, [time - 1], and triples, [time - 2], of neighbouring tokens: `token_ids` [time].

    The hashing trick (Weinberger et al. 2009): unlike n-grams may share a bucket, and no list of n-grams is kept.
    """
    first, second, third = (token_ids[at : len(token_ids) - 2 + at].astype(np.int64) for at in range(3))
    pairs = token_ids[:-1].astype(np.int64) * MULTIPLIERS[0] + token_ids[1:].astype(np.int64) * MULTIPLIERS[1]
    triples = first * MULTIPLIERS[0] + second * MULTIPLIERS[1] + third * MULTIPLIERS[2] + TRIPLE
    return [pairs % buckets, triples % buckets]


def long_share(tokens: int, short_tokens: int) -> float:
    """How much n-grams count in a text of `tokens`, from 0 to 1.

    They come in over as many tokens as are short; where none are short, they count in full at every length.
    """
    return min(max((tokens - short_tokens) / max(1, short_tokens), 0.0), 1.0)


def short_share(tokens: int, network: Network) -> float:
    """How much `network.short` counts in a text of `tokens`, from 0 to 1; the rest is the long reader's."""
    return network.short_weight * (1 - long_share(tokens, network.short_tokens))


def logits(token_ids: NDArray[np.int32], network: Network) -> tuple[Array, Array | None]:
    """One text's logits [label] and evidence [time, label]; None where the head gives no evidence."""
    if network.short:
        share = short_share(len(token_ids), network)
        found, evidence = logits(token_ids, replace(network, short=None))
        heard = token_ids[: 2 * network.short_tokens]  # of a longer text it has nothing to say
        answer, its_evidence = logits(heard, network.short)
        assert evidence is not None
        assert its_evidence is not None  # both pool
        evidence *= 1 - share
        evidence[: len(heard)] += share * its_evidence
        return (1 - share) * found + share * answer, evidence
    forward, backward = traces(token_ids, network)
    head = network.head
    if "hidden_kernel" in head:  # the last states through a hidden layer
        last = np.concatenate([forward.hidden[-1], backward.hidden[0]])  # [2 * hidden]
        dense = np.maximum(last @ head["hidden_kernel"] + head["hidden_bias"], 0)  # [dense]
        return dense @ head["kernel"] + head["bias"], None
    states = np.concatenate([forward.hidden, backward.hidden], axis=1)  # [time, 2 * hidden]
    won = states.argmax(axis=0) == np.arange(len(states))[:, None]  # [time, 2 * hidden] the step that won each unit
    shares = np.concatenate([np.where(won, states, 0), states / len(states)], axis=1)  # [time, 4 * hidden]
    evidence = shares @ head["kernel"]  # [time, label]
    if network.ngrams is not None:
        scale = network.ngram_scale / np.sqrt(len(states)) * long_share(len(states), network.short_tokens)
        for size, buckets in zip((2, 3), ngram_buckets(token_ids, len(network.ngrams)), strict=True):
            for at, weights in enumerate(network.ngrams[buckets] * (scale / size)):
                evidence[at : at + size] += weights  # each token of an n-gram bears an equal share
    return evidence.sum(axis=0) + head["bias"], evidence
