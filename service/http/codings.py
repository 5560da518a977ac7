"""Content codings: compressed bodies inflated within a limit, and answers compressed where the caller accepts it."""

import re
import zlib

from service.http.problems import Problem

# `wbits` of zlib. HTTP's deflate has zlib's header and checksum (RFC 9110, 8.4.1.2).
_WBITS = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}
CODINGS = tuple(_WBITS)
_REFUSED = re.compile(rb"q *= *0(\.0*)?")  # the weight of what the caller does not take
_LEVEL = 1  # an answer is short: higher levels cost more time than they save bytes


class Inflater:
    """Inflates one body, part by part; neither what comes in nor what comes out exceeds `max_bytes`."""

    def __init__(self, coding: bytes, max_bytes: int) -> None:
        self._stream = zlib.decompressobj(_WBITS[coding])
        self._max_bytes = max_bytes
        self._received = self._inflated = 0

    def inflate(self, part: bytes) -> bytes:
        """The bytes that `part` stands for. Raises Problem: too many bytes, or none of the coding."""
        self._received += len(part)  # many bytes may stand for none
        if self._stream.eof and part:
            raise _malformed("the end of the compressed body", "more bytes")
        try:
            inflated = self._stream.decompress(part, self._max_bytes - self._inflated + 1)
        except zlib.error:
            raise _malformed("a body in the declared Content-Encoding", "an error in it") from None
        self._inflated += len(inflated)
        if max(self._received, self._inflated) > self._max_bytes:
            raise too_large(self._max_bytes)
        if self._stream.unused_data:
            raise _malformed("the end of the compressed body", "more bytes")
        return inflated

    def end(self) -> None:
        """The body has come. Raises Problem where the compressed stream is not at its end."""
        if not self._stream.eof:
            raise _malformed("a whole body in the declared Content-Encoding", "one that is cut off")


def accepted(header: bytes) -> bytes | None:
    """The coding to answer in, by `Accept-Encoding`; None for none."""
    if not header:
        return None
    taken = set[bytes]()
    for part in header.lower().split(b","):
        name, _, weight = part.partition(b";")
        if not _REFUSED.fullmatch(weight.strip()):
            taken.add(name.strip())
    return next((coding for coding in CODINGS if coding in taken), None)


def compress(content: bytes, coding: bytes) -> bytes:
    """`content` in one of CODINGS."""
    stream = zlib.compressobj(_LEVEL, wbits=_WBITS[coding])
    return stream.compress(content) + stream.flush()


def too_large(max_bytes: int) -> Problem:
    """The refusal of a body of more bytes."""
    return Problem("body_too_large", f"expected at most {max_bytes} bytes, found more")


def _malformed(expected: str, found: str) -> Problem:
    return Problem("malformed", f"expected {expected}, found {found}")
