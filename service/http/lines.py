"""The lines of a request's body as they come, in groups: a body of any length, of which little is held at a time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from time import perf_counter

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from service.http.held import HeldBody
from service.http.problems import Problem

_GROUP_BYTES = 2**18  # a line that reaches it is the last of its group
_BLANK_LINES = 1024  # after so many, with no other line among them, the event loop's other work has its turn
_MARK = b"\xef\xbb\xbf"  # the byte order mark that some programs put before UTF-8


@dataclass(slots=True)
class Group:
    """Some lines that came one after another, by their numbers in the body, from 1; None for one that is too long."""

    lines: list[tuple[int, bytes | None]] = field(default_factory=list)
    bytes: int = 0  # counted as held: of these lines, and of blank ones among them
    next: int = 1  # number of the line after them


class Lines:
    """Splits a body at `\\n`; blank lines are numbered and passed over, and the last need not end with `\\n`.

    A line has at most `max_bytes` and comes within `line_seconds`, and a caller sends something every
    `silence_seconds`, not counting the time in which nobody asks for more. A body that `is_one_line` is not split.
    A group has at most `group_lines`. What has come is counted in `held`; whoever is done with a group drops its bytes.
    """

    def __init__(
        self,
        receive: Receive,
        held: HeldBody,
        max_bytes: int,
        line_seconds: float,
        silence_seconds: float,
        group_lines: int,
        is_one_line: bool,
    ) -> None:
        self._receive, self._held, self._max_bytes = receive, held, max_bytes
        self._line_seconds, self._silence_seconds = line_seconds, silence_seconds
        self._group_lines, self._line_break = group_lines, b"" if is_one_line else b"\n"
        self.number = 1  # of the line that comes now
        self.has_ended = False  # the whole body has come
        self._stopped = False
        self._begun = bytearray()  # what has come of that line
        self._begun_bytes = 0  # also where it is too long, and not kept
        self._waited_seconds = 0.0  # for the rest of that line
        self._patience: asyncio.Timeout | None = None  # while more is awaited

    def stop(self) -> None:
        """Ends the groups: after the lines that have come there is no other."""
        self._stopped = True
        if self._patience is not None:
            self._patience.reschedule(0)

    async def groups(self) -> AsyncIterator[Group]:
        """All lines as they come, in groups, some of them empty. Raises Problem, Overloaded, ClientDisconnect."""
        while not self._stopped and not self.has_ended:
            for group in self._split(await self._more()):
                yield group

    async def drop(self, seconds: float) -> None:
        """Reads what is left of the body for so long, and drops it: the caller may read only once all is sent."""
        try:
            async with asyncio.timeout(seconds):
                while not self.has_ended:
                    await self._take()
        except (TimeoutError, ClientDisconnect):
            pass

    async def _more(self) -> bytes:
        """What has come, or b"" once stopped."""
        seconds, has_begun = self._silence_seconds, self._begun_bytes > 0
        if has_begun:
            seconds = min(seconds, self._line_seconds - self._waited_seconds)
        began = perf_counter()
        try:
            async with asyncio.timeout(seconds) as self._patience:
                part = await self._take()
        except TimeoutError:
            if self._stopped:
                return b""
            if not has_begun:
                found = f"expected a line within {seconds:g} s, found none"
            else:
                found = f"expected a whole line within {self._line_seconds:g} s of its first byte, found a part of it"
            raise Problem("slow_body", found) from None
        finally:
            self._patience = None
        if has_begun:
            self._waited_seconds += perf_counter() - began
        self._held.add(len(part))
        return part

    async def _take(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        self.has_ended = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part

    def _split(self, part: bytes) -> Iterator[Group]:
        group, begin, blank = Group(), 0, 0
        while begin < len(part):
            end = part.find(self._line_break, begin) if self._line_break else -1
            if end < 0:
                break
            self._begin(part[begin:end])
            begin = end + 1
            group.bytes += 1
            blank = 0 if self._end_line(group) else blank + 1
            if len(group.lines) == self._group_lines or group.bytes >= _GROUP_BYTES or blank == _BLANK_LINES:
                yield group
                group, blank = Group(), 0
        self._begin(part[begin:])
        if self.has_ended:
            self._end_line(group)
        if group.lines or group.bytes:
            yield group

    def _begin(self, piece: bytes) -> None:
        """Adds to the line that comes; what is too long is not kept."""
        self._begun_bytes += len(piece)
        self._begun += piece
        if self._begun_bytes > self._max_bytes:
            self._held.drop(len(self._begun))
            self._begun.clear()

    def _end_line(self, group: Group) -> bool:
        """Ends the line that comes, and adds it to the group unless it is blank; whether it did."""
        line: bytes | None = bytes(self._begun)
        group.bytes += len(self._begun)
        if self._begun_bytes > self._max_bytes:
            line = None
        elif self.number == 1:
            line = bytes(self._begun).removeprefix(_MARK)
        is_blank = line is not None and not line.strip()
        if not is_blank:
            group.lines.append((self.number, line))
        self.number += 1
        group.next = self.number
        self._begun.clear()
        self._begun_bytes, self._waited_seconds = 0, 0.0
        return not is_blank
