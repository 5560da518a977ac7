"""`python -m tests.fuzz.tokenizer`: made-up texts, read by every set of rules; the tests read a few."""

import re
import sys
from collections.abc import Sequence
from random import Random
from time import process_time
from typing import get_args

import click

from service.model.scanner import ADDRESS, NAME
from service.model.tokenizer import (
    SPECIAL,
    UNKNOWN,
    BlankText,
    Rules,
    Tokenizer,
    Truncation,
    is_blank,
    tokens,
    words,
)

RULES: Sequence[Rules] = get_args(Rules)
NEW: Rules = "words-and-marks-2"
# What the tokenizer's rules tell apart, and what people send.
_PIECES = [
    *"abzAZ09'’ .,!?-_<>/&;#@:()=+%\t\n\r\x00\x1b\x7f\x85\xa0\xadß", "\u200b", "\u200c", "\u200d", "\ufeff",
    "\u2028", "\u3000", "\u202e", "\u0301", "\u0327", "\u3099", "\ufe0f", "\u20e3", "\u0489", "e\u0301", "İ",
    "ǆ", "ﬁ", "Σς", "ſ", "好", "很好吃", "か\u3099", "カメラ", "ﾃﾞ", "〇", "ㅋㅋ", "\u1112\u1161\u11ab",
    "ดีมาก", "हिन्दी", "كَتَبَ", "שָׁלוֹם", "👍", "🏽", "👍🏽", "🇩", "🇩🇪", "❤", "❤️", "👨‍👩‍👧",
    "🏴\U000e0067\U000e0062\U000e007f", "1️⃣", "\U0001faff", "\U000323b0", "\ue000", "\U0010ffff", "\ud800",
    "\udfff", "&amp;", "&lt;", "&gt;", "&#39;", "&#x301;", "&#0;", "&nbsp;", "&nvlt;", "&fjlig;", "&#1114112;",
    "&bad;", "&copy", "&amp;lt;", "&lt;br&gt;", "<br>", "<br />", "<BR/>", "<br", "http://",
    "https://a.b/c?d=1", "ftp://", "://", "www.", "WWW.x.de", "a@b.de", "me.and+you@x.co.uk", "@bob",
    "@the.rock", "@", "good", "don't", "Don’t", "not", "<padding>", "<unknown>", ADDRESS, NAME, "word" * 9,
    "x" * 300, "\u0301" * 300,
]  # fmt: skip
_VOCABULARY = [
    *SPECIAL,
    "good",
    "not",
    "don't",
    "a",
    "b",
    ".",
    "!",
    "'",
    "<",
    "é",
    "好",
    "👍🏽",
    "❤️",
    "i̇",
    ADDRESS,
    NAME,
]
_CODE_POINTS = [(0x20, 0x7F), (0, 0x100), (0, 0x3000), (0, 0x11_0000), (0x1F000, 0x1FB00), (0x300, 0x370)]
_LETTER, _LINE_BREAK = re.compile(r"[^\W_]"), re.compile(r"<br\s*/?>", re.IGNORECASE)
_LONG = 20_000  # characters
# Of one long text, in this process: a million characters a second are usual, and quadratic time would take minutes.
_MOST_SECONDS = 10.0


def tokenizers() -> list[Tokenizer]:
    """One for each set of rules and each way to truncate, of few tokens and of many."""
    return [
        Tokenizer(_VOCABULARY, max_tokens, truncation, rules)
        for rules in RULES
        for truncation in get_args(Truncation)
        for max_tokens in (2, 7, 400)
    ]


def make_up(random: Random) -> str:
    """A text of up to forty pieces or code points."""
    count = random.randint(0, 40) if random.random() < 0.5 else random.randint(0, 8)
    first, last = random.choice(_CODE_POINTS)
    of_pieces = random.random() if random.random() < 0.5 else 1.0  # the rest are code points
    return "".join(
        random.choice(_PIECES) if random.random() < of_pieces else chr(random.randrange(first, last))
        for _ in range(count)
    )


