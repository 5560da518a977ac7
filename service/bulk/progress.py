"""How far a run is, on standard error: a line that is written anew on a terminal, a line now and then elsewhere."""

import sys
from time import monotonic

from service.bulk.tables import Position

_TERMINAL_SECONDS, _PLAIN_SECONDS = 0.2, 30.0
_BAR = 20  # characters


class Progress:
    """Rows, rows a second and the time left; `position` is that of the reader."""

    def __init__(self, position: Position) -> None:
        self._position = position
        self._is_terminal = sys.stderr.isatty()
        self._began = self._shown = monotonic()
        self._rows = 0  # of this run
        self._first_share: float | None = None

    def begin(self) -> None:
        """What comes now is scored, and no longer passed over."""
        self._began, self._first_share = monotonic(), self._position.share

    def add(self, rows: int, total: int) -> None:
        """So many rows were written, and `total` with those of earlier runs."""
        self._rows += rows
        now = monotonic()
        if now - self._shown < (_TERMINAL_SECONDS if self._is_terminal else _PLAIN_SECONDS):
            return
        self._shown = now
        line = self._line(total, now)
        sys.stderr.write(f"\r\x1b[2K{line}" if self._is_terminal else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Clears the line of a terminal."""
        if self._is_terminal:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()

    @property
    def seconds(self) -> float:
        """Since `begin`."""
        return monotonic() - self._began

    @property
    def rate(self) -> float:
        """Rows a second of this run."""
        return self._rows / max(self.seconds, 1e-9)

    def _line(self, total: int, now: float) -> str:
        line = f"{total:,} rows, {self.rate:,.0f} rows/s"
        share = self._position.share
        if share is None:
            return line
        full = round(share * _BAR)
        bar = f"[{'#' * full}{'.' * (_BAR - full)}] {share:.0%} " if self._is_terminal else f"{share:.0%}, "
        gained = share - (self._first_share or 0.0)
        left = f", {_clock((now - self._began) * (1 - share) / gained)} left" if gained > 0 else ""
        return f"{bar}{line}{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
