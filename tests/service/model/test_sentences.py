import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.sentences import sentences

WRAPPED = "The story is told slowly, by people who have seen it all before and\nwho do not care. I did not either."

# Texts of one sentence each.
ONE = [
    # titles and other abbreviations
    "Mr. and Mrs. Smith met Dr. No at St. Mary's with Prof. Higgins.",
    "Sgt. Pepper is better than Lt. Dan vs. the Sgt. York of old.",
    "MR. SMITH IS HERE.",
    "Directed by J. R. R. Tolkien's friend and J.J. Abrams.",
    "An epic by George A. Romero.",
    "Bring snacks, drinks, etc. and a pillow.",
    "Use a tool, e.g. a hammer, i.e. something hard.",
    "See e.g. The Godfather, cf. Casino.",
    "Made in the U.S. by hand, sold in the U.K. for less.",
    "He served in the U.S. Army.",
    "We met at 5 p.m. on Monday and left at 9 a.m. sharp.",
    "Track No. 5 is approx. 3 min. long.",
    "Read the Jan. issue, or that of Feb. 12.",
    "A Warner Bros. Pictures film by Pixar Inc. and Foo Ltd. from 1999.",
    "Robert Downey Jr. Show of the year.",
    "Star Wars: Ep. IV is Vol. 2 of it.",
    "He holds a Ph.D. in physics.",
    "Mr.Rochester came home.",
    # numbers, names with a stop inside, addresses
    "It weighs 3.5 kg, runs v2.0.1 and costs $9.99 or .5 of that.",
    "Visit example.com or example.Com or www.Google.com for read me.txt.",
    "Write to a.b@example.co.uk, see http://example.com/a?b=C.d!e for more.",
    "Node.js and ASP.NET and System.Out.println(x) are U.S.A, e.g.this.",
    "Rated 4.5/5.0 at 10:30.",
    # ellipses and runs
    "I thought... well, maybe… not.",
    "The movie . . . it was long.",
    "...and then it broke.",
    "What?!?! ",
    "!!! Great",
    # marks inside a sentence that goes on
    '"Never again!" she said.',
    "“Why?” he asked (and why not?) before he left.",
    "He paid 500 (!) Euros and a “?” Key.",
    "Yahoo! is still there.",
    "What a film! and what an end.",
    "It broke; I sent it back: gone, they said.",
    "(It really was good.)",
    "Mr. & Mrs. Smith.",
    "Loved it 😍😍 Would recommend",
    "1. Good",
    "(a) good",
    "a. Good",
    "IV. Results",
    "2.) Bad acting",
    "No stop at all",
    "a",
    "?",
]
# (text, its sentences); without a text it is the sentences joined by spaces.
MANY = [
    (None, ["He said “Stop.”", "Then he left."]),
    (None, ['"Stop."', '"No."', "(He left.)", "'Fine.'"]),
    (None, ['I call it "art".', 'He calls it "bad!".', "So be it."]),
    (None, ["It was bad.", "“Terrible” is the word.", "(Really.)"]),
    (None, ["I like tea, cake, etc.", "Would buy again."]),
    (None, ["It is made in the U.S.", "The price is fair."]),
    (None, ["We came at 5 p.m.", "We left at 6 p.m.", "Great!"]),
    (None, ["I bought it from Foo Inc.", "They were slow."]),
    (None, ["He likes it and so do I.", "Great."]),
    (None, ["so do i.", "great."]),
    (None, ["He has no plan B.", "We do."]),
    (None, ["Is it any good?", "No.", "I sent it back."]),
    (None, ["It cost $9.99.", "Cheap."]),
    (None, ["I am at example.com.", "Write me."]),
    (None, ["I give it 4/5.", "Would buy.", "10/10!!", "Yes."]),
    (None, ["It was made in 1999.", "3 stars."]),
    (None, ["I waited...", "Nothing came.", "Then…", "It did!"]),
    (None, ["It was a mess . . .", "Nothing worked."]),
    (None, ["What?!", "Never!!!", "Why?", "Because."]),
    (None, ["I.", "love.", "this."]),
    (None, ["I.", "Love.", "This."]),
    (None, ["it was great.", "i loved it.", "would buy again"]),
    (None, ["Wow!", "that's good"]),
    (None, ["Who knows?", "not me."]),
    (None, ["i love this .", "it works .", "( really . ) what ? !", "yes"]),
    (None, ["Great! 😀", "Will buy again.", "Bad! 👎🏽❤️", "Sorry."]),
    (None, ["Great! :-)", "Will buy again. ;)", "Yes."]),
    (None, ["**Great!**", "It works."]),
    (None, ["THIS IS BAD.", "VERY BAD."]),
    (None, ["That is no small feat.", "Not so on Main St.", "The rest is."]),
    (None, ["I fought the sun.", "It won."]),
    (None, ["It’s Pete’s.", "That is all."]),
    ("Bad.Never again.", ["Bad.", "Never again."]),
    ("So dull!Never again?Never.", ["So dull!", "Never again?", "Never."]),
    ("I gave it a 10.This is it.I mean it.", ["I gave it a 10.", "This is it.", "I mean it."]),
    ("The end...But no.", ["The end...", "But no."]),
    ('He said "no."Then he left.', ['He said "no."', "Then he left."]),
    # other scripts
    ("很好。不错！真的？是。", ["很好。", "不错！", "真的？", "是。"]),
    ("他说：“好。”然后走了。", ["他说：“好。”", "然后走了。"]),
    ("「すごい！」。いいね。", ["「すごい！」。", "いいね。"]),
    ("好吃!下次再来.一定", ["好吃!", "下次再来.", "一定"]),
    (None, ["¿Qué tal?", "¡Muy bien!", "Es bueno.", "¿No?"]),
    ("Es bueno.¿No?", ["Es bueno.", "¿No?"]),
    (None, ["هل هو جيد؟", "نعم.", "شكرا"]),
    (None, ["यह अच्छा है।", "मुझे पसंद है।"]),
    (None, ["Отлично.", "Куплю ещё!", "Да."]),
    (None, ["« Non. »", "Il part."]),
    (None, ["Er sagte: „Nein.“", "Dann ging er."]),
    # line breaks
    ("great phone\nbattery is bad\r\nok", ["great phone", "battery is bad", "ok"]),
    ("Title\n\nText", ["Title", "Text"]),
    ("Good.<br /><br />Bad<BR>Ugly<br/>", ["Good.", "Bad", "Ugly"]),
    ("<br /> \n Good", ["Good"]),
    (WRAPPED, [WRAPPED[:-18], "I did not either."]),
    (WRAPPED.replace("\n", "\n\n"), [WRAPPED[:67], "who do not care.", "I did not either."]),
    (WRAPPED.replace(" and\n", ".\n"), [WRAPPED[:63] + ".", "who do not care.", "I did not either."]),
    ("1. Good\n2. Bad\n3) Ugly", ["1. Good", "2. Bad", "3) Ugly"]),
    ("Pros:\n- cheap\n* light.\n• small", ["Pros:", "- cheap", "* light.", "• small"]),
    ("(a) Good.\n(b) Bad. Very.", ["(a) Good.", "(b) Bad.", "Very."]),
    ("Good!\n😀", ["Good!", "😀"]),
    # nothing but white space
    ("", []),
    (" \t\n\u2028 <br />", []),
]
WORDS = ["Mr.", "etc.", "U.S.", "a.m.", "I", "The", "good", "3.5", "1.", "x.com", "''", ":)", "<br />", "\r\n"]
PIECES = st.sampled_from([*"好。.!?…()“”'😀-İ \n\u2028\xa0\x1f\"", *WORDS])
TEXTS = st.text() | st.lists(PIECES, max_size=40).map("".join) | st.lists(PIECES, max_size=40).map(" ".join)


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize("text", ONE)
def test_one_sentence_stays_whole(text: str) -> None:
    assert split(text) == [text.strip()]


