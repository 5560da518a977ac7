"""Whether evidence names the tokens that an answer hangs on: they are removed, and the score is watched.

Removed are first the tokens that the evidence puts first, then as many at random, then those that cost the answer most
when each is removed alone (occlusion: one forward pass a token). The area over the curve is the mean fall of the
score over the shares removed: comprehensiveness, as DeYoung et al. 2020 (ERASER) average it.
"""

import math
from collections.abc import Sequence
from random import Random
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.classifier import Classifier, Prediction
from service.model.tokenizer import UNKNOWN, Encoded, TokenIds
from training.data.corpus import text_digest
from training.evaluation.evaluate import judge

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)  # of a text's tokens, at least one of them and never all

Order = NDArray[np.int64]  # [time] the places of a text's tokens, first to be removed first


def report(classifier: Classifier, texts: Sequence[str]) -> dict[str, Any] | None:
    """The deletion curves over `texts`; None where the bundle gives no evidence or no text has two tokens."""
    if not classifier.manifest.evidence:
        return None
    encoded = [classifier.tokenizer.encode(text, spans=True) for text in texts]
    chosen = [row for row, text in enumerate(encoded) if len(text.token_ids) > 1]
    encoded = [encoded[row] for row in chosen]
    if not encoded:
        return None
    began = perf_counter()
    answers = judge(classifier, encoded)
    by_evidence = [
        _falling([weight for _, _, weight in answer.evidence.tokens]) for answer in answers if answer.evidence
    ]
    evidence_seconds = perf_counter() - began
    by_chance = [_shuffled(texts[row], len(text.token_ids)) for row, text in zip(chosen, encoded, strict=True)]
    began = perf_counter()
    pairs = zip(encoded, answers, strict=True)
    by_occlusion = [_falling(_occluded(classifier, text.token_ids, answer)) for text, answer in pairs]
    occlusion_seconds = perf_counter() - began
    whole = np.array([answer.score for answer in answers])
    mean_tokens = float(np.mean([len(text.token_ids) for text in encoded]))
    orders = {
        "evidence": (by_evidence, 1.0, evidence_seconds),
        "random": (by_chance, 0.0, 0.0),
        "occlusion": (by_occlusion, mean_tokens + 1, occlusion_seconds),
    }
    found = {}
    for name, (order, forwards, seconds) in orders.items():
        left = _curve(classifier, encoded, answers, order)
        area = whole - left.mean(axis=1)
        half = 1.96 * float(area.std()) / math.sqrt(len(area))
        found[name] = {
            "area": float(area.mean()),
            "area_interval_95": (float(area.mean()) - half, float(area.mean()) + half),
            "score_left": left.mean(axis=0).tolist(),
            "forwards_a_text": forwards,
            "seconds_a_text": seconds / len(encoded),
        }
    return {"texts": len(encoded), "shares": SHARES, "score": float(whole.mean()), "orders": found}


def _falling(weights: Sequence[float]) -> Order:
    return np.argsort(-np.array(weights), kind="stable")


def _shuffled(text: str, count: int) -> Order:
    places = list(range(count))
    Random(text_digest(text)).shuffle(places)
    return np.array(places)


def _without(token_ids: TokenIds, places: Order) -> Encoded:
    """`token_ids` [time] without those at `places`."""
    kept = np.delete(token_ids, places)
    return Encoded(kept, len(kept), int((kept == UNKNOWN).sum()), None)


def _occluded(classifier: Classifier, token_ids: TokenIds, answer: Prediction) -> list[float]:
    """By how much the odds of `answer`, as a logarithm, fall without each token [time]."""
    alone = judge(classifier, [_without(token_ids, np.array([place])) for place in range(len(token_ids))])
    return [-_log_odds(without.probabilities[answer.label]) for without in alone]


def _log_odds(probability: float) -> float:
    return math.log(max(probability, 1e-300)) - math.log(max(1 - probability, 1e-300))


def _curve(
    classifier: Classifier, encoded: Sequence[Encoded], answers: Sequence[Prediction], orders: Sequence[Order]
) -> NDArray[np.float64]:
    """What is left of each answer's probability once each of SHARES is removed, [text, share]."""
    found = []
    for text, order in zip(encoded, orders, strict=True):
        count = len(order)
        found += [_without(text.token_ids, order[: min(count - 1, math.ceil(share * count))]) for share in SHARES]
    left = [found.probabilities for found in judge(classifier, found)]
    labels = [answer.label for answer in answers for _ in SHARES]
    scores = [probabilities[label] for probabilities, label in zip(left, labels, strict=True)]
    return np.array(scores).reshape(len(encoded), len(SHARES))
