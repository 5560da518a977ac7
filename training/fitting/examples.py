"""What the network is shown: stretches of token ids with their targets, in batches of like length."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.model.tokenizer import PADDING

# Batches are padded to a multiple of this: oneDNN prepares a kernel for each shape it meets, and keeps few of them.
_TIME_STEP = 16
_BATCHES_SORTED_TOGETHER = 64
_SHORTEST_SENTENCE = 4  # tokens
_SHORTEST_STRETCH = 12  # tokens; of fewer words their review's label says little


@dataclass(frozen=True)
class Examples:
    """Stretches of one flat array of token ids, with a target distribution over the labels for each."""

    token_ids: NDArray[np.int32]  # [total tokens] of the whole corpus
    starts: NDArray[np.int64]  # [example] where each begins in `token_ids`
    ends: NDArray[np.int64]  # [example] and where it has ended
    targets: NDArray[np.float32]  # [example, label], each row sums to 1

    def __len__(self) -> int:
        return len(self.starts)

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example, [example]."""
        return self.ends - self.starts

    def counts(self, vocabulary_size: int) -> NDArray[np.int64]:
        """How often each token id stands in the examples, [vocabulary]."""
        changes = np.zeros(len(self.token_ids) + 1, np.int64)
        np.add.at(changes, self.starts, 1)
        np.add.at(changes, self.ends, -1)
        covered = np.cumsum(changes[:-1])  # by how many examples
        return np.bincount(self.token_ids, covered, vocabulary_size).astype(np.int64)

    def batch(self, examples: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids int64 [batch, time], lengths int64 [batch], targets float32 [batch, label]."""
        starts, ends = self.starts[examples], self.ends[examples]
        lengths = ends - starts
        time = math.ceil(int(lengths.max()) / _TIME_STEP) * _TIME_STEP
        token_ids = np.full((len(examples), time), PADDING, np.int64)
        for row, start, end in zip(token_ids, starts, ends, strict=True):
            row[: end - start] = self.token_ids[start:end]
        arrays = (token_ids, lengths, self.targets[examples])
        inputs, sizes, targets = (torch.from_numpy(array).to(device) for array in arrays)
        return inputs, sizes, targets


def with_sentences(reviews: Examples, vocabulary: list[str], each: int, seed: int, epoch: int) -> Examples:
    """`reviews` and up to `each` single sentences of every one of them, with the target of their review.

    A network that saw only whole reviews misjudges short texts. What a sentence says of its review is just what the
    review's own target teaches; every epoch draws other sentences, and as many.
    """
    generator = np.random.default_rng((seed, epoch, 1))
    found: list[tuple[int, int, int]] = []
    for owner, borders in enumerate(_sentence_borders(reviews, vocabulary)):
        long_enough = np.flatnonzero(np.diff(borders) >= _SHORTEST_SENTENCE)
        for at in generator.permutation(long_enough)[:each]:
            found.append((borders[at], borders[at + 1], owner))
    starts, ends, owners = np.array(found, np.int64).reshape(-1, 3).T
    return Examples(
        reviews.token_ids,
        np.concatenate([reviews.starts, starts]),
        np.concatenate([reviews.ends, ends]),
        np.concatenate([reviews.targets, reviews.targets[owners]]),
    )


def stretches(
    reviews: Examples, vocabulary: list[str], each: int, lengths: tuple[int, int], seed: int, epoch: int
) -> Examples:
    """`each` stretches of every one of `reviews` that has a sentence long enough, with its target.

    Half are single sentences, with the short ones before them (those that end a review are left out), half runs of
    them: a run goes on to the end of the sentence in which it reaches a length drawn from `lengths`, [from, to) tokens.
    What is longer than an eighth beyond these is cut. Every epoch draws as many others.
    """
    most = lengths[1] + lengths[1] // 8
    generator = np.random.default_rng((seed, epoch, 3))
    found: list[tuple[int, int, int]] = []
    for owner, borders in enumerate(_sentence_borders(reviews, vocabulary)):
        borders = borders[np.append(True, np.diff(borders) >= _SHORTEST_STRETCH)]  # less goes with the next
        for at in generator.integers(0, len(borders) - 1, each) if len(borders) > 1 else ():
            end, length = at + 1, int(generator.integers(*lengths))
            if generator.random() < 0.5:
                while end < len(borders) - 1 and borders[end] - borders[at] < length:
                    end += 1
            found.append((borders[at], min(borders[end], borders[at] + most), owner))
    starts, ends, owners = np.array(found, np.int64).reshape(-1, 3).T
    return Examples(reviews.token_ids, starts, ends, reviews.targets[owners])


def _sentence_borders(reviews: Examples, vocabulary: list[str]) -> Iterator[NDArray[np.int64]]:
    """Where the sentences of each review begin, and where the last ends."""
    marks = [index for index, token in enumerate(vocabulary) if token in (".", "!", "?")]
    is_end = np.isin(reviews.token_ids, marks)
    for start, end in zip(reviews.starts.tolist(), reviews.ends.tolist(), strict=True):
        yield np.concatenate([[start], np.flatnonzero(is_end[start:end]) + start + 1, [end]])


def with_texts(examples: Examples, texts: Sequence[NDArray[np.int32]], targets: NDArray[np.float32]) -> Examples:
    """`examples` and `texts` of their own (token ids, each [time]), under `targets` [text, label]."""
    ends = len(examples.token_ids) + np.cumsum([len(text) for text in texts], dtype=np.int64)
    return Examples(
        np.concatenate([examples.token_ids, *texts]),
        np.concatenate([examples.starts, ends - [len(text) for text in texts]]),
        np.concatenate([examples.ends, ends]),
        np.concatenate([examples.targets, targets]),
    )


def batches_of(lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Shuffles the examples and groups those of like length, so that little is padded; [batch] indices each."""
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(lengths))
    window = batch_size * _BATCHES_SORTED_TOGETHER
    batches = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
    return [batches[index] for index in generator.permutation(len(batches))]
