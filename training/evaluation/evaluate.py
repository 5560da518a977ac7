"""What a bundle is worth on labelled reviews, measured through the classifier that serves it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, f1_score, log_loss, roc_auc_score

from service.model.bundle import Histogram, Reference
from service.model.classifier import Classifier, Prediction
from service.model.tokenizer import Encoded
from training.data.corpus import Labelled
from training.evaluation import by_label
from training.evaluation.calibration import Booleans, Floats, calibration_error, coverage, reliability, unflagged
from training.evaluation.intervals import wilson_interval

LENGTH_BUCKETS = (100, 200, 400)  # tokens
_WINDOW_ROWS, _BATCH_ROWS = 256, 4


@dataclass(frozen=True)
class Answers:
    """A classifier's answers to labelled reviews; every array has one row a review."""

    probabilities: Floats  # [review, label]
    labels: NDArray[np.int64]  # [review]
    ratings: NDArray[np.int64]  # [review] stars, 0 where there are none
    tokens: NDArray[np.int64]  # [review]
    unknown_share: Floats  # [review]
    sources: NDArray[np.str_]  # [review] the data set that each is from, or its domain

    @property
    def right(self) -> NDArray[np.bool_]:
        """[review] whether the likeliest label is the true one."""
        right: NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.labels
        return right

    @property
    def score(self) -> Floats:
        """[review] probability of the likeliest label."""
        score: Floats = self.probabilities.max(axis=1)
        return score

    @property
    def kinds(self) -> list[str]:
        """The data sets, without their domains, in the order in which they come."""
        return list(dict.fromkeys(map(kind_of, self.sources.tolist())))

    def of(self, source: str) -> "Answers":
        """The answers to the reviews of one data set or of one of its domains, "set: domain"."""
        rows = (self.sources == source) | np.char.startswith(self.sources, f"{source}: ")
        return Answers(*(array[rows] for array in vars(self).values()))

    def kept(self, uncertain_below: float) -> Booleans:
        """[review] whether the service does not flag the answer as uncertain."""
        kept: Booleans = (self.score >= uncertain_below) & (self.unknown_share < 1)
        return kept


def kind_of(source: str) -> str:
    """The data set of a source, which may be one of its domains, "set: domain"."""
    return source.split(": ")[0]


def judge(classifier: Classifier, encoded: Sequence[Encoded]) -> list[Prediction]:
    """What the service answers to each of `encoded` texts; no answer depends on how they are batched here."""
    found: dict[int, Prediction] = {}
    # Padded steps cost as much as real ones: texts of like length run together.
    order = sorted(range(len(encoded)), key=lambda row: len(encoded[row].token_ids))
    for start in range(0, len(order), _BATCH_ROWS):
        rows = order[start : start + _BATCH_ROWS]
        found |= zip(rows, classifier.predict([encoded[row] for row in rows]), strict=True)
    return [found[row] for row in range(len(encoded))]


def ask(classifier: Classifier, reviews: Iterable[Labelled]) -> Answers:
    """The service's answers to `reviews`, read as a stream."""
    rows, stream = [], iter(reviews)
    while part := list(islice(stream, _WINDOW_ROWS)):
        encoded = [classifier.tokenizer.encode(review.text) for review in part]
        for review, found in zip(part, judge(classifier, encoded), strict=True):
            probabilities = [found.probabilities[name] for name in classifier.manifest.labels]
            rows.append((probabilities, review.label, review.rating, found.tokens, found.unknown_share, review.source))
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return Answers(*columns)


def report(answers: Answers, label_names: Sequence[str], temperature: float, uncertain_below: float) -> dict[str, Any]:
    """Accuracy, by label too, and calibration. `temperature` is what the bundle has folded in, to tell how it was."""
    labels, probabilities = answers.labels, answers.probabilities
    names = np.arange(probabilities.shape[1])
    right = int(answers.right.sum())
    before = softmax(np.log(np.maximum(probabilities, 1e-300)) * temperature, axis=1)
    scores = probabilities[:, 1] if len(names) == 2 else probabilities
    every_label = len(np.unique(labels)) == len(names)
    return {
        "reviews": len(labels),
        "accuracy": right / len(labels),
        "accuracy_interval_95": wilson_interval(right, len(labels)),
        # Undefined where a label has no review.
        "auroc": float(roc_auc_score(labels, scores, multi_class="ovr")) if every_label else None,
        "f1_macro": float(
            f1_score(labels, probabilities.argmax(axis=1), average="macro", labels=names, zero_division=0)
        ),
        "brier": float(brier_score_loss(labels, _proper(scores), labels=names)),
        "negative_log_likelihood": float(log_loss(labels, _proper(probabilities), labels=names)),
        "expected_calibration_error": calibration_error(answers.score, answers.right),
        "expected_calibration_error_before_temperature": calibration_error(before.max(axis=1), answers.right),
        "unflagged": unflagged(answers.right, answers.kept(uncertain_below)),
        "by_label": by_label.report(probabilities, labels, label_names),
        "by_length": _by_length(answers),
        "by_rating": {
            str(rating): share(answers.right[answers.ratings == rating])
            for rating in np.unique(answers.ratings[answers.ratings > 0])
        },
        "by_source": _by_source(answers, uncertain_below),
        "reliability": reliability(answers.score, answers.right),
        "coverage": coverage(answers.score, answers.right),
    }


def _by_source(answers: Answers, uncertain_below: float) -> dict[str, dict[str, Any]]:
    """The figures of each data set, and of each of its domains; empty where there is one data set without domains."""
    names = list(dict.fromkeys([*answers.kinds, *answers.sources.tolist()]))
    if len(names) < 2:
        return {}
    found = {}
    for name in names:
        of = answers.of(name)
        right, count = int(of.right.sum()), len(of.labels)
        found[name] = {
            "reviews": count,
            "accuracy": right / count,
            "accuracy_interval_95": wilson_interval(right, count),
            "expected_calibration_error": calibration_error(of.score, of.right),
            "unflagged": unflagged(of.right, of.kept(uncertain_below)),
        }
    return found


def _proper(probabilities: Floats) -> Floats:
    """Rows that sum to 1 to the last bit that scikit-learn checks."""
    return probabilities if probabilities.ndim == 1 else probabilities / probabilities.sum(axis=1, keepdims=True)


def _by_length(answers: Answers) -> dict[str, dict[str, float]]:
    found = {}
    for low, high in zip((0, *LENGTH_BUCKETS), (*LENGTH_BUCKETS, None), strict=True):
        chosen = (answers.tokens > low) & (answers.tokens <= (high or np.inf))
        name = f"{low + 1} to {high} tokens" if high else f"over {low} tokens"
        found[name] = share(answers.right[chosen])
    return found


def share(right: NDArray[np.bool_]) -> dict[str, float]:
    """How many reviews there are, and the accuracy on them where there are any."""
    return {"reviews": len(right), "accuracy": float(right.mean())} if len(right) else {"reviews": 0}


def reference(answers: Answers) -> Reference:
    """How these reviews look through the model, for the service to compare its own against."""
    return Reference(
        score=_histogram(answers.score, np.linspace(0, 1, 21)),
        tokens=_histogram(answers.tokens, np.array([1, *(2**power for power in range(2, 17))])),
        unknown_share=_histogram(answers.unknown_share, np.array([0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1])),
    )


def _histogram(values: NDArray[Any], edges: NDArray[Any]) -> Histogram:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return Histogram(edges=tuple(map(float, edges)), counts=tuple(map(int, counts)))
