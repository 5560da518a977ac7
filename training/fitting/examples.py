"""What the network is shown: stretches of token ids with their targets, in batches of like length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.model.tokenizer import PADDING

# Batches are padded to a multiple of this: oneDNN prepares a kernel for each shape it meets, and keeps few of them.
_TIME_STEP = 16
_BATCHES_SORTED_TOGETHER = 64
_SHORTEST_SENTENCE = 4  # tokens


@dataclass(frozen=True)
class Examples:
    """Stretches of one flat array of token ids, with a target distribution over the labels for each."""

    token_ids: NDArray[np.int32]  # [total tokens] of the whole corpus
    starts: NDArray[np.int64]  # [example] where each begins in `token_ids`
    ends: NDArray[np.int64]  # [example] and where it has ended
    targets: NDArray[np.float32]  # [example, label], each row sums to 1

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, places: NDArray[np.int64]) -> "Examples":
        """The examples at `places`, in their order."""
        return Examples(self.token_ids, self.starts[places], self.ends[places], self.targets[places])

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each example, [example]."""
        return self.ends - self.starts

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


def with_sentences(
    reviews: Examples, borders: Sequence[NDArray[np.int64]], each: int, seed: int, epoch: int
) -> Examples:
    """`reviews` and up to `each` single sentences of every one of them, with the target of their review.

    `borders` says of each review where in `token_ids` its sentences begin, and where the last ends. A network that saw
    only whole reviews misjudges short texts. What a sentence says of its review is just what the review's own target
    teaches; every epoch draws other sentences, and as many.
    """
    generator = np.random.default_rng((seed, epoch, 1))
    found: list[tuple[int, int, int]] = []
    for owner, places in enumerate(borders):
        long_enough = np.flatnonzero(np.diff(places) >= _SHORTEST_SENTENCE)
        for at in generator.permutation(long_enough)[:each]:
            found.append((places[at], places[at + 1], owner))
    starts, ends, owners = np.array(found, np.int64).reshape(-1, 3).T
    return Examples(
        reviews.token_ids,
        np.concatenate([reviews.starts, starts]),
        np.concatenate([reviews.ends, ends]),
        np.concatenate([reviews.targets, reviews.targets[owners]]),
    )


def part_of(places: NDArray[np.int64], share: float, seed: int, epoch: int) -> NDArray[np.int64]:
    """The `share` of `places` that an epoch shows: the next ones of one shuffled order, so that all come in turn."""
    if share >= 1:
        return places
    count = round(share * len(places))
    shuffled = np.random.default_rng((seed, 5)).permutation(places)
    return np.take(shuffled, np.arange(epoch * count, (epoch + 1) * count), mode="wrap") if count else shuffled[:0]


def beside_neutral(
    examples: Examples, chosen: NDArray[np.int64], neutral: Examples, most: int, generator: np.random.Generator
) -> Examples:
    """`examples`, of which those at `chosen` stand before or after sentences of `neutral`, under their own targets.

    What leans to neither label must not change what the text beside it says. From 20 to 300 tokens are added (so
    the last sentence may be cut short), as far as a text of `most` tokens leaves room. No place is chosen twice. What
    was in `token_ids` stays where it was.
    """
    starts, ends, parts = examples.starts.copy(), examples.ends.copy(), [examples.token_ids]
    written = len(examples.token_ids)
    for at in chosen.tolist() if len(neutral) else []:
        own = examples.token_ids[starts[at] : ends[at]]
        count = max(0, min(int(generator.integers(20, 301)), most - len(own)))
        drawn = neutral.at(generator.integers(len(neutral), size=count))  # each has a token at least: enough
        sentences = [neutral.token_ids[start:end] for start, end in zip(drawn.starts, drawn.ends, strict=True)]
        beside = np.concatenate([own[:0], *sentences])[:count]
        parts += [own, beside] if generator.random() < 0.5 else [beside, own]
        starts[at], ends[at] = written, written + len(own) + count
        written = int(ends[at])
    return replace(examples, token_ids=np.concatenate(parts), starts=starts, ends=ends)


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
