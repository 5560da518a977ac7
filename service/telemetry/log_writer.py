"""Writes log lines to stdout in a thread of its own, so that whoever logs never waits for stdout."""

import os
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from time import monotonic

# Workers share one pipe, in which a write of up to PIPE_BUF (4,096 bytes) stays whole, and a longer one may not.
_WHOLE_BYTES = 4096
_BUFFER_BYTES = 2**20  # some 3,000 lines of requests
_RETRY_SECONDS = 1.0  # from a write that failed to the next
_CLOSE_SECONDS = 1.0  # for what is in the buffer when the process ends


class LogWriter:
    """A text file for structlog and logging, whose `write` neither blocks nor raises: it puts lines into a buffer.

    A daemon thread writes the buffer to the file descriptor. A line is lost if the buffer is full, or if its write
    fails. Lost lines are counted; before the next piece that the thread writes it writes the line that
    `tell(count, latest reason)` returns, unless that is None.
    """

    def __init__(self, descriptor: int, tell: Callable[[int, str], str | None]) -> None:
        self._descriptor, self._tell = descriptor, tell
        self._on_lost: Callable[[int], None] = lambda lines: None
        self._changed = threading.Condition()  # its lock guards all that follows but `_torn`
        self._pieces = deque[bytes]()  # of whole lines; the first is the one being written
        self._bytes = 0
        self._lost = self._untold = 0  # lines
        self._reason = ""
        self._close_at: float | None = None  # monotonic seconds
        self._torn = False  # a write failed in the middle of a line
        threading.Thread(target=self._run, name="log-writer", daemon=True).start()

    def write(self, text: str) -> None:
        """Puts one or more whole lines into the buffer."""
        self.put([text.encode("utf-8", "backslashreplace")])

    def flush(self) -> None:
        """Does nothing: structlog and logging call it after each line."""

    def put(self, lines: Iterable[bytes]) -> None:
        """Puts lines into the buffer; each ends with a newline."""
        with self._changed:
            for piece in _together(lines):
                if self._bytes + len(piece) > _BUFFER_BYTES:
                    self._lose(piece, "the buffer is full")
                else:
                    self._pieces.append(piece)
                    self._bytes += len(piece)
            self._changed.notify_all()
            if self._close_at is not None:
                self._wait_until_written(self._close_at)

    def report_lost(self, on_lost: Callable[[int], None]) -> None:
        """Calls `on_lost` with the number of lines lost so far, and later with that of each loss, in any thread."""
        with self._changed:
            self._on_lost = on_lost
            on_lost(self._lost)

    def close(self) -> None:
        """Waits until the buffer is written, for at most a second; until that second is over, `write` waits, too."""
        with self._changed:
            if self._close_at is None:
                self._close_at = monotonic() + _CLOSE_SECONDS
                self._changed.notify_all()
            self._wait_until_written(self._close_at)

    def _wait_until_written(self, until: float) -> None:
        self._changed.wait_for(lambda: not self._pieces, max(0.0, until - monotonic()))

    def _lose(self, piece: bytes, reason: str) -> None:
        lines = piece.count(b"\n")
        self._lost += lines
        self._untold += lines
        self._reason = reason
        self._on_lost(lines)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces)
                piece, untold, reason = self._pieces[0], self._untold, self._reason
            told, rest = 0, piece
            _, error = self._write(self._notice(untold, reason))
            if error is None:
                told = untold
                rest, error = self._write(piece)
            with self._changed:
                self._bytes -= len(self._pieces.popleft())
                self._untold -= told
                if error is not None:
                    self._lose(rest, error.strerror or repr(error))
                self._changed.notify_all()
                if error is not None:
                    self._changed.wait_for(lambda: self._close_at is not None, _RETRY_SECONDS)

    def _notice(self, untold: int, reason: str) -> bytes:
        """The line that reports lost lines, if there are any; a newline before it ends a torn line."""
        text = self._tell(untold, reason) if untold else None
        return b"\n" * self._torn + (f"{text}\n".encode() if text else b"")

    def _write(self, data: bytes) -> tuple[bytes, OSError | None]:
        """Blocks until all is written, or a write fails: then returns what was not written, and why."""
        rest = data
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
                self._torn = bool(rest) and not data[: -len(rest)].endswith(b"\n")
            except BlockingIOError:  # somebody who shares the pipe or the terminal made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                return rest, error
        return b"", None


def _together(lines: Iterable[bytes]) -> Iterator[bytes]:
    """As many lines together as a pipe keeps whole; a longer line alone."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if piece and size + len(line) > _WHOLE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield b"".join(piece)
