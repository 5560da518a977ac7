"""The kinds of characters, the same on every Python.

Training may run on one Python and the service on another, whose `unicodedata` and `\\w` know more letters. Hence a
table, fixed at Unicode 14.0, that of Python 3.11, the oldest supported. All supported Pythons agree on `lower` and
on NFC for the characters of that version; a character assigned later has the kind "u" and is neither lower-cased nor
normalised.
"""

import numpy as np

from service.model.character_table import RUNS

# w  letter or digit                                       i  the same, of a script whose every character is a token
# m  combining mark, variation selector or non-joiner      j  zero width joiner
# s  any other mark or symbol, emoji included              '  apostrophe
# r  regional indicator, half a flag                       t  emoji modifier: a skin tone or a tag
# u  not assigned, or for private use                      (a space)  white space
_RUNS = [(run[0].replace("_", " "), int(run[1:], 16)) for run in RUNS.split()]
_KINDS = np.repeat([ord(kind) for kind, _ in _RUNS], [count for _, count in _RUNS]).astype(np.uint8)  # [code point]


def kinds(text: str) -> str:
    """The kind of each character of `text`, [character]."""
    code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    return _KINDS.take(code_points).tobytes().decode("ascii")
