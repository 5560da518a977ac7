"""Tokens of the Penn Treebank's convention, put back together as people write them.

`` ("do", "n't", "-LRB-", "ever", "-RRB-", "buy", "``", "it", "''") `` becomes `don't (ever) buy "it"`. The service gets
natural text, so a network must not learn the spaces that a tokenizer left.
"""

import re
from collections.abc import Sequence

_ESCAPES = {
    "-LRB-": "(",
    "-RRB-": ")",
    "-LSB-": "[",
    "-RSB-": "]",
    "-LCB-": "{",
    "-RCB-": "}",
    "\\/": "/",
    "\\*": "*",
    "``": '"',
    "''": '"',
}
_ESCAPED = re.compile("|".join(map(re.escape, _ESCAPES)))
# No space before these, none after those.
_JOINS_LEFT = re.compile(r"[.,!?;:%)\]}/]+|'(s|re|ve|ll|d|m)|n't", re.IGNORECASE)
_JOINS_RIGHT = re.compile(r"[(\[{/$#]")
# Words that the convention splits in two, beside the contractions.
_SPLIT_WORDS = {"can not", "gon na", "wan na", "got ta", "gim me", "lem me", "'t is", "'t was", "d' ye"}


def join(tokens: Sequence[str]) -> str:
    """The text of `tokens`."""
    text: list[str] = []
    glued = True  # whether the next token follows without a space
    open_double = open_single = False
    previous = ""
    for token in tokens:
        left, right = bool(_JOINS_LEFT.fullmatch(token)), False
        written = _ESCAPED.sub(lambda match: _ESCAPES[match[0]], token)
        if token in ("``", "''", '"'):
            opens = token == "``" or (token == '"' and not open_double)
            left, right, open_double = not opens, opens, opens
        elif token == "`":
            written, right, open_single = "'", True, True
        elif token == "'":
            # The end of a quotation, or of a plural's genitive ("the filmmakers' eyes").
            left, open_single = open_single or previous[-1:].isalnum() or bool(_JOINS_LEFT.fullmatch(previous)), False
        elif f"{previous} {token}".lower() in _SPLIT_WORDS:
            left = True
        else:
            left, right = left or bool(_JOINS_LEFT.fullmatch(written)), bool(_JOINS_RIGHT.fullmatch(written))
            written = written.replace("`", "'")
        text += [] if left or glued else [" "]
        text.append(written)
        glued, previous = right, token
    return " ".join("".join(text).split())
