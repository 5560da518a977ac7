"""A data set in memory: token ids in one flat array, and which split each review belongs to.

The text is read once and not kept. Tokens get provisional ids as they come; the vocabulary is chosen from their counts
and every id mapped to its place in it by one look-up, so that files of millions of rows fit.
"""

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.model.tokenizer import SPECIAL, UNKNOWN, Rules, Tokenizer, words
from training.data.sources import DataError, Review, Source
from training.data.split import LEFT_OUT, TEST, TRAIN, UNLABELLED, VALIDATION, Reviews, split

_NOT_WORD = re.compile(r"[\W_]+")


@dataclass
class Corpus:
    """Reviews as arrays; row i is the i-th good review of the sources, in their order."""

    token_ids: NDArray[np.int32]  # [total tokens] provisional ids: indices into `words`
    offsets: NDArray[np.int64]  # [review + 1]
    labels: NDArray[np.int32]  # [review] index into `label_names`; -1: unlabelled
    ratings: NDArray[np.int8]  # [review] stars, 0: none
    splits: NDArray[np.int8]  # [review] TRAIN, VALIDATION, TEST, UNLABELLED or LEFT_OUT
    words: list[str]
    label_names: tuple[str, ...]
    report: dict[str, int] = field(default_factory=dict)  # what was counted, for people

    def rows(self, *splits: int) -> NDArray[np.int64]:
        """The rows of `splits`, in order."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def documents(self, rows: NDArray[np.int64]) -> Iterator[list[str]]:
        """The tokens of each of `rows`."""
        for row in rows:
            ids = self.token_ids[self.offsets[row] : self.offsets[row + 1]]
            yield [self.words[token_id] for token_id in ids.tolist()]

    def vocabulary(self, size: int, min_count: int = 2) -> list[str]:
        """The `size` most frequent tokens of the training and unlabelled reviews, after the two special ones."""
        chosen = np.isin(self.splits, (TRAIN, UNLABELLED))
        of_chosen = np.repeat(chosen, np.diff(self.offsets))
        counts = np.bincount(self.token_ids[of_chosen], minlength=len(self.words))
        ranked = sorted(np.flatnonzero(counts >= min_count).tolist(), key=lambda i: (-counts[i], self.words[i]))
        found = [self.words[index] for index in ranked if self.words[index] not in SPECIAL]
        return [*SPECIAL, *found[: size - len(SPECIAL)]]

    def encode(self, tokenizer: Tokenizer) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Every review as `tokenizer` would encode its text: ids [total tokens], offsets [review + 1]."""
        ids = {word: token_id for token_id, word in enumerate(tokenizer.vocabulary)}
        lookup = np.array([ids.get(word, UNKNOWN) for word in self.words], np.int32)
        kept, lengths = [], np.zeros(len(self.labels) + 1, np.int64)
        for row in range(len(self.labels)):
            start, end = self.offsets[row], self.offsets[row + 1]
            for part in tokenizer.keep(int(end - start)):
                kept.append(self.token_ids[start + part.start : start + part.stop])
                lengths[row + 1] += part.stop - part.start
        return lookup[np.concatenate(kept)], np.cumsum(lengths)


def build(
    sources: Sequence[tuple[Source, str]],
    rules: Rules,
    validation_share: float,
    test_share: float,
    sample: float = 1.0,
) -> Corpus:
    """Reads `sources`, each with its role: "data", "validation", "test" or "unlabelled". Raises DataError.

    With `sample` below 1 the same share of every source is read, chosen by the digest of the text.
    """
    token_ids, offsets, vocabulary = array("i"), array("q", [0]), dict[str, int]()
    label_ids: dict[str, int] = {}
    labels, ratings, digests, numbers, given = array("i"), array("b"), array("Q"), array("q"), array("b")
    groups: list[str | None] = []
    bad: Counter[str] = Counter()
    for source, role in sources:
        for review in source:
            digest = text_digest(review.text)
            if not _sampled(digest, sample):
                continue
            found = words(review.text, rules) or [SPECIAL[UNKNOWN]]
            token_ids.extend([vocabulary.setdefault(word, len(vocabulary)) for word in found])
            offsets.append(len(token_ids))
            unlabelled = review.label is None or role == "unlabelled"
            labels.append(-1 if unlabelled else label_ids.setdefault(str(review.label), len(label_ids)))
            given.append(_given(review, role))
            ratings.append(review.rating)
            digests.append(digest)
            numbers.append(-1 if review.number is None else review.number)
            groups.append(review.group)
        bad.update(source.bad.counts)
    names = tuple(sorted(label_ids))
    if len(names) < 2:
        raise DataError(f"expected reviews of at least two labels, found {len(names)}: {', '.join(names) or 'none'}")
    order = np.array([names.index(name) for name in label_ids] + [-1], np.int32)
    reviews = Reviews(
        labels=order[np.array(labels)],  # index -1 is the last: unlabelled stays -1
        digests=np.array(digests, np.uint64),
        numbers=np.array(numbers),
        given=np.array(given, np.int8),
        groups=np.array([group or "" for group in groups]) if any(groups) else None,
    )
    splits, report = split(reviews, names, validation_share, test_share)
    report |= {f"bad rows: {reason}": count for reason, count in bad.items()}
    return Corpus(
        np.frombuffer(token_ids, np.int32),
        np.frombuffer(offsets, np.int64),
        reviews.labels,
        np.frombuffer(ratings, np.int8),
        splits,
        list(vocabulary),
        names,
        report,
    )


def held_out(
    sources: Sequence[tuple[Source, str]], corpus: Corpus, wanted: int, sample: float = 1.0
) -> Iterator[tuple[str, int, int]]:
    """Streams (text, label, rating) of the split `wanted` from the `sources` that `corpus` was built from."""
    row = 0
    for source, _ in sources:
        for review in source:
            if not _sampled(text_digest(review.text), sample):
                continue
            if corpus.splits[row] == wanted:
                yield review.text, int(corpus.labels[row]), review.rating
            row += 1


def text_digest(text: str) -> int:
    """64 bits of the text's letters and digits alone: case, marks and spacing make no new review."""
    plain = _NOT_WORD.sub(" ", text.lower()).strip()
    return int.from_bytes(hashlib.blake2b((plain or text).encode(), digest_size=8).digest(), "big")


def _sampled(digest: int, share: float) -> bool:
    return share >= 1.0 or digest % 1_000_003 < share * 1_000_003


def _given(review: Review, role: str) -> int:
    """The split that the source or its role dictates; LEFT_OUT where it is still to be drawn."""
    if role == "data":
        names = {"train": TRAIN, "test": TEST, "unlabelled": UNLABELLED}
        return names[review.split] if review.split else LEFT_OUT
    return {"validation": VALIDATION, "test": TEST, "unlabelled": UNLABELLED}[role]
