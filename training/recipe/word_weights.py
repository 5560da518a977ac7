"""Linear models of single words, whose weights the network can carry: see `word_units`."""

from dataclasses import dataclass

import numpy as np

from training.recipe.few_texts import Floats, Matrix, Rows
from training.recipe.linear_model import classifier, inverse_frequencies, tf_idf

_STRENGTH = 3.0  # scikit-learn's C
_SMOOTHING = 0.5  # added to each count of texts


@dataclass(frozen=True)
class WordWeights:
    """What each word says for each column."""

    weights: Floats  # [token, column], at most 1/2 in size; 0 for tokens that the texts it learned from do not have

    def features(self, counted: Matrix) -> Floats:
        """The mean weight of each text's tokens, [text, column], as the network pools its word units.

        The strongest word is left to the mean: two tokens that are equally strong would take turns as the maximum, by
        the last bit, and evidence would jump between them.
        """
        means: Floats = counted @ self.weights / np.asarray(counted.sum(axis=1)).reshape(-1, 1)
        return means


def fit(counted: Matrix, labels: Rows, label_count: int) -> WordWeights:
    """Two columns for each label (of two labels, for the second): a logistic regression over the TF-IDF of `counted`
    [text, token], and the log-count ratios of naive Bayes (Wang and Manning 2012); `labels` [text]."""
    idf = inverse_frequencies(counted)
    features = tf_idf(counted, idf)
    weights = []
    for label in [1] if label_count == 2 else range(label_count):
        right = labels == label
        weights.append(classifier(2, _STRENGTH).fit(features, right).coef_[0] * idf)
        having = [
            np.bincount(counted[side].indices, minlength=counted.shape[1]) + _SMOOTHING for side in (right, ~right)
        ]
        ratios = np.log(having[0] / having[0].sum()) - np.log(having[1] / having[1].sum())
        weights.append(np.where(idf > 0, ratios, 0.0))
    stacked = np.stack(weights, axis=1)
    return WordWeights(stacked / (2 * np.abs(stacked).max(axis=0)).clip(1e-9))
