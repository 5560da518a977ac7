"""Offsets into a text in the units of its caller's language.

Everything inside counts code points, as Python does. JavaScript, Java and C# count UTF-16 units; Go, Rust and C count
bytes of UTF-8.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from service.model.classifier import Prediction

Unit = Literal["code_points", "utf16", "utf8"]

# From these code points on a character takes one unit more than those before.
_ONE_MORE = {"code_points": (), "utf16": (0x10000,), "utf8": (0x80, 0x800, 0x10000)}


def convert(prediction: Prediction, text: str, unit: Unit) -> Prediction:
    """`prediction`, made of `text`, with the offsets of its evidence and sentences in `unit`, not in code points.

    The time is linear in the length of `text`, and none where both count alike.
    """
    evidence, sentences = prediction.evidence, prediction.sentences
    if unit == "code_points" or text.isascii() or (evidence is None and sentences is None):
        return prediction
    code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    offsets = np.arange(len(text) + 1)  # [code point + 1] offset in `unit`
    for first in _ONE_MORE[unit]:
        offsets[1:] += np.cumsum(code_points >= first)

    def converted(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(start, end) for start, end in offsets[np.array(spans, int).reshape(-1, 2)].tolist()]

    if evidence is not None:
        spans = converted([token[:2] for token in evidence.tokens])
        tokens = [(*span, weight) for span, (_, _, weight) in zip(spans, evidence.tokens, strict=True)]
        evidence = evidence._replace(tokens=tokens)
    if sentences is not None:
        spans = converted([sentence[:2] for sentence in sentences])
        sentences = [
            sentence._replace(start=start, end=end) for sentence, (start, end) in zip(sentences, spans, strict=True)
        ]
    return prediction._replace(evidence=evidence, sentences=sentences)
