"""The array look-up gives what the pattern and the dictionary give."""

import re
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.tokenizer import SPECIAL, UNKNOWN, Tokenizer, words
from service.model.vocabulary import MAX_CHARACTERS, Lookup

LATIN = "".join(map(chr, range(256)))
# So many short words that some share a slot.
VOCABULARY = [
    *SPECIAL,
    *LATIN.lower().replace(" ", ""),
    "don't",
    "o'c'd",
    "café",
    "good",
    "<name>",
    "two words",
    "Upper",
    "' '",
]
VOCABULARY += [a + b + c for a in string.ascii_lowercase for b in "aeiou1é" for c in string.ascii_lowercase]
VOCABULARY = list(dict.fromkeys(VOCABULARY))
TOKENIZERS = [
    Tokenizer(VOCABULARY, 10**6, "head", rules) for rules in ("words-and-marks-2", "words-and-marks", "words")
]
TEXTS = (
    st.text(alphabet=LATIN, max_size=100)
    | st.text(alphabet="ab'1_. \n\xa0é²ÀG’İΣ", max_size=60)
    | st.lists(st.sampled_from([*VOCABULARY, "unheard", "@bob", "&eacute;"])).map(" ".join)
)


def by_dictionary(tokenizer: Tokenizer, text: str) -> list[int]:
    ids = {word: place for place, word in enumerate(tokenizer.vocabulary)}
    return [ids.get(word, UNKNOWN) for word in words(text, tokenizer.rules)]


@given(TEXTS, st.sampled_from(TOKENIZERS))
def test_ids_are_those_of_the_dictionary(text: str, tokenizer: Tokenizer) -> None:
    expected = by_dictionary(tokenizer, text)
    if expected:
        assert tokenizer.encode(text).token_ids.tolist() == expected


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_every_word_of_the_vocabulary_is_found(tokenizer: Tokenizer) -> None:
    text = " ".join(VOCABULARY[2:])[:MAX_CHARACTERS]
    assert tokenizer.encode(text).token_ids.tolist() == by_dictionary(tokenizer, text)


@pytest.mark.parametrize("characters", [MAX_CHARACTERS - 1, MAX_CHARACTERS, MAX_CHARACTERS + 1])
def test_a_long_text_is_read_like_any(characters: int) -> None:
    text = ("a café, good " * MAX_CHARACTERS)[: characters - 1] + "!"
    for tokenizer in TOKENIZERS:
        assert tokenizer.encode(text).token_ids.tolist() == by_dictionary(tokenizer, text)
    assert TOKENIZERS[0].encode("a" * characters).token_ids.tolist() == [UNKNOWN]


def test_most_words_are_found_in_the_array() -> None:
    asked = list[str]()

    class Asked(dict[str, int]):
        def get(self, key: str, default: int = UNKNOWN) -> int:  # type: ignore[override]
            asked.append(key)
            return super().get(key, default)

    vocabulary = [f"{letter}{number}" for number in range(1000) for letter in "abc"]
    lookup = Lookup(Asked((word, place) for place, word in enumerate(vocabulary)), re.compile(r"[a-z0-9]+|\S"), UNKNOWN)
    assert lookup(" ".join(vocabulary)).tolist() == list(range(len(vocabulary)))
    assert len(asked) < 0.1 * len(vocabulary)


def test_another_script_is_refused() -> None:
    lookup = Lookup({}, re.compile(r"\w+"), UNKNOWN)
    assert np.array_equal(lookup("any word"), [UNKNOWN, UNKNOWN])
    with pytest.raises(UnicodeEncodeError):
        lookup("Ω")
