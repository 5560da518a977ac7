"""The lessons in negation: what they are made of, how they are drawn, and that none of it stands in the probe."""

import re
from collections.abc import Iterator
from itertools import product

import numpy as np

from service.model.tokenizer import SPECIAL, Tokenizer
from tests.training.evaluation.test_negation import stem
from training.evaluation import negation
from training.fitting.examples import Examples
from training.recipe import contrasts

LESSONS = contrasts.lessons()
PROBE = [pair for name in negation.SETS.values() for pair in negation.read(name)]

# What any text about a film may use: words without a sentiment. No word of a polarity is among them.
FUNCTION_WORDS = """
a about after again all also am an and any anyone anything are as at be become been before beyond but by call can cannot
come could cut did do does done doing down each else even ever every everyone everything few first for found from get
go had half has have having he her here his how however i if in into is isn't it its itself just know last least less
like little long look lot many may me mean meant might more most much must my need never no nobody none nor not nothing
now nowhere of off often on once one only or other others ought our out over own part people quite rather really say
see seldom set she should simply since so some someone something soon still such tell than that the their them then
there they thing think this those though through time to too two under up us very was way we well went were what
whatever when where which while who whoever whole whose why will with without would yes yet you your
although anywhere around become despite during ever everybody exactly far hardly instead later least neither near never
otherwise perhaps plainly rarely scarcely several spite than therefore though till truly unless unlike until upon
whether within yours myself herself himself them't don't didn't doesn't wasn't can't couldn't wouldn't won't haven't
"""
FILM_NOUNS = """
film films movie movies plot acting story scene scenes script ending cast director picture comedy drama thriller show
music performance sequel dialogue screenplay score soundtrack remake series documentary musical western adaptation
"""


def frames_as_read() -> Iterator[str]:
    for frame in LESSONS.frames:
        parts = re.split(r"\[([^\[\]]*)\]", frame.text)
        for chosen in product(*(part.split("|") if index % 2 else [part] for index, part in enumerate(parts))):
            yield "".join(chosen)


def content_words(texts: Iterator[str] | list[str]) -> set[str]:
    found = set(re.findall(r"[a-z]+", re.sub(r"\{.*?\}", " ", " ".join(texts).lower()).replace("n't", " not")))
    return found - set(FUNCTION_WORDS.split()) - set(FILM_NOUNS.split())


def bare(text: str) -> str:
    """The text of a template: each slot and each subject `*`, the short forms written out, without marks."""
    text = re.sub(r"\{.*?\}", "*", text.lower()).replace("can't", "cannot").replace("n't", " not").replace("'s", " is")
    subjects = sorted({*LESSONS.fillers["film"], *LESSONS.fillers["whole"]}, key=len, reverse=True)
    text = re.sub(rf"\b({'|'.join(map(re.escape, subjects))})\b", "*", text)
    text = re.sub(r"\b(an?|really|so|very|truly|simply) (?=\*)", "", text)
    return " ".join(re.findall(r"[a-z']+|\*", text))


def test_no_content_word_stands_in_the_probe() -> None:
    probe = content_words([half for pair in PROBE for half in (pair.positive, pair.negative)])
    lexicon = [form for words in LESSONS.words.values() for forms in words for form in forms]
    fillers = [filler for kind in LESSONS.fillers.values() for filler in kind]
    for ours, theirs in product(sorted(content_words([*lexicon, *fillers, *frames_as_read()])), sorted(probe)):
        alike = stem(ours) == stem(theirs) or (len(ours) >= 5 and ours[:5] == theirs[:5])
        assert not alike, f"`{ours}` stands in the probe too"


def test_the_words_that_may_be_shared_have_no_polarity() -> None:
    adjectives = {forms[0] for (kind, _), words in LESSONS.words.items() if kind in ("adj", "adv") for forms in words}
    assert not adjectives & set(FUNCTION_WORDS.split()) - {"well"}


def test_no_frame_is_a_template_of_the_probe() -> None:
    templates = {bare(sentence) for pair in PROBE for sentence in (pair.template, *re.split(r"[.?!;] ", pair.template))}
    for frame in frames_as_read():
        for text in (frame, *re.split(r"[.?!;] ", frame)):
            assert bare(text) not in templates or len(bare(text).split()) < 3, f"`{text}` is a template of the probe"


def test_draws_are_balanced_pairs_that_the_seed_decides() -> None:
    drawn = contrasts.draw(1, 0, 2 * len(LESSONS.frames))
    assert drawn == contrasts.draw(1, 0, 2 * len(LESSONS.frames)) != contrasts.draw(1, 1, 2 * len(LESSONS.frames))
    assert [positive for _, positive in drawn] == [True, False] * len(LESSONS.frames)
    for (positive, _), (negative, _) in zip(drawn[::2], drawn[1::2], strict=True):
        assert positive != negative  # the two halves of a pair differ in their words of a polarity alone
    assert len(contrasts.draw(1, 0, 7)) == 7


def test_lessons_are_added_under_their_labels() -> None:
    tokenizer = Tokenizer([*SPECIAL, "film", "not", "the"], 50, "head-and-tail")
    one = Examples(np.array([2, 3], np.int32), np.array([0]), np.array([2]), np.array([[0.5, 0.5]], np.float32))
    labels = ("positive", "negative")
    found = contrasts.with_contrasts(one, tokenizer, labels, 40, 1, 0)
    assert len(found) == 41
    assert found.targets[0].tolist() == [0.5, 0.5]
    np.testing.assert_allclose(found.targets[1:], [[0.95, 0.05], [0.05, 0.95]] * 20, rtol=1e-6)
    text, _ = contrasts.draw(1, 0, 1)[0]
    assert found.token_ids[found.starts[1] : found.ends[1]].tolist() == tokenizer.encode(text).token_ids.tolist()
    assert contrasts.suit(labels)
    assert not contrasts.suit(("bad", "good"))


def test_no_slot_is_left_and_articles_fit() -> None:
    for text, _ in contrasts.draw(2, 0, 5000):
        assert not re.search(r"[{}\[\]<>|]|  ", text), text
        assert not re.search(r"\b[Aa] (?:[ai]|o(?!ne)|e(?!u))", text), text
        assert text[0].isupper() or not text[0].isalpha()
        assert text[-1] in ".?!", text


def test_frames_and_words_stand_once() -> None:
    assert len(set(LESSONS.frames)) == len(LESSONS.frames)
    for kind in {kind for kind, _ in LESSONS.words}:
        positive, negative = ({forms[0] for forms in LESSONS.words[kind, side]} for side in (True, False))
        assert positive
        assert negative
        assert not positive & negative