@pytest.mark.parametrize(("text", "expected"), MANY)
def test_sentences_are_told_apart(text: str | None, expected: list[str]) -> None:
    assert split(" ".join(expected) if text is None else text) == expected


@given(TEXTS)
def test_every_visible_character_is_in_exactly_one_sentence(text: str) -> None:
    found = sentences(text)
    blanked = re.sub(r"<br\s*/?>", lambda tag: " " * len(tag.group()), text, flags=re.IGNORECASE)
    assert all(0 <= start < end <= len(text) for start, end in found)
    assert all(end <= start for (_, end), (start, _) in pairwise(found))
    assert all(blanked[start:end] == blanked[start:end].strip() for start, end in found)
    inside = {place for start, end in found for place in range(start, end)}
    assert {place for place, character in enumerate(blanked) if not character.isspace()} <= inside
    assert bool(found) == bool(blanked.strip())


@given(TEXTS, TEXTS)
def test_a_blank_line_separates_texts(text: str, other: str) -> None:
    assert split(f"{text}\n\n{other}") == split(text) + split(other)


@pytest.mark.parametrize("unit", [".", '"', "(", "A. ", " ", "<br />", "<br", ". (", '."', "\n", "a.", "! 😀", ". :"])
def test_time_is_linear_in_the_length(unit: str) -> None:
    """Quadratic time would take hours here and meet the tests' own time limit."""
    assert len(sentences(unit * (300_000 // len(unit)))) <= 1
