"""What a fitted encoder knows of single words: the words themselves, and embeddings to start from.

As model2vec makes static embeddings: every word is read alone, and the mean of its last states is reduced to the
directions in which they spread most.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.recipe.encoder_network import Teacher, read_pieces

_BATCH = 512  # words
_DEVIATION = 0.1  # of the embeddings' numbers: about what a network ends with that starts at random


def common_words(tokenizer: Any) -> list[str]:
    """The encoder's own whole words of ASCII letters, in its order, which is that of their frequency."""
    pieces = tokenizer.get_vocab()
    return [p for p in sorted(pieces, key=pieces.get) if p.isascii() and p.isalpha() and p.islower() and len(p) > 1]


def embeddings(
    teacher: Teacher, tokenizer: Any, words: Sequence[str], counts: NDArray[np.int64], size: int, device: torch.device
) -> Tensor:
    """Embeddings float32 [word, size]; `counts` [word] says how often each stands in the texts."""
    pieces = read_pieces(words, tokenizer)
    order = np.argsort(pieces.lengths, kind="stable")
    means = np.zeros((len(words), teacher.head.in_features), np.float32)
    teacher.to(device).eval()
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            rows = order[start : start + _BATCH]
            means[rows] = teacher.mean(*pieces.batch(rows, device)).cpu().numpy()
    return torch.from_numpy(reduced(means, counts, size))


def reduced(means: NDArray[np.float32], counts: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """The `size` directions [word, size] in which `means` [word, wider] spread most, about their weighted mean.

    A word weighs as the root of how often it stands in the texts.
    """
    weights = np.sqrt(counts + 1.0)
    centred = means - np.average(means, axis=0, weights=weights)
    weighed = centred * np.sqrt(weights)[:, None]
    _, directions = np.linalg.eigh(weighed.T @ weighed)  # in the order of what they hold, the least first
    found = centred @ directions[:, -size:]
    return np.asarray(found * (_DEVIATION / max(float(found.std()), 1e-12)), np.float32)
