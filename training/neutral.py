"""Sentences that lean to no label, put beside reviews: a plot retold at length must not tip what the review says.

The deep teacher knows them. It has learned from single sentences too, each under the label of its review, so what it
leaves open is what stands in reviews of any label.
"""

import numpy as np
from numpy.typing import NDArray

from training.examples import Examples, with_sentences, with_texts
from training.fit import Precision, predict
from training.model import BiLSTM

_EACH = 2  # sentences of a review that the teacher is asked about
_OPEN = 0.3  # by how much its probability of any label may differ from chance
_SHORTEST, _LONGEST = 20, 320  # tokens of what is put beside a review
_ALONE = 4  # of so many texts put beside reviews one stands alone too, and is to be left open


def find(
    teacher: BiLSTM, reviews: Examples, vocabulary: list[str], seed: int, precision: Precision
) -> list[NDArray[np.int32]]:
    """Sentences among those of `reviews`, token ids [time] each, that `teacher` leaves open."""
    both, first = with_sentences(reviews, vocabulary, _EACH, seed, 0), len(reviews)
    asked = Examples(both.token_ids, both.starts[first:], both.ends[first:], both.targets[first:])
    logits = predict(teacher, asked, precision).astype(np.float64)
    probabilities = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    left_open = np.abs(probabilities - 1 / logits.shape[1]).max(axis=1) < _OPEN
    places = zip(asked.starts[left_open], asked.ends[left_open], strict=True)
    return [asked.token_ids[start:end] for start, end in places]


def with_neutral(
    examples: Examples, sentences: list[NDArray[np.int32]], reviews: int, count: int, seed: int, epoch: int
) -> Examples:
    """`examples`, and `count` of the first `reviews` of them once more, each with `sentences` before or after it.

    Every epoch draws others, and as many.
    """
    generator = np.random.default_rng((seed, epoch, 2))
    chosen, labels = generator.permutation(reviews)[:count], examples.targets.shape[1]
    texts = []
    for start, end in zip(examples.starts[chosen], examples.ends[chosen], strict=True):
        review, added = examples.token_ids[start:end], _some(sentences, generator)
        texts.append(np.concatenate([review, added] if generator.random() < 0.5 else [added, review]))
    alone = [_some(sentences, generator) for _ in range(len(chosen) // _ALONE)]
    targets = np.concatenate([examples.targets[chosen], np.full((len(alone), labels), 1 / labels, np.float32)])
    return with_texts(examples, texts + alone, targets)


def _some(sentences: list[NDArray[np.int32]], generator: np.random.Generator) -> NDArray[np.int32]:
    """A run of sentences of a length between the shortest and the longest, give or take the last of them."""
    length = int(generator.integers(_SHORTEST, _LONGEST))
    found: list[NDArray[np.int32]] = []
    while sum(map(len, found)) < length:
        found.append(sentences[int(generator.integers(len(sentences)))])
    return np.concatenate(found)
