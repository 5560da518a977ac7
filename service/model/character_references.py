"""HTML's character references, also called entities: `&amp;` is "&", `&#39;` is "'"."""

import re
from functools import lru_cache
from html import unescape
from html.entities import html5

import numpy as np
from numpy.typing import NDArray

# The digits are as many as the largest code point has, the letters as many as the longest name.
_REFERENCE = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def decode(text: str) -> tuple[str, NDArray[np.int64] | None]:
    """`text` with the characters that its references mean, and where each character of that begins in `text`.

    The offsets are [character + 1], the last the length of `text`; None where `text` has no reference. A reference
    must end with a semicolon, as "&copy" may be part of an address; what HTML does not define is left as it is.
    """
    parts, ends, surplus = list[str](), list[int](), list[int]()
    done = decoded = 0  # characters of `text` and of the result
    for match in _REFERENCE.finditer(text):
        meaning = _meaning(match[0])
        if not meaning:
            continue
        parts += text[done : match.start()], meaning
        decoded += match.start() - done + len(meaning)
        done = match.end()
        ends.append(decoded)
        surplus.append(len(match[0]) - len(meaning))
    if not parts:
        return text, None
    parts.append(text[done:])
    plain = "".join(parts)
    widths = np.ones(len(plain) + 1, np.int64)
    widths[0] = 0
    widths[ends] += surplus
    return plain, widths.cumsum()


@lru_cache(256)
def _meaning(reference: str) -> str:
    """One or two characters; "" if HTML defines none."""
    return unescape(reference) if reference[1] == "#" else html5.get(reference[1:], "")
