"""The chunked coding of a request's body (RFC 9112, 7.1), with limits; trailers are read and dropped."""

import re

_LINE_BYTES = 1024  # of a chunk's size with its extensions
_TRAILER_BYTES = 64 * 1024
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}(?=[ \t]*(?:;|\Z))")


class BadChunk(ValueError):
    """The body is not what the coding says, or its framing has no end."""


class ChunkedReader:
    """Reads one body."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the chunk that have not come, and of the line break after it
        self._trailer_bytes: int | None = None  # so far, once the last chunk has come

    def read(self, pending: bytearray) -> tuple[bytes, bool]:
        """Takes what it can from `pending`: bytes of the body, and whether the body has ended. Raises BadChunk."""
        parts: list[bytes] = []
        while pending:
            if self._trailer_bytes is not None:
                if self._skip_trailers(pending):
                    return b"".join(parts), True
                break
            if not self._left:
                if not self._take_size(pending):
                    break
            elif self._left > 2:
                parts.append(bytes(pending[: self._left - 2]))
                del pending[: len(parts[-1])]
                self._left -= len(parts[-1])
            else:
                end = b"\r\n"[2 - self._left :]
                if pending[: self._left] != end[: len(pending)]:
                    raise BadChunk("expected a line break after a chunk, found more of it")
                taken = min(self._left, len(pending))
                del pending[:taken]
                self._left -= taken
        return b"".join(parts), False

    def _take_size(self, pending: bytearray) -> bool:
        """Whether the line with a chunk's size has come."""
        line, separator, _ = bytes(pending[: _LINE_BYTES + 2]).partition(b"\r\n")
        if not separator:
            if len(pending) > _LINE_BYTES:
                raise BadChunk(f"expected a chunk's size within {_LINE_BYTES} bytes, found more")
            return False
        size = _SIZE.match(line)
        if size is None or b"\n" in line or b"\r" in line:  # a proxy might end the line there
            raise BadChunk("expected a chunk's size in hexadecimal digits, found something else")
        del pending[: len(line) + 2]
        self._left = int(size.group(), 16) + 2
        if self._left == 2:
            self._left, self._trailer_bytes = 0, 0
        return True

    def _skip_trailers(self, pending: bytearray) -> bool:
        """Whether the empty line after the trailers has come."""
        assert self._trailer_bytes is not None
        while (end := pending.find(b"\r\n")) >= 0:
            del pending[: end + 2]
            self._trailer_bytes += end + 2
            if end == 0:
                return True
        if self._trailer_bytes + len(pending) > _TRAILER_BYTES:
            raise BadChunk(f"expected at most {_TRAILER_BYTES} bytes of trailers, found more")
        return False
