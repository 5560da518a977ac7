"""Lessons in negation: made-up sentences in pairs that differ in one word's polarity, and so in their label.

What they are made of stands in `lessons/`. A frame has slots, such as `{adj}`, for a word of the label's polarity, and
`{-adj}` for one of the other; `[a|b]` leaves a choice. The sense of a frame is `keep` where the sentence says what the
word says and `flip` where it says the contrary; `both` holds a frame of each sense: `<a|b>` is `a` where it flips.
None of their words or frames stands in the negation probe (see `training/evaluation/negation.py`).
"""

import csv
import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import NamedTuple

import numpy as np

from service.model.tokenizer import Tokenizer
from training.fitting.examples import Examples, with_texts

_CHOICE, _SENSES = re.compile(r"\[([^\[\]]*)\]"), re.compile(r"<([^|>]*)\|([^>]*)>")
_SLOT = re.compile(r"\{(-?)(\w+)\}")
# The slots that hold words of a polarity, and which of the forms of a word each takes.
_FORMS = {
    **{kind: (kind, 0) for kind in ("adj", "noun", "mass", "felt", "adv", "verdict", "todo")},
    **{form: ("like", index) for index, form in enumerate(("like", "liked", "liking"))},
    **{form: ("move", index) for index, form in enumerate(("move", "moves", "moved", "moving"))},
    **{form: ("react", index) for index, form in enumerate(("react", "reacted", "reacting"))},
}
_SHORT = {"can not": "can't", "cannot": "can't", "will not": "won't"}
_LONG_FORM = re.compile(
    r"\b(?:(?:is|was|were|did|does|do|has|have|had|could|would|can|will) not\b(?! only)|cannot\b|it is\b(?=\s))"
)
_SENTENCE_START = re.compile(r"(?:^|[.?!] )[a-z]")
# What a made-up sentence teaches of its own label, but not to shout it.
_PLAIN = 0.95
_VOWEL = re.compile(r"\b([Aa]) (?=[aeioué](?!ne\b|nique|seful|ni[tv]))")


class Frame(NamedTuple):
    """A sentence with slots."""

    pattern: str
    flips: bool
    text: str


class Lessons(NamedTuple):
    """What the sentences are made of."""

    frames: list[Frame]
    words: dict[tuple[str, bool], list[list[str]]]  # (kind, positive?) -> words, each in its forms
    fillers: dict[str, list[str]]


@cache
def lessons() -> Lessons:
    """Reads the files of `lessons/`."""
    frames = []
    for row in _rows("frames.tsv"):
        if row["sense"] != "both":
            frames.append(Frame(row["pattern"], row["sense"] == "flip", row["frame"]))
        else:
            frames.append(Frame(row["pattern"], True, _SENSES.sub(r"\1", row["frame"])))
            frames.append(Frame(row["pattern"], False, _SENSES.sub(r"\2", row["frame"])))
    words: dict[tuple[str, bool], list[list[str]]] = {}
    for row in _rows("words.tsv"):
        words.setdefault((row["kind"], row["polarity"] == "positive"), []).append(row["forms"].split("/"))
    return Lessons(frames, words, {row["kind"]: row["forms"].split("|") for row in _rows("fillers.tsv")})


def suit(label_names: Sequence[str]) -> bool:
    """Whether the lessons have these labels, in any order."""
    return set(label_names) == {"negative", "positive"}


def with_contrasts(
    examples: Examples, tokenizer: Tokenizer, label_names: Sequence[str], count: int, seed: int, epoch: int
) -> Examples:
    """`examples` and `count` made-up sentences; every epoch draws others, and as many."""
    drawn = draw(seed, epoch, count)
    texts = [tokenizer.encode(text).token_ids for text, _ in drawn]
    owned = [label_names.index("positive" if positive else "negative") for _, positive in drawn]
    return with_texts(examples, texts, np.where(np.eye(2)[owned], _PLAIN, 1 - _PLAIN).astype(np.float32))


def draw(seed: int, epoch: int, count: int) -> list[tuple[str, bool]]:
    """`count` sentences, each with whether it is positive: pairs of one frame and the same neutral words.

    Each frame comes equally often, give or take one pair, and every epoch draws other sentences.
    """
    return list(islice(_endless(random.Random(f"{seed} {epoch}")), count))


def _endless(generator: random.Random) -> Iterator[tuple[str, bool]]:
    frames = lessons().frames
    while True:
        for frame in generator.sample(frames, len(frames)):
            neutral = _framed(frame.text, generator)
            for positive in (True, False):
                yield _finished(_filled(neutral, positive != frame.flips, generator), generator), positive


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = files("training.recipe").joinpath("lessons", name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)


def _framed(text: str, generator: random.Random) -> str:
    """The frame with its choices made and all that is neutral in place, perhaps between neutral sentences."""
    fillers = lessons().fillers

    def filler(slot: re.Match[str]) -> str:
        return generator.choice(fillers[slot[2]]) if slot[2] in fillers else slot[0]

    text = _SLOT.sub(filler, _CHOICE.sub(lambda choice: generator.choice(choice[1].split("|")), text))
    before, after = (
        generator.choice(fillers[kind]) if generator.random() < 0.15 else "" for kind in ("before", "after")
    )
    return " ".join(f"{before} {text} {after}".split())  # what is optional leaves a gap where it is left out


def _filled(text: str, positive: bool, generator: random.Random) -> str:
    """The sentence with words of the polarity in its slots, no word twice."""
    used: set[str] = set()

    def word(slot: re.Match[str]) -> str:
        kind, form = _FORMS[slot[2]]
        forms = generator.choice([w for w in lessons().words[kind, positive == (not slot[1])] if w[0] not in used])
        used.add(forms[0])
        return forms[form]

    return _SLOT.sub(word, text)


def _finished(text: str, generator: random.Random) -> str:
    """The sentence in its written form: articles, capitals, and at times the short forms of speech."""
    text = _VOWEL.sub(r"\1n ", text)
    if generator.random() < 0.5:
        text = _LONG_FORM.sub(
            lambda long: _SHORT.get(long[0], long[0].replace(" not", "n't").replace("it is", "it's")), text
        )
    return _SENTENCE_START.sub(lambda start: start[0].upper(), text)
