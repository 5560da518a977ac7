"""Reads protobuf's wire format (protobuf.dev/programming-guides/encoding), as much as ONNX files need.

The service has no `onnx` package: what it must know of a graph before onnxruntime sees it, it reads by field numbers.
"""

from collections.abc import Iterator
from typing import NamedTuple

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


class Field(NamedTuple):
    """A field of a message."""

    number: int
    whole: memoryview  # with its tag
    payload: memoryview


def fields(message: memoryview) -> Iterator[Field]:
    """Yields the fields of `message`. Raises ValueError."""
    at = 0
    while at < len(message):
        tag, start = varint(message, at)
        end = start
        if tag & 7 == _VARINT:
            _, end = varint(message, start)
        elif tag & 7 == _LENGTH:
            size, start = varint(message, start)
            end = start + size
        elif tag & 7 in (_FIXED64, _FIXED32):
            end = start + (8 if tag & 7 == _FIXED64 else 4)
        if end == at or end > len(message) or tag & 7 not in (_VARINT, _FIXED64, _LENGTH, _FIXED32):
            raise ValueError(f"expected a protobuf field at byte {at} of {len(message)}, found none")
        yield Field(tag >> 3, message[at:end], message[start:end])
        at = end


def payloads(message: memoryview, number: int) -> list[memoryview]:
    """The payloads of the fields with this number. Raises ValueError."""
    return [field.payload for field in fields(message) if field.number == number]


def texts(message: memoryview, number: int) -> list[str]:
    """The fields with this number, which hold UTF-8. Raises ValueError."""
    return [bytes(payload).decode() for payload in payloads(message, number)]


def numbers(message: memoryview, number: int) -> list[int]:
    """The fields with this number, which hold integers from 0, alone or packed. Raises ValueError."""
    found = list[int]()
    for field in fields(message):
        if field.number == number:
            at = 0
            while at < len(field.payload):
                value, at = varint(field.payload, at)
                found.append(value)
    return found


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number encoded at offset `at` of `message`, and the offset of the next byte. Raises ValueError."""
    value = shift = 0
    for place in range(at, min(len(message), at + _MAX_VARINT_BYTES)):
        byte = message[place]
        value, shift = value | (byte & 0x7F) << shift, shift + 7
        if byte < 0x80:
            return value, place + 1
    raise ValueError("expected a protobuf number, found the end")


def delimited(number: int, payload: bytes) -> bytes:
    """A field of this number with a payload of any length."""
    header, size = bytearray([number << 3 | _LENGTH]), len(payload)
    while size > 0x7F:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    header.append(size)
    return bytes(header) + payload
