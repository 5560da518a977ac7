"""Prints service/model/character_table.py: `python3.11 -m tests.support.character_table`.

Needs the Python whose `unicodedata` has the version UNICODE, that of the oldest Python supported.
"""

import sys
import unicodedata
from itertools import groupby
from textwrap import wrap

UNICODE = "14.0.0"

# Blocks of the scripts that are written without spaces and whose characters mean something by themselves: the
# ideographs (Han, Tangut, Khitan), kana, Bopomofo, Yi and Nushu. In UAX #14, which says where a line may break, the
# letters of these blocks have the classes ID and CJ: a line may break between any two of them.
_IDEOGRAPHS = (
    (0x3005, 0x30FF), (0x3105, 0x312F), (0x31A0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0xA4CF), (0xF900, 0xFAFF),
    (0xFF66, 0xFF9D), (0x16FE0, 0x1B2FF), (0x20000, 0x3FFFF),
)  # fmt: skip
# Unicode has reserved these for pictures (the property Extended_Pictographic), those still to come included.
_PICTURES = ((0x1F000, 0x1FAFF), (0x1FC00, 0x1FFFD))
_REGIONAL_INDICATORS = ((0x1F1E6, 0x1F1FF),)
_MODIFIERS = ((0x1F3FB, 0x1F3FF), (0xE0020, 0xE007F))  # skin tones; the tags of the flags of regions
_MARKS = ((0x200C, 0x200C), (0xFF9E, 0xFF9F))  # the non-joiner; the halfwidth marks of voiced kana, formally letters
_JOINER = 0x200D


def kind(code_point: int) -> str:
    """The kind of a character, as service/model/characters.py lists them."""
    character, category = chr(code_point), unicodedata.category(chr(code_point))
    if category in ("Cn", "Co", "Cs"):
        return "s" if _within(code_point, _PICTURES) else "u"
    if character.isspace():
        return " "
    if code_point == _JOINER:
        return "j"
    for blocks, name in ((_REGIONAL_INDICATORS, "r"), (_MODIFIERS, "t"), (_MARKS, "m")):
        if _within(code_point, blocks):
            return name
    if category[0] == "M":
        return "m"
    if category[0] in "LN":
        return "i" if _within(code_point, _IDEOGRAPHS) else "w"
    return "'" if character == "'" else "s"


def _within(code_point: int, blocks: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code_point <= last for first, last in blocks)


def module() -> str:
    """The text of the module."""
    runs = [f"{name}{len(list(run)):x}" for name, run in groupby(map(kind, range(sys.maxunicode + 1)))]
    lines = "\n".join(wrap(",".join(runs).replace(" ", "_").replace(",", " "), 118))
    return (
        f'"""The kinds of the characters of Unicode {UNICODE}.\n\n'
        'Printed by `python3.11 -m tests.support.character_table`.\n"""\n\n'
        "# Runs of code points from 0 on: a kind of characters.py, `_` for a space, and how many, in hexadecimal.\n"
        f'RUNS = """\n{lines}\n"""\n'
    )


if __name__ == "__main__":
    if unicodedata.unidata_version != UNICODE:
        sys.exit(
            f"expected a Python with Unicode {UNICODE}, found {unicodedata.unidata_version}: run it with Python 3.11"
        )
    sys.stdout.write(module())
