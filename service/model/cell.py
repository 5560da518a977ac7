"""The network in plain NumPy, the LSTM gate by gate: a readable form of the graph, and the oracle of the tests.

Equations of Hochreiter and Schmidhuber (1997) with the forget gate of Gers, Schmidhuber and Cummins (2000), in the
gate order and parameter layout of ONNX's LSTM operator: i, o, f, c stacked in `weights`, `recurrence` and `bias`.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# Odd numbers below 2^31: with token ids below 2^24 no sum of three products overflows int64.
MULTIPLIERS = (1_000_003, 998_244_353, 1_610_612_741)
TRIPLE = 12_345  # added to triples, since (a, b, 0) would otherwise always share the bucket of the pair (a, b)


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
    ngrams: Array | None = None  # [bucket, label] weights of hashed pairs and triples of tokens, where there are any
    ngram_scale: float = 1.0  # a factor on `ngrams`, beside those that depend on the text's length
    # Up to `short_tokens` tokens n-grams have weight 0 and `short` has weight `short_weight`; from twice as many tokens
    # on n-grams have weight 1 and `short` has weight 0; in between the weights change linearly.
    short_tokens: int = 0
    short: "Network | None" = None  # the short reader: a second network for short texts, without n-grams, of equal bias
    short_weight: float = 1.0  # from 0 to 1; this network has the remaining weight


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
    """Both directions over a text's `token_ids` [time], by `network` or its short reader, whichever has more weight."""
    if network.short and short_share(len(token_ids), network) > 0.5:
        network = network.short
    inputs = network.embedding[token_ids].astype(network.forward.weights.dtype)  # [time, embedding]
    return run(inputs, network.forward), run(inputs, network.backward, reverse=True)


def ngram_buckets(token_ids: NDArray[np.int32], buckets: int) -> list[NDArray[np.int64]]:
    """The buckets of the pairs [time - 1] and of the triples [time - 2] of neighbouring tokens in `token_ids` [time].

    The hashing trick (Weinberger et al. 2009): no list of n-grams is stored, and different n-grams may share a bucket.
    """
    first, second, third = (token_ids[at : len(token_ids) - 2 + at].astype(np.int64) for at in range(3))
    pairs = token_ids[:-1].astype(np.int64) * MULTIPLIERS[0] + token_ids[1:].astype(np.int64) * MULTIPLIERS[1]
    triples = first * MULTIPLIERS[0] + second * MULTIPLIERS[1] + third * MULTIPLIERS[2] + TRIPLE
    return [pairs % buckets, triples % buckets]


def long_share(tokens: int, short_tokens: int) -> float:
    """The weight of n-grams in a text of `tokens` tokens, from 0 to 1.

    It is 0 up to `short_tokens` and rises linearly to 1 at twice as many; if `short_tokens` is 0, it is always 1.
    """
    return min(max((tokens - short_tokens) / max(1, short_tokens), 0.0), 1.0)


def short_share(tokens: int, network: Network) -> float:
    """The weight of `network.short` in a text of `tokens` tokens, from 0 to 1; `network` has the remaining weight."""
    return network.short_weight * (1 - long_share(tokens, network.short_tokens))


def logits(token_ids: NDArray[np.int32], network: Network) -> tuple[Array, Array | None]:
    """Logits [label] and evidence [time, label] of a text's `token_ids` [time]; evidence is None without pooling."""
    if network.short:
        share = short_share(len(token_ids), network)
        long_logits, evidence = logits(token_ids, replace(network, short=None))
        start = token_ids[: 2 * network.short_tokens]  # in longer texts the weight of `short` is 0
        short_logits, short_evidence = logits(start, network.short)
        assert evidence is not None
        assert short_evidence is not None  # both networks pool
        evidence *= 1 - share
        evidence[: len(start)] += share * short_evidence
        return (1 - share) * long_logits + share * short_logits, evidence
    forward, backward = traces(token_ids, network)
    head = network.head
    if "hidden_kernel" in head:  # a hidden layer over the last states, instead of pooling
        last = np.concatenate([forward.hidden[-1], backward.hidden[0]])  # [2 * hidden]
        dense = np.maximum(last @ head["hidden_kernel"] + head["hidden_bias"], 0)  # [dense]
        return dense @ head["kernel"] + head["bias"], None
    states = np.concatenate([forward.hidden, backward.hidden], axis=1)  # [time, 2 * hidden]
    is_max = states.argmax(axis=0) == np.arange(len(states))[:, None]  # [time, 2 * hidden] true at each unit's maximum
    shares = np.concatenate([np.where(is_max, states, 0), states / len(states)], axis=1)  # [time, 4 * hidden]
    evidence = shares @ head["kernel"]  # [time, label]; the sum of `shares` over time is the pooled vector
    if network.ngrams is not None:
        scale = network.ngram_scale / np.sqrt(len(states)) * long_share(len(states), network.short_tokens)
        for size, buckets in zip((2, 3), ngram_buckets(token_ids, len(network.ngrams)), strict=True):
            for at, weights in enumerate(network.ngrams[buckets] * (scale / size)):
                evidence[at : at + size] += weights  # the same share for each token of an n-gram
    return evidence.sum(axis=0) + head["bias"], evidence
