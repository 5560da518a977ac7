from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.classifier import Classifier
from service.model.tokenizer import is_blank, tokens, words
from tests.conftest import made_up_reviews
from training.data.corpus import Labelled
from training.evaluation import robustness
from training.evaluation.robustness import NEUTRAL_TEXTS, PERTURBATIONS

CHANGES = {perturbation.name: perturbation.change for perturbation in PERTURBATIONS}
TEXTS = st.text(max_size=200) | st.text(alphabet="ab'’ .!?\")<br/>好\n", max_size=200)
REVIEW = "It isn't good. I'd “like” it (a lot) more!\nBut why?<br /><br />Well-made, No. 1 " + "and on it goes. " * 50


def changed(name: str, text: str = REVIEW) -> str:
    return CHANGES[name](text, Random(1))


@given(st.text(st.characters(max_codepoint=127)))
def test_case_is_no_part_of_a_token(text: str) -> None:
    assert words(text) == words(changed("lower case", text)) == words(changed("upper case", text))


@given(TEXTS)
def test_line_breaks_are_no_part_of_a_token(text: str) -> None:
    assert words(changed("`<br /><br />` after every sentence", text)) == words(text)
    assert Counter(words(" ".join(robustness.sentences(text)))) == Counter(words(text))


def test_letters_are_swapped_or_dropped() -> None:
    for name, rate in (("typos, 1 % of letters swapped or dropped", 0.01), ("typos, 3 %", 0.03)):
        plain = REVIEW.replace("<br /><br />", "  ")
        found = changed(name, plain)
        edits = round(rate * sum(map(str.isalpha, plain)))
        assert edits >= 5
        dropped = len(plain) - len(found)
        assert 0 < dropped < edits
        assert not Counter(found) - Counter(plain)  # nothing is put in
        assert [c for c in found if not c.isalpha()] == [c for c in plain if not c.isalpha()]
        assert found == changed(name, plain)
        assert found != CHANGES[name](plain, Random(2))
    assert changed("typos, 3 %", "1 + 1 = 2") == "1 + 1 = 2"


def test_punctuation_goes_and_apostrophes_of_words_stay() -> None:
    start = "it isn't good i'd like it a lot more but why well made no 1 and on it goes"
    assert " ".join(words(changed("no punctuation"))).startswith(f"{start} and on")


def test_cut_to_a_part() -> None:
    found = words(REVIEW)
    assert words(changed("its first 128 tokens")) == found[:128]
    assert words(changed("its last 128 tokens")) == found[-128:]
    assert changed("its first 128 tokens", "So bad") == changed("its last 128 tokens", "So bad") == "So bad"
    assert changed("one sentence of it") in robustness.sentences(REVIEW)
    assert len(changed("one sentence of it").split()) >= 4
    assert changed("one sentence of it", "No. Never!") == "Never!"


def test_sentences_shuffled_are_the_same_sentences() -> None:
    found = changed("sentences shuffled")
    assert found != " ".join(robustness.sentences(REVIEW))
    assert Counter(words(found)) == Counter(words(REVIEW))


def test_texts_are_put_beside_it() -> None:
    assert [len(words(text)) for text in NEUTRAL_TEXTS] == sorted(len(words(text)) for text in NEUTRAL_TEXTS)
    assert all(100 <= len(words(text)) <= 300 for text in NEUTRAL_TEXTS)
    assert changed("neutral text after it").removeprefix(REVIEW + " ") in NEUTRAL_TEXTS
    assert changed("neutral text before it").removesuffix(" " + REVIEW) in NEUTRAL_TEXTS
    repeated, padded = changed("repeated up to 10,000 tokens"), changed("neutral text up to 10,000 tokens after it")
    for found in (repeated, padded):
        assert found.startswith(REVIEW)
        assert 10_000 <= sum(1 for _ in tokens(found)) <= 10_600
    assert repeated.count("isn't") == repeated.count("Well-made") > 10
    assert padded.count("isn't") == 1


def test_what_is_lost_is_counted_through_the_classifier(tiny_classifier: Classifier) -> None:
    labels = tiny_classifier.manifest.labels
    reviews = [Labelled(text, labels.index(label), 0, "") for text, label in made_up_reviews()[::7]]
    # Nothing is left of the first without marks; the second is wrong however it comes.
    reviews += [Labelled("!!!", 0, 0, ""), Labelled("awful", 1, 0, "")]
    found = robustness.report(tiny_classifier, reviews)
    assert found["reviews"] == len(reviews)
    assert found == robustness.report(tiny_classifier, reviews)
    assert list(found["perturbations"]) == list(CHANGES)
    for name in ("lower case", "upper case", "`<br /><br />` after every sentence"):
        assert found["perturbations"][name]["same_tokens"] == 1
        assert found["perturbations"][name]["fall"] == 0
    for name, one in found["perturbations"].items():
        [perturbation] = [each for each in PERTURBATIONS if each.name == name]
        right = 0
        for text, label, *_ in reviews:
            new = robustness.changed(text, perturbation)
            assert not is_blank(new)
            [prediction] = tiny_classifier([new])
            right += prediction.label == labels[label]
        assert one["accuracy"] == right / len(reviews)
        assert one["fall"] == pytest.approx(found["accuracy"] - one["accuracy"])
        low, high = one["fall_interval_95"]
        assert low < one["fall"] < high


def test_odd_texts_are_answered_or_refused(tiny_classifier: Classifier) -> None:
    found = robustness.odd_texts(tiny_classifier)
    assert found["white space"] == found["a line break of HTML"] == {"refused": True}
    assert found["unknown words only"]["uncertain"]
    assert found["unknown words only"]["unknown_share"] == 1
    [neutral] = tiny_classifier([NEUTRAL_TEXTS[0]])
    assert (found["neutral text 1"]["label"], found["neutral text 1"]["score"]) == (neutral.label, neutral.score)
