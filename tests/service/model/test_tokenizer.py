import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.tokenizer import SPECIAL, UNKNOWN, Batch, BlankText, Tokenizer, is_blank, tokens, words

VOCABULARY = [*SPECIAL, "good", "bad", ".", "don't", "i̇stanbul"]
TEXTS = st.text(max_size=200) | st.text(alphabet="ab'’ .!_<br/>İ\u0301好🙂\n", max_size=200)
RULES = st.sampled_from(["words-and-marks", "words"])


@given(TEXTS)
def test_every_visible_character_belongs_to_exactly_one_token(text: str) -> None:
    spans = [(start, end) for _, start, end in tokens(text)]
    covered = [place for start, end in spans for place in range(start, end)]
    assert len(covered) == len(set(covered))
    outside = "".join("" if place in set(covered) else char for place, char in enumerate(text))
    assert is_blank(outside)
    assert is_blank(text) == (not spans)


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
    if is_blank(text):
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