def stretch(text: str, random: Random) -> str:
    """A long text that repeats some of `text`."""
    start = random.randrange(len(text) + 1)
    part = text[start : start + random.randint(1, 12)] or "."
    return text[:start] + part * (_LONG // len(part)) + text[start:]


def check(text: str, tokenizer: Tokenizer) -> None:
    """Asserts what is true of every text."""
    rules = tokenizer.rules
    spanned = list(tokens(text, rules))
    assert [token for token, _, _ in spanned] == words(text, rules)
    _check_places(text, spanned, rules)
    for token, start, end in spanned if len(text) < _LONG else ():
        if rules == NEW:
            assert words(text[start:end], rules) == [token], "a token by itself is another"
        else:
            assert text[start:end].replace("’", "'").lower() == token
    _check_encoded(text, spanned, tokenizer)


def _check_places(text: str, spanned: Sequence[tuple[str, int, int]], rules: Rules) -> None:
    """Each character that is not white space belongs to exactly one token, in order."""
    outside, done = list[str](), 0
    for token, start, end in spanned:
        assert token
        assert done <= start < end <= len(text)
        outside.append(text[done:start])
        done = end
    rest = "".join([*outside, text[done:]])
    if rules == "words":
        # A tag within a tag, `<br<br />>`, is white space, too: the inner one becomes spaces first.
        rest = _LINE_BREAK.sub(" ", rest.replace("<br />", " "))
        assert not _LETTER.search(rest), "a letter or digit is in no token"
    else:
        assert is_blank(rest, rules), "a visible character is in no token"
        assert is_blank(text, rules) == (not spanned)


def _check_encoded(text: str, spanned: Sequence[tuple[str, int, int]], tokenizer: Tokenizer) -> None:
    """The ids are those of the tokens, with offsets and without, truncated as the tokenizer says."""
    if is_blank(text, tokenizer.rules):
        for spans in (False, True):
            try:
                tokenizer.encode(text, spans)
            except BlankText:
                continue
            raise AssertionError("a blank text was encoded")
        return
    plain, placed = tokenizer.encode(text), tokenizer.encode(text, spans=True)
    assert placed.spans is not None
    assert plain.token_ids.tolist() == placed.token_ids.tolist()
    assert plain.tokens == placed.tokens == max(1, len(spanned))
    assert plain.unknown == placed.unknown == plain.token_ids.tolist().count(UNKNOWN)
    assert len(placed.spans) == len(plain.token_ids) == min(plain.tokens, tokenizer.max_tokens)
    if spanned:
        kept = [each for part in tokenizer.keep(len(spanned)) for each in spanned[part]]
        ids = {token: place for place, token in enumerate(tokenizer.vocabulary)}
        assert plain.token_ids.tolist() == [ids.get(token, UNKNOWN) for token, _, _ in kept]
        assert placed.spans.tolist() == [[start, end] for _, start, end in kept]


def fuzz(cases: int, seed: int) -> float:
    """Reads so many texts; one in a thousand is long. The most seconds that a long one took. Raises AssertionError."""
    random, every, slowest = Random(seed), tokenizers(), 0.0
    for number in range(cases):
        text, tokenizer = make_up(random), every[number % len(every)]
        is_long = number % 1000 == 999
        if is_long:
            text = stretch(text, random)
        began = process_time()
        try:
            check(text, tokenizer)
        except Exception as error:
            how = (tokenizer.rules, tokenizer.truncation, tokenizer.max_tokens)
            raise AssertionError(f"case {number} of seed {seed}, {how}: {text[:2000]!r}") from error
        if is_long:
            slowest = max(slowest, process_time() - began)
            assert slowest < _MOST_SECONDS, f"case {number} of seed {seed}: {slowest:.1f} s for {len(text)} characters"
    return slowest


@click.command(context_settings={"show_default": True})
@click.option("--cases", type=click.IntRange(min=1), default=1_000_000, help="Texts to read.")
@click.option("--seed", type=int, default=1, help="Of an earlier run, to make up the same again.")
def main(cases: int, seed: int) -> None:
    """Reads made-up texts; ends with code 1 at the first that is not read as promised."""
    try:
        slowest = fuzz(cases, seed)
    except AssertionError as error:
        click.echo(f"{error}: {error.__cause__}")
        sys.exit(1)
    click.echo(f"{cases} texts, 0 failures, seed {seed}; the slowest of {_LONG} characters took {slowest:.2f} s")


if __name__ == "__main__":
    main()
