"""Text -> sentences with character offsets: the one splitter, used in training and in service alike.

A regular expression lists the marks that may end a sentence; a few rules and lists of English abbreviations decide
which of them do. Written for reviews and chat messages, where capitals and spaces are often missing.
"""

import re
from collections.abc import Iterator

# HTML's and Unicode's line breaks; each is replaced by "\n" and spaces of the same length, which keeps the offsets.
_LINE_BREAK = re.compile(r"<br\s*/?>|\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]", re.IGNORECASE)

# A line break or a stop, each of which may end a sentence. The possessive quantifiers (`*+`, `++`) never backtrack,
# which keeps the time linear. Groups have none: before Python 3.11.5 a possessive group may lose what it matched. They
# need none, since what follows them can match nothing.
_MARK = re.compile(
    r"""
    (?P<line_break>\n\s*+)
    |
    # one stop or several: "?!", " . . ."
    (?P<stop>[.!?…‼⁇⁈⁉‽。！？｡।॥؟۔።]++(?:[^\S\n]?+[.!?…]++)*)
    # closing quotes and brackets, also those of `"bad!".` and, after a space, of "( bad . )"
    (?P<closing>(?:["'’“”«»)\]}*_」』）】》〉]++[.!?…。！？]*+|[^\S\n](?:''|[”»)\]}]))*)
    # white space, with the emoji and emoticons that belong to the sentence before
    (?P<space>
        (?:[^\S\n]*+(?:[\U0001F000-\U0001FAFF\u2600-\u27BF\u2B50\u2B55\uFE0F\u200D]|[:;=]-?[()DP]++(?!\w)))*
        [^\S\n]*+
    )
    """,
    re.VERBOSE,
)
# What stands after a stop: a few opening marks and a word, and what tells that it is code or a site's name.
_FOLLOWING = re.compile(r"(?=.)[^\w\s]{0,4}[^\S\n]?(?P<word>\w*+)(?P<code>[(@]|\.[a-z])?", re.DOTALL)
_LAST_WORD = re.compile(r"[\w.'’&/-]+\Z")
_WINDOW = 16  # characters read before a stop: more than the longest abbreviation has
# A sentence that so far has no word, only marks or the number of a list's item: "...", "(1", "a", "IV".
_NO_WORD_YET = re.compile(r"[\W_]*(?:(?:[0-9]{1,2}|(?![iI])[A-Za-z]|[ivx]{2,4}|[IVX]{2,4})\s*)?")

_ALWAYS_ENDS = frozenset("。！？｡।॥؟۔።")
_STOPS = frozenset(".!?…‼⁇⁈⁉‽") | _ALWAYS_ENDS
_OPENING = frozenset("([{“‘«")


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Abbreviations that never end a sentence.
_NEVER_LAST = _words("""
    mr mrs ms mx dr prof mt sgt lt col gen capt cpl pvt maj adm cmdr rev hon sen gov pres messrs mme mlle
    vs cf eg ie e.g i.e q.v p.s viz ca approx esp incl excl resp dept est vol vols ep eps pt fig figs
""")
# Abbreviations that end a sentence before any word with a capital.
_BEFORE_CAPITAL = _words("etc a.m p.m lb lbs oz min max hr hrs yr yrs sq ave blvd")
# Abbreviations that a name may follow ("Warner Bros. Pictures"), as it may follow initials ("U.S. Army"): these end a
# sentence only before one of _STARTERS.
_BEFORE_STARTER = _words("inc ltd co corp bros jr sr al ed st ft feat jan feb mar apr jun jul aug sep sept oct nov dec")
_INITIALS = re.compile(r"(?![iI]\Z)[^\W\d_]|[^\W\d_]{1,2}(?:\.[^\W\d_])+")  # "I" alone is a word
_STARTERS = _words("""
    the this that these those it its i he she we you they there here what when where why how who if in on at for from
    with as after but and so then now also my our your his her their all some one no not yes however unfortunately would
    will can do did is was are an
""")
# Lower-case words that continue a sentence after "!" or "?": "Yahoo! is", "cheap! and good".
_CONTINUING = _words("is was are were has had and or nor")
# What follows the stop of a file's or a site's name, even when capitalised: "Example.Com".
_NAME_ENDS = _words("com net org edu gov co uk de io ai tv js py md txt pdf exe html")

_WRAPPED = 50  # characters in a line from which its break may come from an editor or a mail program


