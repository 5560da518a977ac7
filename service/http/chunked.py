"""The chunked coding of a request's body (RFC 9112, 7.1), with limits; trailers are read and dropped."""

import re

_LINE_BYTES = 1024  # of a chunk's size with its extensions
_TRAILER_BYTES = 64 * 1024
# A chunk's size with its extensions, and the line break that ends them.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


class BadChunk(ValueError):
    """The body is not what the coding says, or its framing has no end."""


class ChunkedReader:
    """Reads one body."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the chunk that have not come, and of the line break after it
        self._trailer_bytes: int | None = None  # so far, once the last chunk has come

    def read(self, pending: bytearray) -> tuple[bytes, bool]:
        """Takes what it can from `pending`: bytes of the body, and whether the body has ended. Raises BadChunk."""
        parts, at = list[bytes](), 0  # bytes of `pending` that were read
        while at < len(pending) and self._trailer_bytes is None:
            if not self._left:
                size_line = _SIZE_LINE.match(pending, at, at + _LINE_BYTES + 2)
                if size_line is None:
                    _check_begun_size(bytes(pending[at : at + _LINE_BYTES + 2]))
                    break
                at, size = size_line.end(), int(size_line[1], 16)
                del size_line  # it would keep `pending` from being cut
                self._left, self._trailer_bytes = (size + 2, None) if size else (0, 0)
            elif self._left > 2:
                parts.append(bytes(pending[at : at + self._left - 2]))
                at += len(parts[-1])
                self._left -= len(parts[-1])
            else:
                line_break = pending[at : at + self._left]
                if not b"\r\n"[2 - self._left :].startswith(line_break):
                    raise BadChunk("expected a line break after a chunk, found more of it")
                at += len(line_break)
                self._left -= len(line_break)
        del pending[:at]
        has_ended = self._trailer_bytes is not None and self._skip_trailers(pending)
        return b"".join(parts), has_ended

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


def _check_begun_size(line: bytes) -> None:
    """Raises BadChunk where `line`, as far as it has come, cannot become a chunk's size."""
    if b"\r\n" in line:
        raise BadChunk("expected a chunk's size in hexadecimal digits, found something else")
    if len(line) > _LINE_BYTES:
        raise BadChunk(f"expected a chunk's size within {_LINE_BYTES} bytes, found more")
