"""All sources as one stream of examples, with nothing of a held-out split among what is learned from."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from training.data.corpus import text_digest
from training.data.fdu_mtl import LEFT_OUT, ProductReviews
from training.data.sources import Source
from training.data.split import NAMES, Reviews, split
from training.data.treebank import Treebank

TRAIN, VALIDATION, TEST, UNLABELLED = NAMES
LABELS = ("negative", "positive")
GRADES = (0.05, 0.25, 0.5, 0.75, 0.95)  # what a network is to answer for each of the treebank's grades

_NOT_WORD = re.compile(r"[\W_]+")
_SAMPLED_OF = 1_000_003


class Example(NamedTuple):
    """One text and what is to be learned from it."""

    text: str
    target: float | None  # the probability of `positive`; None: unlabelled
    label: int | None  # index into LABELS; None: neutral or unlabelled
    source: str  # "imdb", "treebank" or "fdu-mtl"
    kind: str  # "review", "sentence" or "phrase"
    split: str  # TRAIN, VALIDATION, TEST or UNLABELLED
    key: int  # as `key` gives it
    domain: str = ""  # of a product review
    rating: int = 0  # stars of a film review; 0: none


@dataclass(frozen=True)
class Mixture:
    """The examples of all sources, in the order of the sources and of what they hold."""

    examples: list[Example]
    held_out: frozenset[int]  # keys of every text that must not be learned from
    report: dict[str, int]  # what was counted and what was left out, and why; for people

    def of(self, *splits: str) -> list[Example]:
        """The examples of `splits`, in order."""
        return [example for example in self.examples if example.split in splits]


def key(text: str) -> int:
    """64 bits of the text's letters and digits: `text_digest`, with spaces left out as well.

    Tokenised and natural copies of one text differ in where they have spaces ("can not", "c. d").
    """
    return text_digest(_NOT_WORD.sub("", text.lower()) or text)


def build(
    imdb: Source | None = None,
    treebank: Treebank | None = None,
    products: ProductReviews | None = None,
    grades: Sequence[float] = GRADES,
    validation_share: float = 0.1,
    sample: float = 1.0,
) -> Mixture:
    """Reads the sources. Raises DataError where one is missing or damaged.

    Validation is `validation_share` of the film reviews in blocks of file ids, the same share of each domain's product
    reviews by digest, and the treebank's own. `grades` [grade] are the targets of the treebank's grades. With `sample`
    below 1 only that share of the texts is read, chosen by key.
    """
    report: Counter[str] = Counter()
    examples: list[Example] = []
    left_out: set[int] = set()  # keys of domains that are left out
    if imdb is not None:
        examples += _film_reviews(imdb, validation_share, sample, report)
    if treebank is not None:
        examples += _trees(treebank, grades, sample)
    if products is not None:
        found = list(_product_reviews(products, sample))
        report.update({f"fdu-mtl: bad rows: {reason}": count for reason, count in products.bad.items()})
        left_out = {example.key for example in found if example.split == LEFT_OUT}
        report["fdu-mtl: reviews of domains left out"] = sum(example.split == LEFT_OUT for example in found)
        examples += [example for example in found if example.split != LEFT_OUT]
    test = {example.key for example in examples if example.split == TEST}
    examples = _without(examples, test, "also in test", report)
    examples = _without(examples, left_out, "also in a domain left out", report)
    examples = _cut_domains(examples, validation_share)
    validation = {example.key for example in examples if example.split == VALIDATION}
    examples = _without(examples, validation, "also in validation", report)
    examples = _without_repeats(examples, report)
    report.update(f"{e.source}: {e.split}: {e.kind}" for e in examples)
    return Mixture(examples, frozenset(test | left_out | validation), dict(sorted(report.items())))


def _film_reviews(source: Source, share: float, sample: float, report: Counter[str]) -> list[Example]:
    """The film reviews, split as a run on them alone splits them."""
    found = [(review, text_digest(review.text)) for review in source]
    found = [(review, digest) for review, digest in found if _sampled(digest, sample)]
    names = {"negative": 0, "positive": 1, None: -1}
    splits, counts = split(
        Reviews(
            labels=np.array([names[review.label] for review, _ in found], np.int32),
            digests=np.array([digest for _, digest in found], np.uint64),
            numbers=np.array([review.number or 0 for review, _ in found], np.int64),
            given=np.array([NAMES.index(str(review.split)) for review, _ in found], np.int8),
            groups=None,
        ),
        LABELS,
        share,
        0.0,
    )
    report.update({f"imdb: {reason}": count for reason, count in counts.items() if reason.startswith("left out")})
    report.update({f"imdb: bad rows: {reason}": count for reason, count in source.bad.counts.items()})
    return [
        _example(
            review.text,
            None if review.label is None else float(names[review.label]),
            None if review.label is None else names[review.label],
            "imdb",
            "review",
            NAMES[part],
        )._replace(rating=review.rating)
        for (review, _), part in zip(found, splits.tolist(), strict=True)
        if part < len(NAMES)
    ]


def _trees(treebank: Treebank, grades: Sequence[float], sample: float) -> Iterable[Example]:
    for phrase in treebank:
        kind = "sentence" if phrase.whole else "phrase"
        example = _example(phrase.text, grades[phrase.grade], phrase.label, "treebank", kind, phrase.split)
        if _sampled(example.key, sample):
            yield example


def _product_reviews(products: ProductReviews, sample: float) -> Iterable[Example]:
    for review in products:
        target = None if review.label is None else float(review.label)
        example = _example(review.text, target, review.label, "fdu-mtl", "review", review.split)
        if _sampled(example.key, sample):
            yield example._replace(domain=review.domain)


def _example(text: str, target: float | None, label: int | None, source: str, kind: str, part: str) -> Example:
    return Example(text, target, label, source, kind, part, key(text))


def _without(examples: list[Example], held: set[int], reason: str, report: Counter[str]) -> list[Example]:
    """The examples less those of train and unlabelled whose key is in `held`."""
    kept = []
    for example in examples:
        if example.split in (TRAIN, UNLABELLED) and example.key in held:
            report[f"{example.source}: left out of {example.split}: {example.kind} {reason}"] += 1
        else:
            kept.append(example)
    return kept


def _cut_domains(examples: list[Example], share: float) -> list[Example]:
    """Makes `share` of each domain's train validation: those of the lowest keys."""
    by_domain: dict[str, list[int]] = {}
    for example in examples:
        if example.domain and example.split == TRAIN:
            by_domain.setdefault(example.domain, []).append(example.key)
    chosen = {
        (domain, value)
        for domain, values in by_domain.items()
        for value in sorted(values)[: round(share * len(values))]
    }
    return [
        example._replace(split=VALIDATION)
        if example.split == TRAIN and (example.domain, example.key) in chosen
        else example
        for example in examples
    ]


def _without_repeats(examples: list[Example], report: Counter[str]) -> list[Example]:
    """Of equal texts in train the first stays; in unlabelled the first that train does not hold."""
    known = {example.key for example in examples if example.split == TRAIN}
    first: dict[str, set[int]] = {TRAIN: set(), UNLABELLED: set()}
    kept = []
    for example in examples:
        if example.split in first:
            if example.split == UNLABELLED and example.key in known:
                report[f"{example.source}: left out of unlabelled: {example.kind} also in train"] += 1
                continue
            if example.key in first[example.split]:
                report[f"{example.source}: left out of {example.split}: {example.kind} repeated"] += 1
                continue
            first[example.split].add(example.key)
        kept.append(example)
    return kept


def _sampled(value: int, share: float) -> bool:
    return share >= 1.0 or value % _SAMPLED_OF < share * _SAMPLED_OF
