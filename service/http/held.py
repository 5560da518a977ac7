"""Bytes held for callers: bodies that have come, and answers that were not taken; together they have a limit."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.engine.admission import Overloaded


class Held:
    """The sum of all, at most about `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0

    @contextmanager
    def body(self) -> Iterator["HeldBody"]:
        """A body, whose bytes are held until the block ends."""
        body = HeldBody(self)
        try:
            yield body
        finally:
            self.bytes -= body.bytes


class HeldBody:
    """What has come of one body."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.bytes = 0

    def add(self, size: int) -> None:
        """Counts bytes that have come. Raises Overloaded where all together hold too much."""
        self.bytes += size
        self._held.bytes += size
        if self._held.bytes > self._held.max_bytes:
            limit = self._held.max_bytes
            raise Overloaded(
                f"expected at most {limit} bytes of bodies and answers held for all callers, found more", 1
            )
