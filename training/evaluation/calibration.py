"""Whether a score can be taken at its word, and from which score on an answer can be trusted at a stated rate.

Everywhere `scores` [review] are probabilities of the likeliest label, `right` [review] whether it was the true one.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from training.evaluation.intervals import ONE_SIDED_95, wilson_interval

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

ECE_BINS = 15
# Answers that are not flagged as uncertain are right at least this often.
STATED_RATE = 0.95
_COVERAGE_POINTS = 100


def fit_temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """The temperature that makes `logits` [review, label] likeliest (Guo et al. 2017), between 0.05 and 20."""

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / math.exp(log_temperature), axis=1)
        return -float(log_probabilities[np.arange(len(labels)), labels].mean())

    return math.exp(minimize_scalar(loss, bounds=(math.log(0.05), math.log(20)), method="bounded").x)


def reliability(scores: Floats, right: Booleans, bins: int = ECE_BINS) -> list[tuple[int, float, float]]:
    """Reviews, mean score and share of right answers in each of up to `bins` bins of equal mass, by score."""
    parts = np.array_split(np.argsort(scores, kind="stable"), bins)
    return [(len(part), float(scores[part].mean()), float(right[part].mean())) for part in parts if len(part)]


def calibration_error(scores: Floats, right: Booleans, bins: int = ECE_BINS) -> float:
    """Expected calibration error over bins of equal mass (Naeini et al. 2015)."""
    return sum(n * abs(score - share) for n, score, share in reliability(scores, right, bins)) / len(scores)


def uncertain_below(scores: Floats, right: Booleans, rate: float = STATED_RATE) -> tuple[float, bool]:
    """The lowest score from which answers are right at `rate`, and whether these reviews are enough to show it.

    It is shown by the lower end of Wilson's one-sided 95 % interval. The share itself would be the estimate of a draw:
    as often below `rate` on other reviews as above. Where no score shows it (with fewer than 52 reviews for a rate of
    95 %, none can), scores are taken at their word: they average `rate` from there on.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, counts = scores[order], np.arange(1, len(order) + 1)
    last_of_equals = np.append(ordered[1:] < ordered[:-1], True)
    so_far = zip(np.cumsum(right[order]).tolist(), counts.tolist(), strict=True)
    bounds = np.array([wilson_interval(count, all_, ONE_SIDED_95)[0] for count, all_ in so_far])
    shown = np.flatnonzero(last_of_equals & (bounds >= rate))
    if len(shown):
        return float(ordered[shown[-1]]), True
    taken = np.flatnonzero(last_of_equals & (np.cumsum(ordered) / counts >= rate))
    return (float(ordered[taken[-1]]) if len(taken) else 1.0), False


def unflagged(right: Booleans, kept: Booleans) -> dict[str, Any]:
    """How many answers are not flagged as uncertain (`kept`, [review]), and how often they are right."""
    count, found = int(kept.sum()), int(right[kept].sum())
    share: dict[str, Any] = {"reviews": count, "share": count / len(right)}
    return share | ({"accuracy": found / count, "accuracy_interval_95": wilson_interval(found, count)} if count else {})


def coverage(scores: Floats, right: Booleans) -> list[tuple[float, float]]:
    """Share of the reviews, surest first, and accuracy on them, at up to a hundred shares."""
    order = np.argsort(-scores, kind="stable")
    accuracy = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    ends = np.unique(np.linspace(0, len(order), _COVERAGE_POINTS + 1).astype(int)[1:])
    return [(int(end) / len(order), float(accuracy[end - 1])) for end in ends if end]
