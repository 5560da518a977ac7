"""Bytes -> characters: UTF-8 with or without a mark and UTF-16 or UTF-32 with one; of any other encoding the name."""

import codecs
import contextlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from typing import IO, Any

from service.bulk.tables.rows import TableError, Tally

MAX_CHARACTERS = 2**24  # of one line or one JSON value
_CHUNK_BYTES = 2**18
_SAMPLE_CHARACTERS = 2**18
_EVIDENCE_LINES = 1_000
_MARKS = (  # UTF-32's first: it begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# In the order in which one is chosen where several fit as well.
_CANDIDATES = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8-r", "mac-roman", "cp850"),
    *("cp932", "euc-jp", "gb18030", "big5", "cp949"),
)
_COMMON = frozenset("的一是不了在有我很好這这のにはをたがでてとしい이다는가고에을의도지")
_BETWEEN_WORDS = re.compile(r"[\x00-\x2f:-@\[-`{-\x7f“”‘’„…•«»–—、。！？，「」（）：\u3000\xa0]+")
_TYPOGRAPHY = re.compile("[’“‘”„•–—…]")
_MISPLACED = re.compile("(?<=[A-Za-z])[“”„](?=[A-Za-z])")
_AROUND_WORDS = "‚‹›¡¿°€£¥©®™§·´¨"


class Text:
    """The characters of `binary`, streamed. Raises TableError where they are not in the expected encoding."""

    def __init__(self, binary: Any, name: str, encoding: str | None, notes: Tally) -> None:
        self._binary, self._name, self._notes = binary, name, notes
        self._insisted = encoding is not None
        start: bytes = binary.peek(1024)[:1024]
        marked = next((found for mark, found in _MARKS if start.startswith(mark)), None)
        if marked is None and encoding is None:
            _refuse_nuls(start, name)
        self.encoding = marked or _known(encoding or "utf-8")
        self._decoded = self._decode()
        self.beginning = ""  # the first characters, for judging what follows
        while len(self.beginning) < _SAMPLE_CHARACTERS and (chunk := next(self._decoded, None)) is not None:
            self.beginning += chunk
        self._separator = "\n" if "\n" in self.beginning or "\r" not in self.beginning else "\r"
        first = self.beginning.split("\n", 1)[0].rstrip("\r").partition("\r")
        self._mixed = self._separator == "\n" and bool(first[1]) and first[0].count('"') % 2 == 0
        if encoding and not marked and _is_utf8(start):
            notes.add(f"{name}: read as {self.encoding} as asked, though it is valid UTF-8")

    def chunks(self) -> Iterator[str]:
        """All characters, once."""
        yield self.beginning
        yield from self._decoded

    def lines(self) -> Iterator[str]:
        """All lines, once, without their ends (LF, CR LF or, where there are no others, CR)."""
        pending, strips, number = "", self._separator == "\n", 1
        for chunk in self.chunks():
            parts = (pending + chunk).split(self._separator)
            pending = parts.pop()
            number += len(parts)
            if len(pending) > MAX_CHARACTERS:
                raise TableError(
                    f"{self._name}:{number}: expected lines of at most {MAX_CHARACTERS:,} characters, found a longer "
                    "one: remove it, or check that the file is a table"
                )
            yield from self._apart(part[:-1] if part.endswith("\r") else part for part in parts) if strips else parts
        if pending:
            yield from self._apart([pending.removesuffix("\r")])

    def sample(self) -> list[str]:
        """The first whole lines, at most a thousand."""
        lines = self.beginning.split(self._separator, 1000)
        if len(lines) > 1 and (len(lines) > 1000 or len(self.beginning) >= _SAMPLE_CHARACTERS):
            lines.pop()  # may be cut
        return list(self._apart(line.removesuffix("\r") for line in lines))

    def _apart(self, lines: Iterable[str]) -> Iterable[str]:
        """`lines`, also divided at a CR alone where the first line has one outside of quotes."""
        return (piece for line in lines for piece in line.split("\r")) if self._mixed else lines

    def _decode(self) -> Iterator[str]:
        # Who names an encoding insists on it: what does not decode is lost with its own row, and told.
        decoder = codecs.getincrementaldecoder(self.encoding)("surrogateescape" if self._insisted else "strict")
        lines, last, foreign = 0, False, False
        while not last:
            raw = self._binary.read(_CHUNK_BYTES)
            last = not raw
            try:
                chunk = decoder.decode(raw, last)
            except UnicodeDecodeError as error:
                raise self._misfit(error, lines, foreign) from None
            foreign = foreign or not chunk.isascii()
            lines += raw.count(b"\n")
            if "\0" in chunk:
                self._notes.add(f"{self._name}: NUL characters removed")
                chunk = chunk.replace("\0", "")
            if chunk:
                yield chunk

    def _misfit(self, error: UnicodeDecodeError, lines_before: int, foreign: bool) -> TableError:
        """The error that names how many lines are not UTF-8, the first of them, and the encoding that fits.

        `foreign`: whether characters beyond ASCII were read before.
        """
        if not self.encoding.startswith("utf-8"):
            return TableError(f"{self._name}: expected {self.encoding}, found other bytes ({error.reason})")
        raw = bytes(error.object)
        start = raw.rfind(b"\n", 0, error.start) + 1
        first = lines_before + raw.count(b"\n", 0, error.start) + 1
        bad: list[bytes] = []
        count = total = 0
        others = foreign or not raw[:start].isascii()
        head = raw[start:] + self._binary.readline()
        for line in _lines(head, self._binary):
            total += 1
            if line.isascii():
                continue
            if _is_utf8(line):
                others = True
                continue
            count += 1
            if len(bad) < _EVIDENCE_LINES:
                bad.append(line)
        fits = fitting(b"\n".join(bad))
        if fits and not others:
            remedy = f"{fits} fits: --encoding {fits}"
        else:
            mixed = "; other lines are UTF-8, so the file is mixed" if others else ""
            named = f"{fits} fits these lines" if fits else "no encoding was found to fit"
            remedy = f"{named}{mixed}: mend the file, name its encoding with --encoding, or leave the lines out"
            remedy += " with --encoding utf-8"
        return TableError(
            f"{self._name}: expected UTF-8, found {count:,} of {first - 1 + total:,} lines in another encoding, the "
            f"first at {self._name}:{first}; {remedy}"
        )


