"""From a cell's value to a text or a label: what is missing, what is a number, what is neither."""

import re
from typing import Any

from service.bulk.tables.rows import Fault
from service.model.tokenizer import is_blank

# What pandas writes and reads as a missing value.
MISSING = frozenset(
    {
        *("", "#N/A", "#N/A N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NAN", "NULL", "NaN", "NaT", "None"),
        *("n/a", "nan", "null", "#NULL!", "#VALUE!", "#REF!"),
    }
)
_NUMBER = re.compile(r"[-+]?\d{1,15}(?:\.\d+)?")
# Bytes that do not decode come through as lone surrogates.
_UNDECODED = re.compile("[\ud800-\udfff]")
_WHOLE = re.compile(r"([-+]?\d{1,15}),0+")  # 4,0 as a German Excel writes it


def text_of(value: Any) -> str | Fault:
    """The text in a cell; a number is its digits."""
    if isinstance(value, str):
        text = value
    elif value is None or value != value:  # NaN alone differs from itself
        return Fault("no text")
    elif isinstance(value, dict | list):
        return Fault(f"the text is a {'JSON object' if isinstance(value, dict) else 'list'}, expected a string")
    else:
        text = _plain(value)
    if is_blank(text):
        return Fault("no text")
    if not text.isascii() and _UNDECODED.search(text):
        return Fault("bad encoding")
    if text.strip() in MISSING:
        return Fault(f'the text is only "{text.strip()}", which stands for a missing value')
    return text


def label_of(value: Any) -> str | Fault:
    """The label in a cell: numbers that are equal are one label, a list of one entry is that entry."""
    if isinstance(value, list):
        if len(value) > 1:
            return Fault("the label is a list of several, expected one")
        return label_of(value[0]) if value else Fault("no label")
    if isinstance(value, dict):
        return Fault("the label is a JSON object, expected a string or a number")
    if value is None or value != value:
        return Fault("no label")
    label = value.strip() if isinstance(value, str) else _plain(value)
    if label in MISSING:
        return Fault("no label")
    if not label.isascii() and _UNDECODED.search(label):
        return Fault("bad encoding")
    if whole := _WHOLE.fullmatch(label):
        label = whole[1]
    if _NUMBER.fullmatch(label):
        number = float(label)
        label = str(int(number)) if number.is_integer() else repr(number)
    return label


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"  # as JSON writes it
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # Excel knows no other numbers
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value)
