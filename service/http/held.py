"""Bytes held for callers, which together have a limit: bodies that have come, and what waits on connections."""

import asyncio
import contextlib
import ctypes
from collections import OrderedDict
from typing import Protocol

from service.engine.admission import Overloaded

_TRIM_SECONDS = 0.1  # from the release of bytes until their memory goes back to the system


class Endable(Protocol):
    """A connection."""

    def make_room(self) -> None:
        """Ends the connection."""


class Held:
    """The sum of all, at most about `max_bytes`; beyond that the connections on which bytes wait longest are ended."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self._waiting: OrderedDict[Endable, int] = OrderedDict()  # the oldest first
        self._has_grown = False  # set above max_bytes / 2, until `_trim` sees less than max_bytes / 8

    def waits(self, connection: Endable, size: int) -> None:
        """So many bytes wait on a connection now: answers that were not taken, requests that were not looked at."""
        self.bytes += size - self._waiting.get(connection, 0)
        if size:
            self._waiting[connection] = size
            self._make_room(connection)
        else:
            self._waiting.pop(connection, None)
            self._trim()

    def add(self, size: int) -> None:
        """Counts bytes of a body. Raises Overloaded where there is no room for them."""
        self.bytes += size
        self._make_room()
        if self.bytes > self.max_bytes:
            raise Overloaded(
                f"expected at most {self.max_bytes} bytes of bodies and answers held for all callers, found more", 1
            )

    def release(self, size: int) -> None:
        """Bytes of a body are not held any more."""
        self.bytes -= size
        self._trim()

    def _make_room(self, asking: Endable | None = None) -> None:
        self._has_grown |= self.bytes > self.max_bytes // 2
        while self.bytes > self.max_bytes:
            oldest = next((connection for connection in self._waiting if connection is not asking), None)
            if oldest is None:
                return
            self.waits(oldest, 0)
            oldest.make_room()

    def _trim(self) -> None:
        """Gives memory back to the system once `bytes` has fallen far: glibc would keep it, and take more beside it."""
        if self._has_grown and self.bytes < self.max_bytes // 8:
            self._has_grown = False
            asyncio.get_running_loop().call_later(_TRIM_SECONDS, _give_back_memory)


def _give_back_memory() -> None:
    """Gives free memory to the system, from between what is in use, too, where the C library is glibc."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


class HeldBody:
    """What has come of one body, or a long head; whoever makes it must `release` it."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self.bytes = 0

    def add(self, size: int) -> None:
        """Counts bytes that have come. Raises Overloaded where all together hold too much."""
        self.bytes += size
        self._held.add(size)

    def drop(self, size: int) -> None:
        """So many of the bytes are not held any more."""
        self.bytes -= size
        self._held.release(size)

    def release(self) -> None:
        """The body is not held any more."""
        if self.bytes:
            self.drop(self.bytes)
