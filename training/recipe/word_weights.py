"""A linear model of single words, whose weights the network can carry: see `word_units`."""

from dataclasses import dataclass

import numpy as np

from training.recipe.few_texts import Floats, Matrix, Rows
from training.recipe.linear_model import classifier, inverse_frequencies, tf_idf

_STRENGTH = 10.0  # scikit-learn's C


@dataclass(frozen=True)
class WordWeights:
    """What each word says for each column; a column is a label, or of two labels the second."""

    weights: Floats  # [token, column], at most 1/2 in size; 0 for tokens that the texts it learned from do not have

    def features(self, counted: Matrix) -> Floats:
        """Of each text the mean weight of its tokens, the largest, and the largest of the opposite: [text, 3 * column].

        This is what the network pools of its word units.
        """
        means = counted @ self.weights / np.asarray(counted.sum(axis=1)).reshape(-1, 1)
        of_token, first = self.weights[counted.indices], counted.indptr[:-1]
        largest, least = np.maximum.reduceat(of_token, first), np.minimum.reduceat(of_token, first)
        return np.hstack([means, largest, -least])


def fit(counted: Matrix, labels: Rows, label_count: int) -> WordWeights:
    """One logistic regression a column over the TF-IDF of `counted` [text, token]; `labels` [text]."""
    idf = inverse_frequencies(counted)
    features = tf_idf(counted, idf)
    columns = [1] if label_count == 2 else range(label_count)
    models = [classifier(2, _STRENGTH).fit(features, labels == column) for column in columns]
    weights = np.stack([model.coef_[0] * idf for model in models], axis=1)
    return WordWeights(weights / (2 * np.abs(weights).max(axis=0)).clip(1e-9))
