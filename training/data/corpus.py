"""A data set in memory: token ids in one flat array, the texts, and which split each review belongs to.

The data is read once. Tokens get provisional ids as they come; the vocabulary is chosen from their counts and every id
mapped to its place in it by one look-up, so that files of millions of rows fit.
"""

import hashlib
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.model.sentences import sentences
from service.model.tokenizer import SPECIAL, UNKNOWN, Rules, Tokenizer, words
from training.data.sources import DataError, Review, Source
from training.data.split import LEFT_OUT, TEST, TRAIN, UNLABELLED, VALIDATION, Reviews, split
from training.data.texts import Texts

_NOT_WORD = re.compile(r"[\W_]+")


class Labelled(NamedTuple):
    """A text that is held out, for a judge."""

    text: str
    label: int  # index into the corpus' label names
    rating: int  # stars; 0: none
    source: str  # of several sources, which one; "" where there is one
    place: str = ""  # for people: file and line


@dataclass
class Corpus:
    """Reviews as arrays; row i is the i-th good review of the sources, in their order."""

    token_ids: NDArray[np.int32]  # [total tokens] provisional ids: indices into `words`
    offsets: NDArray[np.int64]  # [review + 1]
    labels: NDArray[np.int32]  # [review] index into `label_names`; -1: unlabelled
    ratings: NDArray[np.int8]  # [review] stars, 0: none
    splits: NDArray[np.int8]  # [review] TRAIN, VALIDATION, TEST, UNLABELLED or LEFT_OUT
    words: list[str]
    texts: Texts  # [review]
    label_names: tuple[str, ...]
    report: dict[str, int] = field(default_factory=dict)  # what was counted, for people
    mixed: "Mixed | None" = None  # what is known besides where several data sets were read
    places: Texts | None = None  # [review] file and line of each, for people
    groups: NDArray[np.str_] | None = None  # [review] equal ones stay together; None: there are no groups

    def rows(self, *splits: int) -> NDArray[np.int64]:
        """The rows of `splits`, in order."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def documents(self, rows: NDArray[np.int64]) -> Iterator[list[str]]:
        """The tokens of each of `rows`."""
        for row in rows:
            ids = self.token_ids[self.offsets[row] : self.offsets[row + 1]]
            yield [self.words[token_id] for token_id in ids.tolist()]

    def held_out(self, *splits: int) -> Iterator[Labelled]:
        """The labelled texts of `splits`, in order."""
        rows = self.rows(*splits)
        for row in rows[self.labels[rows] >= 0].tolist():
            source = self.mixed.source_of(row) if self.mixed else ""
            place = self.places[row] if self.places else ""
            yield Labelled(self.texts[row], int(self.labels[row]), int(self.ratings[row]), source, place)

    def neutral(self, *splits: int) -> list[str]:
        """The texts of `splits` that have a grade, which is of neither label, in order; of one data set none has."""
        if self.mixed is None:
            return []
        rows = self.rows(*splits)
        rows = rows[(self.labels[rows] < 0) & ~np.isnan(self.mixed.targets[rows])]
        return [self.texts[row] for row in rows.tolist()]

    def vocabulary(self, size: int, min_count: int = 2) -> list[str]:
        """The `size` most frequent tokens of the training and unlabelled reviews, after the two special ones."""
        chosen = np.isin(self.splits, (TRAIN, UNLABELLED))
        of_chosen = np.repeat(chosen, np.diff(self.offsets))
        counts = np.bincount(self.token_ids[of_chosen], minlength=len(self.words))
        ranked = sorted(np.flatnonzero(counts >= min_count).tolist(), key=lambda i: (-counts[i], self.words[i]))
        found = [self.words[index] for index in ranked if self.words[index] not in SPECIAL]
        return [*SPECIAL, *found[: size - len(SPECIAL)]]

    def sentence_borders(
        self, rows: NDArray[np.int64], offsets: NDArray[np.int64], tokenizer: Tokenizer
    ) -> list[NDArray[np.int64]]:
        """Where the sentences of each of `rows` begin, and where the last ends, in the ids that `encode` gave.

        `offsets` [review + 1] are those of `encode`. Of a text that was cut, only the sentences before the cut.
        """
        borders = []
        for row in rows.tolist():
            text = self.texts[row]
            counts = [len(words(text[start:end], tokenizer.rules)) for start, end in sentences(text)]
            places = np.cumsum([0, *counts])
            first = tokenizer.keep(int(self.offsets[row + 1] - self.offsets[row]))[0]
            kept = places[places <= first.stop] if first.start == 0 else places[:1]
            borders.append(offsets[row] + kept)
        return borders

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


@dataclass(frozen=True)
class Mixed:
    """What several data sets, read together, tell of their texts; every array has one entry a review."""

    names: tuple[str, ...]  # of the data sets and their domains, "set: domain"
    sources: NDArray[np.int16]  # index into `names`
    targets: NDArray[np.float32]  # the probability of the second label that the data itself gives; NaN: none
    keys: NDArray[np.uint64]  # of the texts, as `mixture.key` gives them
    short: NDArray[np.bool_]  # phrases and sentences

    def source_of(self, row: int) -> str:
        """The name of the data set, or of its domain, that a review is from."""
        return self.names[int(self.sources[row])]


@dataclass
class Gathered:
    """What was read of the sources; row i is the i-th good review, in their order."""

    token_ids: NDArray[np.int32]  # [total tokens] indices into `words`
    offsets: NDArray[np.int64]  # [review + 1]
    words: list[str]
    texts: Texts
    places: Texts  # file and line of each, for messages
    labels: NDArray[np.int32]  # [review] index into `label_names`; -1: unlabelled
    label_names: tuple[str, ...]  # sorted
    examples: dict[str, str]  # the first text of each label
    ratings: NDArray[np.int8]
    digests: NDArray[np.uint64]
    numbers: NDArray[np.int64]
    given: NDArray[np.int8]  # the split that a source or its role dictates; LEFT_OUT: to be drawn
    groups: NDArray[np.str_] | None

    def label_counts(self) -> dict[str, int]:
        """How many reviews each label has."""
        counts = np.bincount(self.labels[self.labels >= 0], minlength=len(self.label_names))
        return dict(zip(self.label_names, counts.tolist(), strict=True))


def gather(sources: Sequence[tuple[Source, str]], rules: Rules, sample: float = 1.0) -> Gathered:
    """Reads `sources`, each with its role: "data", "validation", "test" or "unlabelled". Raises DataError.

    With `sample` below 1 the same share of every source is read, chosen by the digest of the text.
    """
    token_ids, offsets, vocabulary = array("i"), array("q", [0]), dict[str, int]()
    label_ids: dict[str, int] = {}
    examples: dict[str, str] = {}
    labels, ratings, digests, numbers, given = array("i"), array("b"), array("Q"), array("q"), array("b")
    groups: list[str | None] = []
    texts, places = Texts(), Texts()
    for review, role, digest in _reviews(sources, sample):
        found = words(review.text, rules) or [SPECIAL[UNKNOWN]]
        texts.append(review.text)
        places.append(review.place)
        token_ids.extend([vocabulary.setdefault(word, len(vocabulary)) for word in found])
        offsets.append(len(token_ids))
        unlabelled = review.label is None or role == "unlabelled"
        labels.append(-1 if unlabelled else label_ids.setdefault(str(review.label), len(label_ids)))
        if not unlabelled:
            examples.setdefault(str(review.label), review.text[:200])
        given.append(_given(review, role))
        ratings.append(review.rating)
        digests.append(digest)
        numbers.append(-1 if review.number is None else review.number)
        groups.append(review.group)
    names = tuple(sorted(label_ids))
    order = np.array([names.index(name) for name in label_ids] + [-1], np.int32)
    return Gathered(
        np.frombuffer(token_ids, np.int32),
        np.frombuffer(offsets, np.int64),
        list(vocabulary),
        texts,
        places,
        order[np.array(labels, np.int32)],  # index -1 is the last: unlabelled stays -1
        names,
        examples,
        np.frombuffer(ratings, np.int8),
        np.array(digests, np.uint64),
        np.array(numbers, np.int64),
        np.array(given, np.int8),
        np.array([group or "" for group in groups]) if any(groups) else None,
    )


def draw(found: Gathered, sources: Sequence[tuple[Source, str]], validation_share: float, test_share: float) -> Corpus:
    """Decides which review belongs to which split. Raises DataError where a label has too few.

    Left out are labels with fewer reviews than their sources' `min_reviews`, and of texts under several labels, where
    the split is drawn here, all copies but those of the most frequent label; all of them where there is none.
    """
    least = max((source.min_reviews for source, _ in sources), default=0)
    counts = found.label_counts()
    names = tuple(name for name, count in counts.items() if count >= least)
    if len(names) < 2:
        raise DataError(_too_few_labels(counts, least, [source for source, _ in sources]))
    order = np.array([names.index(name) if name in names else -2 for name in counts] + [-1], np.int32)
    labels = order[found.labels]
    rare = labels == -2
    contradicted = _contradicted(found.digests, labels, (found.given == LEFT_OUT) & ~rare)
    kept = ~(rare | contradicted)
    reviews = Reviews(
        labels[kept],
        found.digests[kept],
        found.numbers[kept],
        found.given[kept],
        None if found.groups is None else found.groups[kept],
    )
    splits = np.full(len(labels), LEFT_OUT, np.int8)
    splits[kept], report = split(reviews, names, validation_share, test_share)
    for reason, rows in (("label of fewer than --min-reviews", rare), ("text under another label", contradicted)):
        if rows.any():
            report[f"left out: {reason}"] = int(rows.sum())
    for source, _ in sources:
        for reason, count in source.bad.counts.items():
            report[f"bad rows: {reason}"] = report.get(f"bad rows: {reason}", 0) + count
    labels[rare] = -1
    return Corpus(
        found.token_ids,
        found.offsets,
        labels,
        found.ratings,
        splits,
        found.words,
        found.texts,
        names,
        report,
        places=found.places,
        groups=found.groups,
    )


def build(
    sources: Sequence[tuple[Source, str]],
    rules: Rules,
    validation_share: float,
    test_share: float,
    sample: float = 1.0,
) -> Corpus:
    """`gather` and `draw`. Raises DataError."""
    return draw(gather(sources, rules, sample), sources, validation_share, test_share)


def _reviews(sources: Sequence[tuple[Source, str]], sample: float) -> Iterator[tuple[Review, str, int]]:
    """(review, role, digest of its text) of every review in the sample."""
    for source, role in sources:
        for review in source:
            digest = text_digest(review.text)
            if _sampled(digest, sample):
                yield review, role, digest


def _contradicted(
    digests: NDArray[np.uint64], labels: NDArray[np.int32], chosen: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The `chosen` rows whose text has other labels at least as often as theirs."""
    contradicted = np.zeros(len(labels), bool)
    rows = np.flatnonzero(chosen & (labels >= 0))
    if not len(rows):
        return contradicted
    pairs, place, counts = np.unique(
        np.stack([digests[rows], labels[rows].astype(np.uint64)]), axis=1, return_inverse=True, return_counts=True
    )
    place = place.reshape(-1)
    _, text, labels_of_text = np.unique(pairs[0], return_inverse=True, return_counts=True)
    if not (labels_of_text > 1).any():
        return contradicted
    most = np.zeros(len(labels_of_text), np.int64)
    np.maximum.at(most, text, counts)
    ties = np.bincount(text[counts == most[text]], minlength=len(most)) > 1
    wrong = (counts < most[text]) | ties[text]
    contradicted[rows] = wrong[place]
    return contradicted


def _too_few_labels(counts: dict[str, int], least: int, sources: Sequence[Source]) -> str:
    """The message where there are not two labels; with everything that was told, since it may be the reason."""
    told = [f"\n  {line}" for source in sources for line in (*source.bad.lines(), *source.notes.lines())]
    found = ", ".join(f"{name} ({count:,})" for name, count in counts.items()) or "none"
    if not counts and not told:
        remedy = "no rows were found: check that the file has any after its header"
    elif not counts:
        remedy = "no row could be used, for the reasons below"
    elif len(counts) > 1:
        remedy = f"fewer have {least} reviews, as --min-reviews asks: lower it"
    else:
        remedy = "add reviews of another label, or name another column with --label-column"
    return f"expected reviews of at least two labels, found {len(counts)}: {found}; {remedy}{''.join(told)}"


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
