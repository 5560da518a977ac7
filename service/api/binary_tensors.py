"""Tensors in the binary form of the Open Inference Protocol: bytes behind the JSON of a request or an answer.

The header `Inference-Header-Content-Length` tells where the JSON ends. An element of datatype BYTES is its length, four
bytes, little-endian, and its bytes; FP32 is little-endian, too, row by row.
"""

import re
import struct
from collections.abc import Mapping, Sequence

from service.http.problems import Problem

LENGTH_HEADER = "Inference-Header-Content-Length"
_LENGTH = struct.Struct("<I")


def json_length(headers: Mapping[bytes, bytes], body_bytes: int) -> int | None:
    """Bytes of JSON at the start of a body of `body_bytes`; None where all of it is. Raises Problem."""
    value = headers.get(LENGTH_HEADER.lower().encode())
    if value is None:
        return None
    # Ten digits are more than a body may have; int() takes time that grows with the square of the digits.
    if not re.fullmatch(rb"[0-9]{1,10}", value) or int(value) > body_bytes:
        raise Problem("malformed", f"{LENGTH_HEADER}: expected a number of bytes within the body, found another value")
    return int(value)


def read_bytes(data: bytes, count: int) -> list[bytes]:
    """The `count` elements of a tensor of BYTES, which end where `data` does. Raises Problem."""
    elements, at = list[bytes](), 0
    for _ in range(count):
        if at + _LENGTH.size > len(data):
            raise _malformed(count, "fewer")
        end = at + _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
        if end > len(data):
            raise _malformed(count, "a length beyond its end")
        elements.append(data[at + _LENGTH.size : end])
        at = end
    if at < len(data):
        raise _malformed(count, "more bytes")
    return elements


def write_bytes(elements: Sequence[str]) -> bytes:
    """A tensor of BYTES."""
    encoded = [element.encode() for element in elements]
    return b"".join([_LENGTH.pack(len(element)) + element for element in encoded])


def write_fp32(values: Sequence[float]) -> bytes:
    """A tensor of FP32, each value rounded to the nearest."""
    return struct.pack(f"<{len(values)}f", *values)


def _malformed(count: int, found: str) -> Problem:
    return Problem("malformed", f"inputs.0: expected a binary tensor of {count} elements, found {found}")
