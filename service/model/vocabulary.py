"""Text of Latin-1 -> token ids, with no Python object for a word: half the time of a pattern and a dictionary.

The words' hashes are computed by array arithmetic and looked up in an array, which also stays in a processor's cache
where the dictionary does not. A word c[0] ... c[n-1] has the hash sum(code(c[i]) * B**i) modulo 2**64. With
x[j] = code(text[j]) * B**j for every character j of a text, that of its word from `start` on is
sum(x[start:start + n]) * B**-start: one pass for all words.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby

import numpy as np
from numpy.typing import NDArray

MAX_CHARACTERS = 16_384  # of a text: there are powers for so many

_NEITHER, _WORD, _MARK = 0, 1, 2  # what a character is: of no token, of a word, a token of its own
_APOSTROPHE = ord("'")
_BASE = 0x9E3779B97F4A7C15  # any large odd number: it has an inverse
_CODES = np.random.default_rng(1).integers(1, 2**64, 256, np.uint64)  # [character]
_SLOTS_A_WORD = 8  # or more, up to twice as many


def _powers(base: int) -> NDArray[np.uint64]:
    """1, base, base**2, ... modulo 2**64, for a text between two spaces."""
    factors = np.full(MAX_CHARACTERS + 2, base, np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


_POWERS, _INVERSE_POWERS = _powers(_BASE), _powers(pow(_BASE, -1, 2**64))


class Lookup:
    """The ids that `ids` (most frequent words first) has for the words that `pattern` finds; `unknown` for others.

    `pattern` takes runs of letters and digits, inner apostrophes included, and of the other characters either each that
    is visible or none. A word is known by its hash: of pairs of words one in 2**64 shares it.
    """

    def __init__(self, ids: Mapping[str, int], pattern: re.Pattern[str], unknown: int) -> None:
        self._ids, self._pattern, self._unknown = ids, pattern, unknown
        kinds = [_WORD if c.isalnum() else _MARK if pattern.match(c) else _NEITHER for c in map(chr, range(256))]
        self._kinds = np.array(kinds, np.int8)  # [character]
        self._codes = np.where(self._kinds == _NEITHER, np.uint64(0), _CODES)
        self._lone_apostrophe = self._codes[_APOSTROPHE]
        self._codes[_APOSTROPHE] = _CODES[_APOSTROPHE]
        # Where words share a slot it is the most frequent one's; the others are looked up in `ids`.
        bits = (_SLOTS_A_WORD * len(ids)).bit_length()
        self._shift = np.uint64(64 - bits)
        words = [w for w in ids if len(w) < MAX_CHARACTERS // 2 and pattern.fullmatch(w) and max(w) <= "\xff"]
        hashes = np.concatenate([np.empty(0, np.uint64), *(self._hash(text)[0] for text in _joined(words))])
        slots, first = np.unique(self._slots(hashes), return_index=True)
        self._slot_hashes = np.zeros(2**bits, np.uint64)  # [slot]
        self._slot_hashes[slots] = hashes[first]
        self._slot_ids = np.full(2**bits, unknown, np.int32)  # [slot]
        self._slot_ids[slots] = np.fromiter(map(ids.__getitem__, words), np.int32, len(words))[first]

    def __call__(self, text: str) -> NDArray[np.int32]:
        """[words] of `text`: in lower case, of at most MAX_CHARACTERS. Raises UnicodeEncodeError for other scripts."""
        hashes, starts = self._hash(text)
        slots = self._slots(hashes)
        found = self._slot_ids.take(slots)
        missed = (self._slot_hashes.take(slots) != hashes).nonzero()[0]
        for place, start in zip(missed.tolist(), starts.take(missed).tolist(), strict=True):
            word = self._pattern.match(text, start)
            assert word is not None
            found[place] = self._ids.get(word[0], self._unknown)
        return found

    def _slots(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (hashes >> self._shift).view(np.int64)

    def _hash(self, text: str) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """The hash of each word [words], and where it starts [words]."""
        characters = np.frombuffer(f" {text} ".encode("latin-1"), np.uint8)  # each has two neighbours
        kinds, codes = self._kinds.take(characters), self._codes.take(characters)
        if "'" in text:
            places = (characters == _APOSTROPHE).nonzero()[0]
            inner = (kinds[places - 1] == _WORD) & (kinds[places + 1] == _WORD)
            kinds[places[inner]] = _WORD
            codes[places[~inner]] = self._lone_apostrophe
        starts = (kinds[1:] > (kinds[:-1] == _WORD)).nonzero()[0]  # a mark, or what is of a word but not after one
        if not len(starts):
            return np.empty(0, np.uint64), starts
        # From one word's start to the next one's: what is between them has the code 0.
        hashes = np.add.reduceat(codes * _POWERS[: len(codes)], starts + 1)
        return hashes * _INVERSE_POWERS.take(starts), starts


def _joined(words: Sequence[str]) -> Iterator[str]:
    """`words` in texts of at most MAX_CHARACTERS, if none is longer than half of that."""
    ends = accumulate(len(word) + 1 for word in words)
    for _, part in groupby(zip(ends, words, strict=True), lambda end: end[0] // (MAX_CHARACTERS // 2)):
        yield " ".join(word for _, word in part)