def _lines(head: bytes, binary: IO[bytes]) -> Iterator[bytes]:
    yield from head.splitlines()
    yield from binary


def _known(encoding: str) -> str:
    try:
        with contextlib.suppress(UnicodeError):
            b"a".decode(encoding)  # refuses codecs that are no text encodings, too
    except LookupError:
        raise TableError(
            f"expected an encoding that Python knows, such as cp1252, found --encoding {encoding}"
        ) from None
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def _refuse_nuls(start: bytes, name: str) -> None:
    zeros = (start[0::2].count(0), start[1::2].count(0))
    if sum(zeros) < len(start) / 10:
        return
    if min(zeros) < max(zeros) / 10:
        encoding = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
        raise TableError(f"{name}: expected UTF-8, found what looks like UTF-16 without a mark: --encoding {encoding}")
    raise TableError(f"{name}: expected a table of texts, found binary data: convert it to CSV or JSON lines")


def _is_utf8(raw: bytes) -> bool:
    """Whether `raw`, which may be cut at its end, has characters beyond ASCII and is UTF-8."""
    try:
        return not codecs.getincrementaldecoder("utf-8")("strict").decode(raw).isascii()
    except UnicodeDecodeError:
        return False


def fitting(evidence: bytes) -> str | None:
    """The encoding in which the lines of `evidence` read most like words; None where there is none."""
    scores = {}
    for encoding in _CANDIDATES:
        try:
            scores[encoding] = _plausibility(evidence.decode(encoding))
        except UnicodeDecodeError:
            continue
    best = max(scores, key=lambda encoding: scores[encoding], default=None)
    return best if best and scores[best] > 0.5 else None


def _plausibility(text: str) -> float:
    """The share of the words and typographic marks beyond ASCII that look like words and marks, from 0 to 1."""
    words = [word for word in _BETWEEN_WORDS.split(text) if not word.isascii()]
    marks, misplaced = len(_TYPOGRAPHY.findall(text)), len(_MISPLACED.findall(text))
    score = (sum(map(_word_plausibility, words)) + marks - misplaced) / max(1, len(words) + marks)
    asian = [character for character in text if character > "\u2e80"]
    if asian and sum(character in _COMMON for character in asian) < len(asian) / 50:
        score /= 3  # characters, but none of those that any text has
    return score


def _word_plausibility(word: str) -> float:
    letters = word.strip(_AROUND_WORDS)
    if not letters:
        return 1.0 if len(word) < 4 else 0.0
    if not all(unicodedata.category(character)[0] in "LMN" for character in letters):
        return 0.0
    scripts = {_script(character) for character in letters} - {"DIGIT"}
    foreign = sum(character > "\x7f" for character in letters)
    if len(scripts) > 1 or (scripts == {"LATIN"} and foreign > len(letters) - foreign + 1):
        return 0.0
    if any(before.islower() and after.isupper() for before, after in pairwise(letters)):
        return 0.0
    # In Turkish read as cp1252, the letters of Icelandic stand.
    return 0.9 if letters[1:] != letters[1:].lower() or any(letter in "ðþýÐÞÝ" for letter in letters) else 1.0


@lru_cache(4096)
def _script(character: str) -> str:
    name = unicodedata.name(character, "NONE").split()[0]
    return "CJK" if name in ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL") else name
