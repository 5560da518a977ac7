"""Offsets in other units point at the same characters."""

from array import array
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.classifier import Classifier, Evidence, Prediction, Sentence
from service.model.offsets import Unit, convert

# One to four bytes of UTF-8, one or two units of UTF-16; a ZWJ family, a skin tone, combining marks, a flag.
CHARACTERS = ["a", "é", "e\u0301", "ß", "好", "क्षि", "𝒜", "🙂", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪", "\ufeff", " ", ".", "’"]
CUT: dict[Unit, Callable[[str, int, int], str]] = {
    "code_points": lambda text, start, end: text[start:end],
    "utf16": lambda text, start, end: text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le"),
    "utf8": lambda text, start, end: text.encode()[start:end].decode(),
}


def prediction(spans: list[tuple[int, int]]) -> Prediction:
    starts, ends = (array("i", [span[side] for span in spans]) for side in (0, 1))
    evidence = Evidence(0.1, starts, ends, array("d", [0.5] * len(spans)))
    sentences = [Sentence(start, end, "good", 0.9, False) for start, end in spans]
    return Prediction("good", 0.9, {"good": 0.9, "bad": 0.1}, False, 9, False, 0.0, evidence, [0.0, 2.2], sentences)


@pytest.mark.parametrize("unit", CUT)
@given(st.lists(st.sampled_from(CHARACTERS) | st.characters(exclude_categories=["Cs"]), min_size=1), st.data())
def test_every_span_cuts_out_what_it_cut_out_before(unit: Unit, characters: list[str], data: st.DataObject) -> None:
    text = "".join(characters)
    place = st.integers(0, len(text))
    spans = [(min(pair), max(pair)) for pair in data.draw(st.lists(st.tuples(place, place), max_size=5))]
    before = prediction(spans)
    found = convert(before, text, unit)
    assert found.evidence is not None
    assert found.sentences is not None
    expected = [text[start:end] for start, end in spans]
    assert [CUT[unit](text, start, end) for start, end, _ in found.evidence.tokens] == expected
    assert [CUT[unit](text, *sentence[:2]) for sentence in found.sentences] == expected
    assert [sentence[2:] for sentence in found.sentences] == [sentence[2:] for sentence in before.sentences or ()]


@pytest.mark.parametrize("unit", CUT)
def test_where_both_count_alike_nothing_is_made_anew(unit: Unit) -> None:
    found = prediction([(0, 3)])
    assert convert(found, "plain text", unit) is found
    assert convert(found, "emoji 🙂", "code_points") is found
    neither = found._replace(evidence=None, sentences=None)
    assert convert(neither, "emoji 🙂", unit) is neither


def test_the_tokens_of_a_text_with_emoji(tiny_classifier: Classifier) -> None:
    text = "I 😍 this film 👍🏽 so much"
    [found] = tiny_classifier([text], evidence=True)
    words = ["I", "😍", "this", "film", "👍🏽", "so", "much"]
    for unit, cut in CUT.items():
        evidence = convert(found, text, unit).evidence
        assert evidence is not None
        assert [cut(text, start, end) for start, end, _ in evidence.tokens] == words
