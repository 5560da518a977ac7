"""The negation probe: pairs of sentences in which a negation or a contrast decides, not the loudest word.

The sets stand in `probes/`, a pair a line: the pattern, the template, and its two halves under the labels that a
reader gives them. They were written for this project, and frozen before any training on such patterns: nothing is
trained on their templates or words. `negation-held-out.tsv` shares neither with `negation.tsv`, and is read once for a
model, with the test split.
"""

import csv
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.model.classifier import Classifier
from training.evaluation.evaluate import judge
from training.evaluation.intervals import wilson_interval

SETS = {"validation": "negation.tsv", "test": "negation-held-out.tsv"}
_LABELS = ("positive", "negative")


class Pair(NamedTuple):
    """Two sentences of one template, one plainly positive and one plainly negative."""

    pattern: str
    template: str
    positive: str
    negative: str


def read(name: str) -> list[Pair]:
    """The pairs of the set in the file `name`."""
    text = files("training.evaluation").joinpath("probes", name).read_text(encoding="utf-8")
    return [Pair(**row) for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)]


def report(classifier: Classifier, pairs: Sequence[Pair]) -> dict[str, Any] | None:
    """How often both halves of a pair are judged right, in all and by pattern; None where the labels are others."""
    if not set(_LABELS) <= set(classifier.manifest.labels):
        return None
    halves = [classifier.tokenizer.encode(half) for pair in pairs for half in (pair.positive, pair.negative)]
    labels = [prediction.label for prediction in judge(classifier, halves)]
    right = np.array(labels).reshape(-1, 2) == _LABELS  # [pair, half]
    patterns = np.array([pair.pattern for pair in pairs])
    low, high = wilson_interval(int(right.all(axis=1).sum()), len(pairs))
    return {
        **_shares(right),
        "both_right_interval_95": (low, high),
        "by_pattern": {name: _shares(right[patterns == name]) for name in dict.fromkeys(patterns.tolist())},
    }


def _shares(right: NDArray[np.bool_]) -> dict[str, float]:
    """`right` is [pair, half]."""
    return {"pairs": len(right), "both_right": float(right.all(axis=1).mean()), "halves_right": float(right.mean())}
