"""A bundle of some kilobytes: random weights, ten words, and golden answers that NumPy gives."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from service.model import cell
from service.model.bundle import Golden, Histogram, Manifest, Reference
from service.model.cell import Direction, Network
from service.model.tokenizer import SPECIAL, Tokenizer

VOCABULARY = (*SPECIAL, "a", "good", "bad", "film", "not", "one", "!", ",", ".", "don't")
GOLDEN = ("a good film!", "not good, a bad one", "Good " * 12)
TOLERANCE = 1e-3


def tokenizer() -> Tokenizer:
    """Reads VOCABULARY by the rules of today."""
    return Tokenizer(VOCABULARY, 400, "head-and-tail", "words-and-marks-2")


def network(head: Literal["pooled", "last"] = "pooled", labels: int = 2) -> Network:
    """Random weights, always the same, of embeddings and states of different sizes."""
    random, embedding, hidden, dense = np.random.default_rng(1), 3, 2, 4

    def floats(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return random.normal(size=shape).astype(np.float32)

    forward, backward = (
        Direction(floats(4 * hidden, embedding), floats(4 * hidden, hidden), floats(4 * hidden)) for _ in range(2)
    )
    weights = {"kernel": floats(4 * hidden, labels), "bias": floats(labels)}
    if head == "last":
        weights |= {"hidden_kernel": floats(2 * hidden, dense), "hidden_bias": floats(dense)}
        weights["kernel"] = floats(dense, labels)
    return Network(floats(len(VOCABULARY), embedding).astype(np.float16), forward, backward, weights)


def logits(network: Network, tokenizer: Tokenizer) -> list[list[float]]:
    """Those of the golden texts, [text, label]."""
    return [cell.logits(tokenizer.encode(text).token_ids, network)[0].tolist() for text in GOLDEN]


def manifest(tokenizer: Tokenizer, logits: Sequence[Sequence[float]], bias: Sequence[float] | None) -> Manifest:
    """Of a network that answers the golden texts with `logits`, [text, label]; with evidence where it has a `bias`."""
    bins = Histogram(edges=(0.0, 0.5, 1.0), counts=(1, 2))
    return Manifest(
        name="small",
        version="1",
        created=datetime(2020, 1, 1, tzinfo=UTC),
        labels=tuple(f"label{place}" for place in range(len(logits[0]))),
        max_tokens=tokenizer.max_tokens,
        truncation=tokenizer.truncation,
        rules=tokenizer.rules,
        evidence=bias is not None,
        bias=None if bias is None else tuple(bias),
        temperature=1.0,
        uncertain_below=0.6,
        golden=tuple(Golden(text=text, logits=tuple(of)) for text, of in zip(GOLDEN, logits, strict=True)),
        tolerance={"cpu/fp32": TOLERANCE},
        reference=Reference(score=bins, tokens=bins, unknown_share=bins),
        metrics={},
        training={},
    )
