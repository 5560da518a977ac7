import re
import unicodedata
from html.entities import html5
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import bundle
from service.model.scanner import ADDRESS, NAME
from service.model.tokenizer import SPECIAL, UNKNOWN, Batch, BlankText, Rules, Tokenizer, is_blank, tokens, words

BUNDLED = Path(__file__).parents[3] / "models" / "reviews-bilstm"
VOCABULARY = [*SPECIAL, "good", "bad", ".", "don't", "i̇stanbul", "é", "好", "👍🏽", NAME]
PIECES = [
    *"ab'’ .!_<br/>İé好カ🙂\n1#&;@-", "\u00ad", "\u200b", "\ufeff", "\U000323b0", "e\u0301", "\u0301", "\u3099",
    "\u0327", "\ufe0f", "\u20e3", "\u200d", "\u200c", "👍", "🏽", "🇩", "❤", "ดี", "كَ", "Σ", "\ud800", "ǆ",
    "\u1112\u1161", "&amp;", "&#39;", "&nbsp;", "&lt;br&gt;", "&fjlig;", "&nvlt;", "&#0;", "&#x301;", "&bad;", "<br />",
    "http://", "www.", "a@b.de", "@bob", "://",
]  # fmt: skip
TEXTS = st.text(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
OLD: Rules = "words-and-marks"
NEW: Rules = "words-and-marks-2"
RULES = st.sampled_from([NEW, OLD, "words"])


@given(TEXTS, st.sampled_from([NEW, OLD]))
def test_every_visible_character_belongs_to_exactly_one_token(text: str, rules: Rules) -> None:
    spans = [(start, end) for _, start, end in tokens(text, rules)]
    covered = [place for start, end in spans for place in range(start, end)]
    assert covered == sorted(set(covered))
    assert all(start < end for start, end in spans)
    outside = "".join("" if place in set(covered) else char for place, char in enumerate(text))
    assert is_blank(outside, rules)
    assert is_blank(text, rules) == (not spans)


@given(TEXTS)
def test_what_is_blank_for_any_rules_is_blank_by_default(text: str) -> None:
    assert is_blank(text) or not is_blank(text, OLD)


@given(TEXTS)
def test_old_rules_read_as_ever(text: str) -> None:
    plain = re.sub(r"<br\s*/?>", lambda tag: " " * len(tag[0]), text, flags=re.IGNORECASE).replace("\u2019", "'")
    for rules, pattern in ((OLD, r"[^\W_]+(?:'[^\W_]+)*|\S"), ("words", r"[^\W_]+(?:'[^\W_]+)*")):
        expected = [(found[0].lower(), *found.span()) for found in re.finditer(pattern, plain)]
        assert list(tokens(text, rules)) == expected
        assert words(text, rules) == [token for token, _, _ in expected]


def test_a_bundle_reads_with_the_rules_of_its_manifest(tmp_path: Path) -> None:
    new = bundle.read(BUNDLED)
    assert new.tokenizer.rules == new.manifest.rules == "words-and-marks-2"
    manifest = new.manifest.model_copy(update={"rules": OLD})
    bundle.write(tmp_path / "old", manifest, new.model, new.tokenizer.vocabulary)
    found = bundle.read(tmp_path / "old")
    ids = {token: place for place, token in enumerate(found.tokenizer.vocabulary)}
    assert found.tokenizer.rules == OLD
    for text in [*(golden.text for golden in found.manifest.golden), "Café &amp; 好吃 👍🏽 see http://a.b/c @bob"]:
        expected = [ids.get(token, UNKNOWN) for token in re.findall(r"[^\W_]+(?:'[^\W_]+)*|\S", text.lower())]
        assert found.tokenizer.encode(text).token_ids.tolist() == expected


@pytest.mark.parametrize(
    ("text", "slices"),
    [
        ("كَتَبَ الْكِتَابَ", "كَتَبَ|الْكِتَابَ"),  # Arabic with its vowels
        ("שָׁלוֹם", "שָׁלוֹם"),
        ("ดีมาก น้ำ ที่", "ดีมาก|น้ำ|ที่"),
        ("हिन्दी क्\u200dष", "हिन्दी|क्\u200dष"),
        ("می\u200cخواهم.", "می\u200cخواهم|."),
        ("അവന്\u200d !", "അവന്\u200d|!"),
        ("Cafe\u0301s, nai\u0308ve", "Cafe\u0301s|,|nai\u0308ve"),
        ("\u1112\u1161\u11ab국어 ㅋㅋㅋ", "\u1112\u1161\u11ab국어|ㅋㅋㅋ"),
        ("很好吃。人々か\u3099ラーメンﾃﾞ〇", "很|好|吃|。|人|々|か\u3099|ラ|ー|メ|ン|ﾃﾞ|〇"),
        ("iPhone很好3天", "iPhone|很|好|3|天"),
        ("葛\U000e0100城", "葛\U000e0100|城"),
        ("👍🏽👍", "👍🏽|👍"),
        ("👨‍👩‍👧👩🏽‍🤝‍👨🏻❤️‍🔥", "👨‍👩‍👧|👩🏽‍🤝‍👨🏻|❤️‍🔥"),
        ("❤️❤", "❤️|❤"),
        ("🏳️‍🌈🇩🇪🇫🇷🇩", "🏳️‍🌈|🇩🇪|🇫🇷|🇩"),
        ("🏴󠁧󠁢󠁥󠁮󠁧󠁿!", "🏴󠁧󠁢󠁥󠁮󠁧󠁿|!"),
        ("1️⃣2⃣#️⃣ 11️⃣", "1️⃣|2⃣|#️⃣|1|1️⃣"),
        ("good👍🏽good", "good|👍🏽|good"),
        ("\U0001faff\U0001f3fd", "\U0001faff\U0001f3fd"),  # an emoji still to come
        ("\u0301\u0301 \u0301a", "\u0301\u0301|\u0301|a"),
        ("\U000323b0\u0301", "\U000323b0|\u0301"),  # not in Unicode 14
        ("#fail :)", "#|fail|:|)"),
        ("don&#39;t Tom&nbsp;&amp; me&quot;", "don&#39;t|Tom|&amp;|me|&quot;"),
        ("caf&eacute;s &#x1F44D;&#127997;", "caf&eacute;s|&#x1F44D;&#127997;"),
        ("&lt;br&gt;a&lt;br /&gt;b", "a|b"),
        ("&amp;lt; &copy &foo; AT&T; &#1; &#99999999;", "&amp;|lt|;|&|copy|&|foo|;|AT|&|T|;|&|#|1|;|&|#|99999999|;"),
        ("see http://a.b/c.", "see|http://a.b/c|."),
        ("(HTTPS://x.com/a_(b)?c=1&amp;d=2), www.x.de!", "(|HTTPS://x.com/a_(b)?c=1&amp;d=2|)|,|www.x.de|!"),
        ('<a href="http://a.b">', '<|a|href|=|"|http://a.b|"|>'),
        ("看https://t.cn/abc很好", "看|https://t.cn/abc|很|好"),
        ("me.and+you@x.co.uk. a@b", "me.and+you@x.co.uk|.|a|@|b"),
        ("@bob, (@the.rock) @жена! @ế @\u0301a", "@bob|,|(|@the.rock|)|@жена|!|@ế|@\u0301|a"),
        ("5@10 @ 7pm @8pm http:// www.", "5|@|10|@|7pm|@|8pm|http|:|/|/|www|."),
        ("imdb.com bad.Never", "imdb|.|com|bad|.|Never"),
    ],
)
def test_new_rules_read_what_people_send(text: str, slices: str) -> None:
    assert [text[start:end] for _, start, end in tokens(text, NEW)] == slices.split("|")


def test_new_rules_look_up_what_is_meant() -> None:
    assert words("Cafe\u0301 caf&eacute; CAFE&#x301;", NEW) == ["caf\u00e9"] * 3
    assert words("don&#39;t don&rsquo;t don’t", NEW) == ["don't"] * 3
    assert words("http://A.b/c WWW.x.de me@x.de @Bob @ann &#64;bob", NEW) == [ADDRESS] * 3 + [NAME] * 3
    assert words("&lt;name&gt; <address>", NEW) == ["<", "name", ">", "<", "address", ">"]
    assert words("❤️ ❤", NEW) == ["❤️", "❤"]
    encoded = Tokenizer(VOCABULARY, 10, "head", NEW).encode("@ann 好👍🏽e\u0301", spans=True)
    assert encoded.spans is not None
    assert (encoded.unknown, encoded.spans.tolist()) == (0, [[0, 4], [5, 6], [6, 8], [8, 10]])


def test_every_character_reference_of_html_is_read() -> None:
    for name, meaning in html5.items():
        if name.endswith(";"):
            text = f"a &{name} b"
            assert words(text, NEW) == words(f"a {meaning} b", NEW)
            assert [text[start:end] for _, start, end in tokens(text, NEW)] == [
                "a",
                *[f"&{name}"][: not is_blank(meaning)],
                "b",
            ]


@given(TEXTS)
def test_a_token_by_itself_reads_the_same(text: str) -> None:
    for token, start, end in tokens(text, NEW):
        assert words(text[start:end], NEW) == [token]


@given(TEXTS, TEXTS)
def test_white_space_parts_texts(first: str, second: str) -> None:
    first, second = first.replace("<", "."), second.replace("<", ".")  # but not the parts of a line-break tag
    assert words(f"{first} {second}", NEW) == words(first, NEW) + words(second, NEW)


@given(TEXTS)
def test_equivalent_texts_have_the_same_tokens(text: str) -> None:
    # "=" begins a decomposed "≠" and may stand in an address, "≠" may not: hence none here.
    text = "".join(char for char in text if char not in "<>&;@:." and unicodedata.category(char) != "Cn")
    composed, decomposed = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert words(composed, NEW) == words(decomposed, NEW)


@given(
    st.text(alphabet=st.characters(max_codepoint=255, exclude_characters="&@:") | st.sampled_from(" '.ab"), max_size=99)
)
def test_new_rules_change_nothing_in_plain_latin_text(text: str) -> None:
    text = re.sub("www", "", text, flags=re.IGNORECASE)
    assert list(tokens(text, NEW)) == list(tokens(text, OLD))


@given(TEXTS)
def test_offsets_give_back_the_words(text: str) -> None:
    for token, start, end in tokens(text):
        assert text[start:end].replace("’", "'").lower() == token


@given(TEXTS, RULES)
def test_words_are_the_tokens(text: str, rules: str) -> None:
    assert words(text, rules) == [token for token, _, _ in tokens(text, rules)]  # type: ignore[arg-type]


@given(TEXTS, RULES, st.sampled_from(["head", "tail", "head-and-tail"]), st.integers(2, 9))
def test_encode_keeps_its_promises(text: str, rules: str, truncation: str, max_tokens: int) -> None:
    tokenizer = Tokenizer(VOCABULARY, max_tokens, truncation, rules)  # type: ignore[arg-type]
    if is_blank(text, rules):  # type: ignore[arg-type]
        with pytest.raises(BlankText):
            tokenizer.encode(text)
        return
    plain, placed = tokenizer.encode(text), tokenizer.encode(text, spans=True)
    assert 1 <= len(plain.token_ids) <= max_tokens
    assert len(plain.token_ids) == min(plain.tokens, max_tokens)
    assert plain.unknown == int((plain.token_ids == UNKNOWN).sum())
    assert np.array_equal(plain.token_ids, placed.token_ids)
    assert placed.spans is not None
    assert len(placed.spans) == len(placed.token_ids)
    assert (plain.tokens, plain.unknown, plain.spans) == (placed.tokens, placed.unknown, None)


@pytest.mark.parametrize(("truncation", "kept"), [("head", "abcd"), ("tail", "fghi"), ("head-and-tail", "abhi")])
def test_truncation_keeps_what_it_says(truncation: str, kept: str) -> None:
    tokenizer = Tokenizer([*SPECIAL, *"abcdefghi"], 4, truncation, "words")  # type: ignore[arg-type]
    encoded = tokenizer.encode("a b c d e f g h i", spans=True)
    assert "".join(tokenizer.vocabulary[i] for i in encoded.token_ids) == kept
    assert encoded.spans is not None
    positions = [2 * "abcdefghi".index(c) for c in kept]
    assert encoded.spans.tolist() == [[position, position + 1] for position in positions]
    assert encoded.tokens == 9


def test_line_breaks_and_case_change_nothing() -> None:
    tokenizer = Tokenizer(VOCABULARY, 10, "head")
    plain = tokenizer.encode("good\nbad").token_ids
    assert np.array_equal(tokenizer.encode("GOOD<br /><BR>bad").token_ids, plain)
    assert words("don’t DON'T don't") == ["don't"] * 3
    assert tokenizer.encode("İSTANBUL").unknown == 0


def test_no_script_is_dropped() -> None:
    assert words("café 好 🙂 _x_") == ["café", "好", "🙂", "_", "x", "_"]


def test_a_text_without_words_is_one_unknown_word() -> None:
    encoded = Tokenizer(VOCABULARY, 10, "head", "words").encode("  !!! ", spans=True)
    assert encoded.spans is not None
    assert (encoded.token_ids.tolist(), encoded.spans.tolist()) == ([UNKNOWN], [[2, 5]])


def test_a_batch_is_padded_at_its_ends() -> None:
    batch = Batch.pad([np.array([2], np.int32), np.array([3, 4, 5], np.int32)])
    assert batch.token_ids.tolist() == [[2, 0, 0], [3, 4, 5]]
    assert batch.lengths.tolist() == [1, 3]


@pytest.mark.parametrize("vocabulary", [["good"], [*SPECIAL, "good", "good"]])
def test_a_wrong_vocabulary_is_refused(vocabulary: list[str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Tokenizer(vocabulary, 10, "head")
