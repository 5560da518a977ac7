"""The NB-weighted linear model of n-grams (Wang and Manning, 2012): the floor to beat, and a teacher.

Its probabilities for unlabelled reviews, and out of fold for the labelled ones, are softer and better targets for a
small network than the labels alone.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
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
_CHUNK = 5000


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
    model = make_pipeline(
        NaiveBayesWeights(), LogisticRegression(C=1.0, solver="liblinear", dual=True, max_iter=1000, random_state=0)
    )
    return model if labels == 2 else OneVsRestClassifier(model)


Documents = Callable[[NDArray[np.int64]], Iterable[Sequence[str]]]  # the tokens of the texts asked for, in order


@dataclass(frozen=True)
class Folds:
    """One model a fold, fitted without it, and a last one fitted on all labelled reviews."""

    vectorizer: CountVectorizer
    models: list[Pipeline]  # [FOLDS + 1]
    fold_of: NDArray[np.int64]  # [labelled] which model has not seen the review's label

    def judge(self, documents: Documents, texts: NDArray[np.int64], fold_of: NDArray[np.int64]) -> NDArray[np.float32]:
        """Probabilities [text, label] of `texts`, each by the model of its fold."""
        found = [np.zeros((0, len(self.models[0].classes_)), np.float32)]
        for start in range(0, len(texts), _CHUNK):  # the n-grams of all texts at once would fill memory
            features = self.vectorizer.transform(documents(texts[start : start + _CHUNK]))
            folds = fold_of[start : start + _CHUNK]
            part = np.zeros((len(folds), len(self.models[0].classes_)), np.float32)
            for fold in np.unique(folds):
                part[folds == fold] = self.models[fold].predict_proba(features[folds == fold])
            found.append(part)
        return np.concatenate(found)


def fit(documents: Documents, labelled: NDArray[np.int64], labels: NDArray[np.int32]) -> Folds:
    """Fits the teacher on the `labelled` reviews, whose labels are `labels` [labelled]."""
    count = int(labels.max()) + 1
    vectorizer = CountVectorizer(analyzer=ngrams, binary=True, min_df=2, dtype=np.float32)
    features = vectorizer.fit_transform(documents(labelled))
    models, fold_of = [], np.zeros(len(labelled), np.int64)
    # Not shuffled: reviews of one film stand together, and a fold that shares films with the rest reads too high.
    for fold, (fitted, judged) in enumerate(StratifiedKFold(FOLDS).split(features, labels)):
        models.append(classifier(count).fit(features[fitted], labels[fitted]))
        fold_of[judged] = fold
    return Folds(vectorizer, [*models, classifier(count).fit(features, labels)], fold_of)
