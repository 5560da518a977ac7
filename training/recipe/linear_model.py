"""TF-IDF and logistic regression, as a careful user sets them: the floor for a network of few texts.

Settings chosen on product reviews of domains that the benchmark does not judge by.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import diags
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import normalize

from training.recipe.few_texts import FewTexts, Floats, Matrix, Rows

_STRENGTH = 30.0  # scikit-learn's C


def tf_idf(counted: Matrix, idf: Floats) -> Matrix:
    """Rows of length 1 of (1 + ln count) * idf: scikit-learn's TfidfVectorizer with sublinear_tf."""
    found = counted.copy()
    found.data = 1 + np.log(found.data)
    return normalize(found @ diags(idf))


def inverse_frequencies(counted: Matrix) -> Floats:
    """The smoothed idf [column] of scikit-learn's TfidfTransformer; 0 for columns that `counted` does not have."""
    having = np.bincount(counted.indices, minlength=counted.shape[1])
    idf: Floats = np.where(having > 0, np.log((1 + counted.shape[0]) / (1 + having)) + 1, 0.0)
    return idf


def classifier(label_count: int, strength: float = _STRENGTH, balance: bool = False) -> Any:
    """A logistic regression; more than two labels are each set against the rest. `balance`: rare ones count more."""
    weights = "balanced" if balance else None
    model = LogisticRegression(C=strength, solver="liblinear", random_state=0, class_weight=weights)
    return model if label_count == 2 else OneVsRestClassifier(model)


def judge(texts: FewTexts, fitted: Rows, judged: Rows, balance: bool = False) -> NDArray[np.float32]:
    """Probabilities [judged text, label] by a model of the `fitted` texts."""
    idf = inverse_frequencies(texts.grams[fitted])
    model = classifier(texts.label_count, balance=balance)
    model.fit(tf_idf(texts.grams[fitted], idf), texts.labels[fitted])
    return np.asarray(model.predict_proba(tf_idf(texts.grams[judged], idf)), np.float32)
