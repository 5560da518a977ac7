"""Sentences that lean to no label, put beside reviews: a plot retold at length must not tip what the review says.

They are found by their words: each stands about as often in reviews of one label as of another. The first deep teacher
only takes out what says more than its words do. Beside what it alone left open, neutral text cost reviews twice as
much.
"""

import numpy as np
from numpy.typing import NDArray

from service.model.tokenizer import PADDING, UNKNOWN
from training.fitting.examples import Examples, with_sentences, with_texts
from training.fitting.loop import Precision, predict
from training.network.bilstm import BiLSTM

_EACH = 4  # sentences of a review that are looked at
_LEAN = 0.5  # at most: the logarithm of how much oftener a word stands in reviews of one label than of another
_SMOOTHING = 20  # reviews of the rarest label in which any word is taken to stand besides; in proportion, of others
_OPEN = 0.4  # by how much the teacher's probability of any label may differ from chance
_LENGTHS = (20, 320)  # tokens of what is put beside a review
MEAN_TOKENS = sum(_LENGTHS) / 2


def find(
    teacher: BiLSTM,
    labelled: Examples,
    reviews: Examples,
    vocabulary: list[str],
    seed: int,
    precision: Precision,
) -> list[NDArray[np.int32]]:
    """Sentences among those of `reviews`, token ids [time] each, that the words of `labelled` and `teacher` allow."""
    both, first = with_sentences(reviews, vocabulary, _EACH, seed, 0), len(reviews)
    starts, ends, targets = both.starts[first:], both.ends[first:], both.targets[first:]
    leans = _leans(labelled, len(vocabulary))[both.token_ids]  # [token]
    plain = np.array([not leans[start:end].any() for start, end in zip(starts, ends, strict=True)], np.bool_)
    asked = Examples(both.token_ids, starts[plain], ends[plain], targets[plain])
    logits = predict(teacher, asked, precision).astype(np.float64)
    probabilities = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    left_open = np.abs(probabilities - 1 / logits.shape[1]).max(axis=1) < _OPEN
    places = zip(asked.starts[left_open], asked.ends[left_open], strict=True)
    return [asked.token_ids[start:end] for start, end in places]


def _leans(labelled: Examples, vocabulary_size: int) -> NDArray[np.bool_]:
    """Which tokens stand too much oftener in reviews of one label than of another, [vocabulary]."""
    labels = labelled.targets.argmax(axis=1)
    reviews = np.maximum(np.bincount(labels, minlength=labelled.targets.shape[1]), 1)  # [label]
    smoothing = _SMOOTHING * reviews / reviews.min()
    found = np.repeat(smoothing[:, None], vocabulary_size, axis=1)  # reviews with the token, [label, vocabulary]
    for label, start, end in zip(labels, labelled.starts, labelled.ends, strict=True):
        found[label, np.unique(labelled.token_ids[start:end])] += 1
    shares = np.log(found / (reviews + smoothing)[:, None])
    leans: NDArray[np.bool_] = shares.max(axis=0) - shares.min(axis=0) >= _LEAN
    leans[[PADDING, UNKNOWN]] = False
    return leans


def with_neutral(
    examples: Examples, sentences: list[NDArray[np.int32]], reviews: int, count: int, seed: int, epoch: int
) -> Examples:
    """`examples`, and `count` of the first `reviews` of them once more, each with `sentences` before or after it.

    As many runs of sentences stand alone, to be left open. Every epoch draws others, and as many.
    """
    generator = np.random.default_rng((seed, epoch, 2))
    chosen, labels = generator.permutation(reviews)[:count], examples.targets.shape[1]
    texts = []
    for start, end in zip(examples.starts[chosen], examples.ends[chosen], strict=True):
        review, added = examples.token_ids[start:end], _some(sentences, _LENGTHS, generator)
        texts.append(np.concatenate([review, added] if generator.random() < 0.5 else [added, review]))
    by_themselves = [_some(sentences, _LENGTHS, generator) for _ in chosen]
    targets = np.concatenate([examples.targets[chosen], np.full((len(chosen), labels), 1 / labels, np.float32)])
    return with_texts(examples, texts + by_themselves, targets)


def alone(
    sentences: list[NDArray[np.int32]], count: int, lengths: tuple[int, int], seed: int, epoch: int
) -> list[NDArray[np.int32]]:
    """`count` runs of `sentences`, each of a length drawn from `lengths`, [from, to) tokens, or a little longer."""
    generator = np.random.default_rng((seed, epoch, 4))
    return [_some(sentences, lengths, generator) for _ in range(count)]


def _some(
    sentences: list[NDArray[np.int32]], lengths: tuple[int, int], generator: np.random.Generator
) -> NDArray[np.int32]:
    """A run of sentences of a length drawn from `lengths`, give or take the last of them."""
    length = int(generator.integers(*lengths))
    found: list[NDArray[np.int32]] = []
    while sum(map(len, found)) < length:
        found.append(sentences[int(generator.integers(len(sentences)))])
    return np.concatenate(found)
