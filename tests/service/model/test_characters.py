"""The kinds of characters are those of one version of Unicode, whatever the Python."""

import hashlib
import sys
import unicodedata
from pathlib import Path

import pytest

from service.model import character_table
from service.model.characters import kinds
from service.model.tokenizer import words
from tests.support.character_table import UNICODE, module

EVERY_CHARACTER = "".join(map(chr, range(sys.maxunicode + 1)))


@pytest.mark.skipif(unicodedata.unidata_version != UNICODE, reason=f"needs the Python with Unicode {UNICODE}")
def test_the_table_is_what_its_command_prints() -> None:
    assert Path(character_table.__file__).read_text(encoding="utf-8") == module()


def test_every_character_has_a_kind() -> None:
    found = kinds(EVERY_CHARACTER)
    assert len(found) == len(EVERY_CHARACTER)
    assert set(found) == set("wimjs'rtu ")
    assert [char for char, kind in zip(EVERY_CHARACTER, found, strict=True) if kind == " "] == [
        char for char in EVERY_CHARACTER if char.isspace()
    ]


def test_all_supported_pythons_find_the_same_tokens() -> None:
    # Recorded with Python 3.11; 3.12 and 3.13 give the same, though they know more characters.
    text = " ".join(
        f"A{char} {char}\u0327\u0301" for char in EVERY_CHARACTER[:0x32400] + EVERY_CHARACTER[0xE0000:0xE0200]
    )
    found = "\n".join(words(text, "words-and-marks-2")).encode("utf-8", "surrogatepass")
    assert hashlib.sha256(found).hexdigest() == "9d7dd9762b1f886926af72a6e0a39d6fcd90862bfe376fdf825c94b4d2fead0d"
