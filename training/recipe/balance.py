"""Rare labels count for more, so that a network answers them, too."""

import numpy as np

from training.data.corpus import Corpus
from training.data.split import TRAIN


def label_weights(corpus: Corpus) -> tuple[float, ...]:
    """What the loss of each label is multiplied by: inversely to its share of the training texts, 1 in their mean.

    King and Zeng (2001); scikit-learn's `class_weight="balanced"`. A network that learns so answers as if all labels
    were equally frequent: it finds more of the rare ones, and takes more of the others for them.
    """
    counts = np.bincount(corpus.labels[corpus.rows(TRAIN)], minlength=len(corpus.label_names))
    return tuple((counts.sum() / (len(counts) * counts)).tolist())
