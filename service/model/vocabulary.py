"""Latin-1 text -> token ids by an array look-up, in half the time of a pattern and a dictionary.

Array arithmetic computes the hashes of all words and looks them up in a hash table of two arrays, which, unlike the
dictionary, fit a processor's cache; no Python object is created for a word. The hash of a word c[0] ... c[n-1] is
sum(code(c[i]) * B**i) modulo 2**64. With x[j] = code(text[j]) * B**j for every character j of a text, the word of n
characters from `start` on has the hash sum(x[start:start + n]) * B**-start: one pass over the text for all words.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, groupby

import numpy as np
from numpy.typing import NDArray

MAX_CHARACTERS = 16_384  # of a text: the length of the tables of powers

_NEITHER, _WORD, _MARK = 0, 1, 2  # kinds of characters: part of no token, part of a word, a token by itself
_APOSTROPHE = ord("'")
_BASE = 0x9E3779B97F4A7C15  # B: any large odd number, since odd numbers have an inverse modulo 2**64
_CODES = np.random.default_rng(1).integers(1, 2**64, 256, np.uint64)  # [character]
_SLOTS_A_WORD = 8  # at least: the number of slots is rounded up to a power of 2


def _powers(base: int) -> NDArray[np.uint64]:
    """1, base, base**2, ... modulo 2**64 [MAX_CHARACTERS + 2]: `_hash` puts a space at both ends of a text."""
    factors = np.full(MAX_CHARACTERS + 2, base, np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)


_POWERS, _INVERSE_POWERS = _powers(_BASE), _powers(pow(_BASE, -1, 2**64))


class Lookup:
    """Looks up the tokens that `pattern` matches: their ids in `ids` (most frequent words first), or `unknown`.

    `pattern` matches runs of letters and digits, inner apostrophes included, and of the other characters either every
    visible one by itself or none. Words are compared by 64-bit hashes: two words share one with probability 2**-64.
    """

    def __init__(self, ids: Mapping[str, int], pattern: re.Pattern[str], unknown: int) -> None:
        self._ids, self._pattern, self._unknown = ids, pattern, unknown
        kinds = [_WORD if c.isalnum() else _MARK if pattern.match(c) else _NEITHER for c in map(chr, range(256))]
        self._kinds = np.array(kinds, np.int8)  # [character]
        self._codes = np.where(self._kinds == _NEITHER, np.uint64(0), _CODES)
        self._lone_apostrophe = self._codes[_APOSTROPHE]
        self._codes[_APOSTROPHE] = _CODES[_APOSTROPHE]
        # A slot holds the most frequent of its words; the others are looked up in `ids`.
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
        """Ids [token] of `text`, lower-case and at most MAX_CHARACTERS. Raises UnicodeEncodeError if not Latin-1."""
        hashes, starts = self._hash(text)
        slots = self._slots(hashes)
        token_ids = self._slot_ids.take(slots)
        missed = (self._slot_hashes.take(slots) != hashes).nonzero()[0]  # the slot is empty or holds another word
        for index, start in zip(missed.tolist(), starts.take(missed).tolist(), strict=True):
            word = self._pattern.match(text, start)
            assert word is not None
            token_ids[index] = self._ids.get(word[0], self._unknown)
        return token_ids

    def _slots(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (hashes >> self._shift).view(np.int64)

    def _hash(self, text: str) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """The hash [token] of each token, and the offset [token] of its first character."""
        characters = np.frombuffer(f" {text} ".encode("latin-1"), np.uint8)  # spaces: each character has two neighbours
        kinds, codes = self._kinds.take(characters), self._codes.take(characters)
        if "'" in text:
            offsets = (characters == _APOSTROPHE).nonzero()[0]
            inner = (kinds[offsets - 1] == _WORD) & (kinds[offsets + 1] == _WORD)
            kinds[offsets[inner]] = _WORD
            codes[offsets[~inner]] = self._lone_apostrophe
        starts = (kinds[1:] > (kinds[:-1] == _WORD)).nonzero()[0]  # each _MARK, and each _WORD not after a _WORD
        if not len(starts):
            return np.empty(0, np.uint64), starts
        # Sums from each start to the next: the characters between two tokens have the code 0.
        hashes = np.add.reduceat(codes * _POWERS[: len(codes)], starts + 1)
        return hashes * _INVERSE_POWERS.take(starts), starts


def _joined(words: Sequence[str]) -> Iterator[str]:
    """`words`, each shorter than MAX_CHARACTERS // 2, joined by spaces into texts of at most MAX_CHARACTERS."""
    ends = accumulate(len(word) + 1 for word in words)
    for _, part in groupby(zip(ends, words, strict=True), lambda end: end[0] // (MAX_CHARACTERS // 2)):
        yield " ".join(word for _, word in part)
