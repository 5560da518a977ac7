"""Text -> token ids with character offsets: the one tokenizer of training and service."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from service.model import character_references, scanner
from service.model.vocabulary import MAX_CHARACTERS, Lookup

TokenIds = NDArray[np.int32]
Rules = Literal["words-and-marks-2", "words-and-marks", "words"]
Truncation = Literal["head", "tail", "head-and-tail"]

PADDING, UNKNOWN = 0, 1
SPECIAL = ("<padding>", "<unknown>")  # never tokens of a text: `<` is always a token of its own

# "words-and-marks": a word is a run of letters and digits of any script, inner apostrophes included; each other
# character that is not white space is a token of its own. "words": the words of these alone. "words-and-marks-2": as
# "words-and-marks" for Latin-1 without addresses and names; `scanner` reads all else. The patterns are linear in the
# length of the text.
_WORD = r"[^\W_]+(?:'[^\W_]+)*"
_PATTERNS: dict[Rules, re.Pattern[str]] = {
    "words-and-marks-2": re.compile(_WORD + r"|\S"),
    "words-and-marks": re.compile(_WORD + r"|\S"),
    "words": re.compile(_WORD),
}
# The same for lower-cased ASCII: a set of characters is faster to match than a Unicode category.
_ASCII_PATTERNS = {rules: re.compile(p.pattern.replace(r"[^\W_]", "[a-z0-9]")) for rules, p in _PATTERNS.items()}
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


class BlankText(ValueError):
    """The text holds nothing but white space and line breaks."""

    def __init__(self) -> None:
        super().__init__("expected a text with at least one visible character, found only white space")


class Encoded(NamedTuple):
    """One text as the network reads it."""

    token_ids: TokenIds  # [time], 1 <= time <= max_tokens
    tokens: int  # tokens in the whole text, those cut away included
    unknown: int  # how many of `token_ids` are the unknown token
    spans: NDArray[np.int32] | None  # [time, 2] character offsets (start, end) into the text as sent


class Batch(NamedTuple):
    """Texts padded to the same length, with their lengths before padding."""

    token_ids: TokenIds  # [batch, time]
    lengths: NDArray[np.int32]  # [batch]

    @classmethod
    def pad(cls, sequences: Sequence[TokenIds]) -> "Batch":
        """Pads `sequences` (each [time]) at their ends to the length of the longest."""
        lengths = list(map(len, sequences))
        token_ids = np.full((len(sequences), max(lengths)), PADDING, np.int32)
        for row, (sequence, length) in enumerate(zip(sequences, lengths, strict=True)):
            token_ids[row, :length] = sequence
        return cls(token_ids, np.array(lengths, np.int32))


def tokens(text: str, rules: Rules = "words-and-marks") -> Iterator[tuple[str, int, int]]:
    """Yields (token, start, end): each character that is not white space belongs to exactly one token.

    `start` and `end` are offsets into `text` as sent, in code points. HTML's `<br />` counts as white space, and with
    "words-and-marks-2" a character reference as what it means. The text is matched before lower-casing, because
    lower-casing may change its length ("İ"), and lazily, so that a caller can pause within a long text. With the rules
    "words" only words are tokens.
    """
    plain, starts = _plain(text, rules)
    if rules == "words-and-marks-2" and not (plain.isascii() and not scanner.has_special(plain.lower())):
        found = scanner.scan(plain)
    else:
        found = ((match.group().lower(), match.start(), match.end()) for match in _PATTERNS[rules].finditer(plain))
    if starts is None:
        return found
    return ((token, int(starts[start]), int(starts[end])) for token, start, end in found)


def words(text: str, rules: Rules = "words-and-marks") -> list[str]:
    """The tokens of `tokens` without their offsets, several times faster."""
    return _words(_plain(text, rules)[0], rules)


def _words(plain: str, rules: Rules) -> list[str]:
    if plain.isascii():
        lowered = plain.lower()
        if not _has_special(lowered, rules):
            return _ASCII_PATTERNS[rules].findall(lowered)  # lower-casing the whole text first gives the same tokens
    if rules == "words-and-marks-2":
        return [token for token, _, _ in scanner.scan(plain)]
    return [word.lower() for word in _PATTERNS[rules].findall(plain)]


def _has_special(lowered: str, rules: Rules) -> bool:
    return rules == "words-and-marks-2" and scanner.has_special(lowered)


def is_blank(text: str, rules: Rules = "words-and-marks-2") -> bool:
    """Whether the text holds nothing but white space and line breaks. What is blank by any rules is by the default."""
    return not _plain(text, rules)[0].strip()


def _plain(text: str, rules: Rules) -> tuple[str, NDArray[np.int64] | None]:
    """`text` with spaces for line-break tags and "'" for "\u2019", and with "words-and-marks-2" references decoded.

    Also where each character begins in `text`, [character + 1], or None where the offsets are those of `text`.
    """
    starts = None
    if rules == "words-and-marks-2" and "&" in text:
        text, starts = character_references.decode(text)
    if "<" in text:
        text = text.replace("<br />", "      ")  # the common form first: faster than the pattern
    if "<" in text:
        text = _LINE_BREAK.sub(lambda match: " " * len(match.group()), text)
    return text.replace("\u2019", "'"), starts


class Tokenizer:
    """Turns text into token ids, the indices of `vocabulary`, which starts with SPECIAL. Raises ValueError.

    Texts of more than `max_tokens` tokens are cut: "head" keeps the first, "tail" the last, "head-and-tail" the
    first half and the last half.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        max_tokens: int,
        truncation: Truncation,
        rules: Rules = "words-and-marks",
    ) -> None:
        if tuple(vocabulary[:2]) != SPECIAL:
            raise ValueError(f"expected a vocabulary that starts with {SPECIAL}, found {tuple(vocabulary[:2])}")
        if truncation not in get_args(Truncation) or rules not in get_args(Rules) or max_tokens < 2:
            raise ValueError(
                f"expected truncation in {get_args(Truncation)}, rules in {get_args(Rules)}, max_tokens >= 2; "
                f"found {truncation!r}, {rules!r}, {max_tokens!r}"
            )
        self.vocabulary = list(vocabulary)
        self.max_tokens = max_tokens
        self.truncation = truncation
        self.rules: Rules = rules
        self._ids = {token: token_id for token_id, token in enumerate(vocabulary)}
        if len(self._ids) != len(self.vocabulary):
            raise ValueError(f"expected distinct tokens, found {len(self.vocabulary) - len(self._ids)} repeated")
        self._lookup = Lookup(self._ids, _PATTERNS[rules], UNKNOWN)
        self._head = {"head": max_tokens, "tail": 0, "head-and-tail": (max_tokens + 1) // 2}[truncation]

    def encode(self, text: str, spans: bool = False) -> Encoded:
        """Encodes `text`; with `spans`, also the offsets of each token. Raises BlankText."""
        if spans:
            return self.encode_tokens(text, list(tokens(text, self.rules)))
        plain, _ = _plain(text, self.rules)
        if len(plain) <= MAX_CHARACTERS:
            lowered = plain.lower()
            if not _has_special(lowered, self.rules):
                with contextlib.suppress(UnicodeEncodeError):
                    return self._encoded(text, self._lookup(lowered), None)
        return self._encoded(text, self._look_up(_words(plain, self.rules)), None)

    def encode_tokens(self, text: str, spanned: Sequence[tuple[str, int, int]], spans: bool = True) -> Encoded:
        """Encodes `text` from all its `tokens`, for callers that collect these in slices. Raises BlankText."""
        return self._encoded(text, self._look_up([t[0] for t in spanned]), [t[1:] for t in spanned] if spans else None)

    def _look_up(self, words: Sequence[str]) -> TokenIds:
        return np.fromiter(map(self._ids.get, words, repeat(UNKNOWN)), np.int32, len(words))

    def _encoded(self, text: str, token_ids: TokenIds, spans: list[tuple[int, int]] | None) -> Encoded:
        """Truncates `token_ids` and `spans`, which are those of all tokens of `text`. Raises BlankText."""
        count = len(token_ids)
        if not count:
            plain, _ = _plain(text, self.rules)
            visible = plain.strip()
            if not visible:
                raise BlankText
            # Happens with the rules "words" alone: a text of marks ("!!!") becomes one unknown token.
            token_ids, start, count = np.array([UNKNOWN], np.int32), plain.index(visible), 1
            spans = None if spans is None else [(start, start + len(visible))]
        if count > self.max_tokens:
            parts = self.keep(count)
            token_ids = np.concatenate([token_ids[part] for part in parts])
            spans = None if spans is None else [span for part in parts for span in spans[part]]
        unknown = int(np.count_nonzero(token_ids == UNKNOWN))
        return Encoded(token_ids, count, unknown, None if spans is None else np.array(spans, np.int32))

    def keep(self, count: int) -> tuple[slice, ...]:
        """The slices of a text's `count` tokens that the network reads: at most `max_tokens` in all."""
        if count <= self.max_tokens:
            return (slice(0, count),)
        return slice(0, self._head), slice(count - (self.max_tokens - self._head), count)

    def batch(self, texts: Iterable[str]) -> Batch:
        """Encodes and pads `texts`. Raises BlankText if one is blank."""
        return Batch.pad([self.encode(text).token_ids for text in texts])
