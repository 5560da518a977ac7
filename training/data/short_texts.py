"""The short texts that a teacher labels: the treebank's sentences and phrases, and sentences cut from whole reviews."""

from collections.abc import Iterator
from typing import NamedTuple

from service.model.sentences import sentences
from training.data.mixture import TRAIN, UNLABELLED, Example, Mixture, key

_MOST_CHARACTERS = 400  # in a sentence; longer ones are mostly lists, or texts without full stops


class ShortText(NamedTuple):
    """A short text, and the review's source where it was cut from one."""

    text: str
    source: str
    kind: str  # "sentence" or "phrase" of the treebank, "cut" from a review
    key: int


def choose(mixture: Mixture, most: int) -> list[ShortText]:
    """At most `most` different short texts of train and unlabelled, none of them held out.

    Each source of reviews gets the same share of what the treebank leaves, as far as it has so many; which of its
    sentences is decided by key, so that a larger `most` only adds texts.
    """
    found, cut = dict[int, ShortText](), dict[str, dict[int, ShortText]]()
    for example in mixture.of(TRAIN, UNLABELLED):
        if example.kind != "review":
            found.setdefault(example.key, ShortText(example.text, example.source, example.kind, example.key))
    room = max(0, most - len(found))
    for example in mixture.of(TRAIN, UNLABELLED):
        if example.kind == "review":
            known = cut.setdefault(example.source, {})
            for text in _cut(example):
                if text.key not in mixture.held_out and text.key not in found:
                    known.setdefault(text.key, text)
    chosen = list(found.values())[:most]
    for sources_left, of_source in enumerate(sorted(cut.values(), key=len)):
        share = room // (len(cut) - sources_left)
        picked = sorted(of_source.values(), key=lambda text: text.key)[:share]
        chosen += picked
        room -= len(picked)
    # A sentence that two sources hold stays once.
    return list({text.key: text for text in chosen}.values())


def _cut(review: Example) -> Iterator[ShortText]:
    for start, end in sentences(review.text):
        text = " ".join(review.text[start:end].replace("<br />", " ").split())
        if len(text) <= _MOST_CHARACTERS and any(character.isalpha() for character in text):
            yield ShortText(text, review.source, "cut", key(text))