def sentences(text: str) -> list[tuple[int, int]]:
    """Finds the sentences of `text`: (start, end) in code points of `text` as sent, in order, `end` exclusive.

    Each character that is not white space lies in exactly one sentence, and no sentence starts or ends with white
    space; HTML's `<br />` counts as the line break it stands for. A blank text has no sentence, any other at least one.

    - "." ends a sentence unless it belongs to an abbreviation, a number, a name with a stop inside or a list's number
      ("1. Good"). A lower-case letter may follow, since many reviews and messages are written without capitals.
    - "!" and "?" end one too, except before a few words such as "is": "Wow! that's good" are two, "Yahoo! is" is one.
    - "..." ends one before a letter that is not lower-case.
    - Before a closing quote or bracket no mark ends a sentence that goes on in lower case: `"Never again!" she said.`
    - Without a space a sentence ends only before a capitalised word ("Bad.Never again."), or where the script has
      neither capitals nor spaces ("好。坏。").
    - A line break ends a sentence, unless the line has at least 50 characters and no stop at its end, and the next
      line starts with a lower-case letter: then an editor has wrapped the text. A blank line always ends one.

    The time is linear in the length of `text`.
    """
    return [span for span in split(text) if span is not None]


def split(text: str) -> Iterator[tuple[int, int] | None]:
    """Yields what `sentences` returns, and None at each mark that ends no sentence: so a caller can pause anywhere."""
    plain = _LINE_BREAK.sub(lambda match: "\n".ljust(len(match.group())), text)
    start = line = len(plain) - len(plain.lstrip())
    for mark in _MARK.finditer(plain, start):
        if mark["line_break"]:
            is_end = _ends_at_line_break(plain, line, mark)
            line = mark.end()
        else:
            is_end = _ends_at_stop(plain, start, mark)
        if is_end:
            yield _stripped(plain, start, mark.end())
            start = mark.end()
        else:
            yield None
    yield _stripped(plain, start, len(plain))


def _stripped(plain: str, start: int, end: int) -> tuple[int, int] | None:
    """`start` and the end of what stands there before white space; None where nothing does."""
    part = plain[start:end].rstrip()
    return (start, start + len(part)) if part else None


def _ends_at_line_break(plain: str, line: int, mark: re.Match[str]) -> bool:
    """Whether the line break `mark` ends a sentence; its line starts at `line`."""
    written = plain[line : mark.start()].rstrip()
    wrapped = len(written) >= _WRAPPED and written[-1] not in _STOPS and plain[mark.end() : mark.end() + 1].islower()
    return not wrapped or mark["line_break"].count("\n") > 1


def _ends_at_stop(plain: str, start: int, mark: re.Match[str]) -> bool:
    """Whether the stop `mark` ends the sentence that starts at `start`."""
    stop, before = mark["stop"], plain[max(start, mark.start() - _WINDOW) : mark.start()]
    following = _FOLLOWING.match(plain, mark.end())
    if not following or plain[mark.end()] == "\n":
        return False  # the line break decides
    if stop[0] in _ALWAYS_ENDS:
        return bool(before)
    if _NO_WORD_YET.fullmatch(before) or before[-1] in _OPENING or plain[mark.end()] in ",;:":
        return False
    word, last_word = following["word"], _LAST_WORD.search(before)
    last = last_word.group().strip("._'’&/-") if last_word else ""
    if not mark["space"] and not _is_glued_start(following, stop, last):
        return False
    if stop == "." and (ends := _ends_at_abbreviation(last, word)) is not None:
        return ends
    if stop != "." and not stop.strip(". \xa0…"):  # an ellipsis
        return word[:1].isalpha() and not word[0].islower()
    if mark["closing"] and word[:1].islower():
        return False
    return stop == "." or word not in _CONTINUING


def _ends_at_abbreviation(last: str, word: str) -> bool | None:
    """Whether the stop after `last` ends a sentence before `word`; None where `last` is no abbreviation."""
    name, capital = last.lower(), word[:1].isupper()
    if name in _NEVER_LAST or (name in ("no", "nos") and word[:1].isdigit()):
        return False
    if name in _BEFORE_CAPITAL:
        return capital
    if name in _BEFORE_STARTER or _INITIALS.fullmatch(last):
        return capital and word.lower() in _STARTERS
    return None


def _is_glued_start(following: re.Match[str], stop: str, last: str) -> bool:
    """Whether a sentence may start at `following`, right after `stop` without a space; `last` is the word before."""
    word = following["word"]
    if stop == "." and (len(last) < 2 or "." in last):
        return False  # "U.S.A", "3.5.Beta"
    if word[:1].isupper():
        return (word == "I" or word[1:].islower()) and not following["code"] and word.lower() not in _NAME_ENDS
    return word[:1].isalpha() and not word[0].islower() and not last[-1:].isdigit()
