"""Offsets into a text in the units of its caller's language.

Everything inside counts code points, as Python does. JavaScript, Java and C# count UTF-16 units; Go, Rust and C count
bytes of UTF-8.
"""

from array import array
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from service.model.classifier import Prediction

Unit = Literal["code_points", "utf16", "utf8"]

# From these code points on a character takes one unit more than those before.
_ONE_MORE = {"code_points": (), "utf16": (0x10000,), "utf8": (0x80, 0x800, 0x10000)}


def table(text: str, unit: Unit) -> NDArray[np.int32]:
    """The offset in `unit` of each code point of `text`, and of its end: [code point + 1]."""
    code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    offsets = np.arange(len(text) + 1, dtype=np.int32)
    for first in _ONE_MORE[unit]:
        offsets[1:] += np.cumsum(code_points >= first, dtype=np.int32)
    return offsets


def convert(prediction: Prediction, text: str, unit: Unit) -> Prediction:
    """`prediction`, made of `text`, with the offsets of its evidence and sentences in `unit`, not in code points.

    The time is linear in the length of `text`, and none where both count alike.
    """
    evidence, sentences = prediction.evidence, prediction.sentences
    if unit == "code_points" or text.isascii() or (evidence is None and sentences is None):
        return prediction
    offsets = table(text, unit)
    if evidence is not None:
        starts, ends = (array("i", offsets[np.asarray(side)].tobytes()) for side in (evidence.starts, evidence.ends))
        evidence = evidence._replace(starts=starts, ends=ends)
    if sentences is not None:
        sentences = [
            sentence._replace(start=offsets[sentence.start].item(), end=offsets[sentence.end].item())
            for sentence in sentences
        ]
    return prediction._replace(evidence=evidence, sentences=sentences)
