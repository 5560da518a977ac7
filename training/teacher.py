"""The NB-weighted linear model of n-grams (Wang and Manning, 2012): the floor to beat, and a teacher.

Its probabilities for unlabelled reviews, and out of fold for the labelled ones, are softer and better targets for a
small network than the labels alone.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline

Matrix = Any  # a scipy.sparse.csr_matrix, [review, feature]
FOLDS = 5


class NaiveBayesWeights(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """Scales each binary feature by its log-count ratio between the two classes, add-one smoothed."""

    def fit(self, features: Matrix, labels: NDArray[np.int32]) -> "NaiveBayesWeights":
        """`features` [review, feature], `labels` 0 or 1, [review]."""
        counts = [np.asarray(features[labels == side].sum(axis=0)).ravel() + 1.0 for side in (0, 1)]
        self.ratio_ = np.log((counts[1] / counts[1].sum()) / (counts[0] / counts[0].sum())).astype(np.float32)
        return self

    def transform(self, features: Matrix) -> Matrix:
        """[review, feature] -> [review, feature]."""
        return features.multiply(self.ratio_).tocsr()


def ngrams(tokens: Sequence[str]) -> list[str]:
    """All runs of one to three tokens."""
    tokens = list(tokens)
    pairs = [f"{a} {b}" for a, b in itertools.pairwise(tokens)]
    return tokens + pairs + [f"{ab} {c}" for ab, c in zip(pairs, tokens[2:], strict=False)]


def classifier(labels: int) -> Pipeline:
    """The plain pipeline over counted n-grams; more than two labels are each set against the rest."""
    model = make_pipeline(NaiveBayesWeights(), LogisticRegression(C=1.0, solver="liblinear", dual=True, max_iter=1000))
    return model if labels == 2 else OneVsRestClassifier(model)


def soft_labels(
    documents: Callable[[NDArray[np.int64]], Iterable[Sequence[str]]],
    labelled: NDArray[np.int64],
    labels: NDArray[np.int32],
    others: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities [labelled, label] out of fold, and [others, label] from all labelled reviews.

    `documents` gives the tokens of reviews by row; `labels` are those of the `labelled` rows. No review's own label
    has been seen by the model that judges it.
    """
    count = int(labels.max()) + 1
    vectorizer = CountVectorizer(analyzer=ngrams, binary=True, min_df=2, dtype=np.float32)
    features = vectorizer.fit_transform(documents(labelled))
    out_of_fold = np.zeros((len(labelled), count), np.float32)
    # Not shuffled: reviews of one film stand together, and a fold that shares films with the rest reads too high.
    for fitted, judged in StratifiedKFold(FOLDS).split(features, labels):
        model = classifier(count).fit(features[fitted], labels[fitted])
        out_of_fold[judged] = model.predict_proba(features[judged])
    whole = classifier(count).fit(features, labels)
    rest = np.zeros((len(others), count), np.float32)
    for start in range(0, len(others), 5000):  # the n-grams of all the unlabelled reviews at once would fill memory
        part = others[start : start + 5000]
        rest[start : start + 5000] = whole.predict_proba(vectorizer.transform(documents(part)))
    return out_of_fold, rest
