"""The tokens of the rules `words-and-marks-2`, which know emoji, addresses, combining marks and every script.

- A word is a run of letters and digits, inner apostrophes included. A combining mark belongs to the letter before it,
  and so do the zero width joiner and non-joiner.
- A letter of a script without spaces whose characters mean something by themselves is a token of its own: Han, kana,
  Bopomofo, Yi. Thai, Lao, Khmer and Burmese letters are not: one of them means nothing, and to find words among them
  takes a dictionary; what stands between two spaces is a token.
- An emoji is one token with all that belongs to it: skin tone, variation selector, tags, emoji joined to it, the other
  half of a flag; a keycap too.
- An address of the web or of mail is the token ADDRESS, a name after "@" the token NAME, whatever they are: a network
  can learn what it means that there is one, and no vocabulary holds the names of people.
- Any other character that is not white space is a token of its own.

A token's text is lower-cased and brought to NFC; a character that Unicode 14.0 does not know stays as it is.
"""

import re
from collections.abc import Iterator
from unicodedata import normalize

from service.model.characters import kinds

ADDRESS, NAME = "<address>", "<name>"  # no text has these tokens, since `<` is always a token of its own

# Over the kinds of characters.py.
_TOKEN = re.compile(
    r"""
    w[wmj]*(?:'w[wmj]*)*                        # a word
    | i[mj]*                                    # an ideograph
    | (?:rr|[rst'])[mtj]*(?:(?<=j)s[mtj]*)*     # a flag, an emoji, another mark
    | [mj]+                                     # combining marks with nothing before them
    | u
    """,
    re.VERBOSE,
)
# Latin, Greek and Cyrillic: what follows an address in Chinese is not part of it.
_LETTER = "A-Za-z\u00c0-\u02ff\u0386\u0388-\u0482\u048a-\u052f\u1e00-\u1fff"
_MARKED = _LETTER + "\u0300-\u036f\u0483-\u0489"  # with combining marks
_WORD = _MARKED + "0-9_"
# All quantifiers are possessive, bounded, or followed by what they can give back at once: the time is linear.
_SPECIAL = re.compile(
    rf"""
    (?<![A-Za-z0-9])
    (?P<web>
        (?:(?:[Hh][Tt][Tt][Pp][Ss]?|[Ff][Tt][Pp])://|[Ww]{{3}}\.)
        [{_WORD}\-.~:/?\#@!$&()*+,;=%]*[{_MARKED}0-9/=\#]                  # ends before the sentence's own marks
    )
    | (?<![{_WORD}.%+-])
    (?P<mail>[{_WORD}.%+-]{{1,64}}+@[{_WORD}-]++(?:\.[{_WORD}-]++)++)
    | (?<![{_WORD}])
    (?P<name>@[{_LETTER}_][{_WORD}]*+(?:[.-][{_WORD}]++)*+)
    | (?P<keycap>[0-9\#*]\ufe0f?\u20e3)
    """,
    re.VERBOSE,
)
_TOKENS: dict[str | None, str] = {"web": ADDRESS, "mail": ADDRESS, "name": NAME}
_LONGEST = 256  # characters of a token that is brought to NFC, which takes quadratic time for a run of combining marks


def has_special(lowered: str) -> bool:
    """Whether the lower-case text may hold an address, a name or a keycap; Latin-1 without these needs no `scan`."""
    # The single characters come first: to look for one is much faster than for a longer string.
    has_scheme = ":" in lowered and "/" in lowered and "://" in lowered
    return has_scheme or "@" in lowered or "\u20e3" in lowered or "www." in lowered


def scan(text: str) -> Iterator[tuple[str, int, int]]:
    """Yields (token, start, end) of `text`, whose character references are decoded; the offsets are code points."""
    of_text, done = kinds(text), 0
    if has_special(text.lower()):
        for match in _SPECIAL.finditer(text):
            yield from _scan(text, of_text, done, match.start())
            done = match.end()
            yield _TOKENS.get(match.lastgroup, match[0]), match.start(), done
    yield from _scan(text, of_text, done, len(text))


def _scan(text: str, of_text: str, first: int, last: int) -> Iterator[tuple[str, int, int]]:
    """The tokens of text[first:last], which has neither address, name nor keycap."""
    for match in _TOKEN.finditer(of_text, first, last):
        start, end = match.span()
        token = text[start:end].lower()
        if not token.isascii():
            if of_text[start] == "u":
                token = text[start]
            elif end - start <= _LONGEST:
                token = normalize("NFC", token)
        yield token, start, end
