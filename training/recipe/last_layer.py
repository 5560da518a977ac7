"""A last layer for few labelled texts, over what a network that has read other texts pools and over word units.

No epochs: two logistic regressions, a fraction of a second for some hundred texts.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from training.network.bilstm import BiLSTM
from training.recipe import word_units, word_weights
from training.recipe.few_texts import FewTexts, Floats
from training.recipe.word_weights import WordWeights

# scikit-learn's C. Fixed, since accuracy hardly moves between 0.001 and 0.005 and a choice by folds is mostly chance.
_STRENGTH = 0.002
# What features are enlarged by, so that their weights are penalised less: those of the old logits hardly at all, so
# that a hundred texts do not unlearn what the network was good at.
_OLD_LOGITS, _WORDS = 30.0, 9.5


@dataclass(frozen=True)
class LastLayer:
    """A logistic regression over scaled features, and the word weights that it reads."""

    words: WordWeights
    scale: Floats  # [feature] what each feature is multiplied by
    layer: LogisticRegression

    def logits(self, texts: FewTexts) -> Floats:
        """[text, label]"""
        kernel, bias = self.weights()
        logits: Floats = np.hstack([texts.pooled, self.words.features(texts.counted)]) @ kernel + bias
        return logits

    def weights(self) -> tuple[Floats, Floats]:
        """Kernel [feature, label] and bias [label] for features that are not scaled."""
        kernel, bias = self.layer.coef_.T * self.scale[:, None], self.layer.intercept_
        if kernel.shape[1] == 1:  # of two labels: one logit against the other
            kernel, bias = np.hstack([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
        return kernel, bias

    def network(self, base: BiLSTM | None, vocabulary_size: int) -> BiLSTM:
        """`base`, or no network, with this last layer and its word units."""
        kernel, bias = self.weights()
        if base is not None:  # its logits are a linear map of what it pools: they become part of that map
            old = base.output.weight.detach().double().numpy().T  # [4 * hidden, old label]
            pooled, logits, words = np.split(kernel, [len(old), len(old) + old.shape[1]])
            kernel = np.concatenate([pooled + old @ logits, words])
            bias = bias + base.output.bias.detach().double().numpy() @ logits
        return word_units.widened(base, vocabulary_size, self.words.weights, kernel, bias)


def fit(texts: FewTexts, seed: int, balance: bool = False) -> LastLayer:
    """Fits word weights and last layer; with `balance` the last layer's loss of each label is weighted by its rarity.

    The last layer learns from word weights that have not seen the text's label (stacking), else it would trust them too
    much.
    """
    folds, labels = list(texts.folds(seed)), texts.labels
    parts = [word_weights.fit(texts.counted[fitted], labels[fitted], texts.label_count) for fitted, _ in folds]
    unseen = np.zeros((len(labels), parts[0].weights.shape[1]))
    for (_, judged), words in zip(folds, parts, strict=True):
        unseen[judged] = words.features(texts.counted[judged])
    features = np.hstack([texts.pooled, unseen])
    scale = 1 / features.std(axis=0).clip(1e-6)
    words_from = texts.pooled.shape[1]
    scale[words_from - texts.logit_columns : words_from] *= _OLD_LOGITS
    scale[words_from:] *= _WORDS
    # Word weights of all texts have other means on new texts than those of four folds, from which the last layer learns
    # its bias. Where rare labels count for more this moves many answers, so the network carries the mean of the folds'.
    mean = WordWeights(np.mean([part.weights for part in parts], axis=0))
    words = mean if balance else word_weights.fit(texts.counted, labels, texts.label_count)
    # Newton's method, since there are hundreds of features and few texts: some steps, each a small linear system.
    weights = "balanced" if balance else None
    layer = LogisticRegression(C=_STRENGTH, solver="newton-cholesky", class_weight=weights)
    return LastLayer(words, scale, layer.fit(features * scale, labels))
