"""Open loop: requests set out when a schedule says so, however long the answers take.

A closed loop sends less when the server is slow, and so never sees what its callers would have waited. Here latency
counts from the intended start. Plain asyncio protocols that write ready-made bytes: thousands of requests a second on
one core.
"""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import cast
from urllib.parse import urlsplit

import numpy as np
import uvloop
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_CONNECTIONS = 2000
LOST, UNANSWERED = 0, -1  # in place of a status: the connection ended; nothing came
_PATIENCE_SECONDS = 30  # after the last request
# The event loop's timers are good to a millisecond; nearer than this to the next start it is looked at all the time.
_TIMER_SECONDS = 0.002
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True)
class Sent:
    """What became of each request, in order: arrays [request]; seconds count from the first intended start."""

    due: Floats  # intended start
    lateness: Floats  # from there until the generator came to it
    latency: Floats  # from the intended start until the whole answer was there; NaN where none was
    status: NDArray[np.int64]  # of HTTP, or LOST, or UNANSWERED
    connections: int  # at most, at a time


def evenly(rate: float, seconds: float) -> Floats:
    """Intended starts, `rate` a second, at even intervals."""
    due: Floats = np.arange(max(1, round(rate * seconds))) / rate
    return due


def poisson(rate: float, seconds: float, seed: int) -> Floats:
    """Intended starts, `rate` a second in the mean, each independent of the others."""
    gaps: Floats = np.random.default_rng(seed).exponential(1 / rate, max(1, round(rate * seconds)))
    due: Floats = np.cumsum(gaps) - gaps[0]
    return due


def request(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of a POST of JSON to `url`."""
    parts = urlsplit(url)
    length = {"Host": parts.netloc, "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in length.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def send(url: str, requests: Sequence[bytes], due: Floats) -> Sent:
    """Sends `requests` in turn to the host of `url`, one at each time in `due` (seconds, ascending), and waits.

    Each takes a connection that is free, or opens one; with MOST_CONNECTIONS open it waits for one.
    """
    parts = urlsplit(url)
    return uvloop.run(_Load(parts.hostname or "", parts.port or 80, requests, due).run())


class _Load:
    def __init__(self, host: str, port: int, requests: Sequence[bytes], due: Floats) -> None:
        self._host, self._port, self._requests, self._due = host, port, requests, due.tolist()
        self._came, self._ended = [np.nan] * len(due), [np.nan] * len(due)  # perf_counter seconds
        self._status = [UNANSWERED] * len(due)
        self._missing = len(due)
        self._answered = asyncio.Event()
        self._waiting = deque[int]()  # requests that found no connection
        self._free = dict[_Connection, None]()  # the last used is the first taken
        self._open = self._most = 0
        self._connecting = set[asyncio.Task[None]]()

    async def run(self) -> Sent:
        began = perf_counter() + _TIMER_SECONDS
        for index, due in enumerate(self._due):
            while (left := began + due - perf_counter()) > 0:
                await asyncio.sleep(max(0.0, left - _TIMER_SECONDS))
            self._came[index] = perf_counter()
            if self._free:
                self._send(self._free.popitem()[0], index)
            else:
                self._waiting.append(index)
                self._connect()
        with contextlib.suppress(TimeoutError):  # they stay UNANSWERED
            await asyncio.wait_for(self._answered.wait(), _PATIENCE_SECONDS)
        starts = np.array(self._due) + began
        lateness, latency = np.array(self._came) - starts, np.array(self._ended) - starts
        return Sent(np.array(self._due), lateness, latency, np.array(self._status), self._most)

    def ready(self, connection: "_Connection") -> None:
        if self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._free[connection] = None

    def answered(self, index: int, status: int) -> None:
        self._status[index] = status
        if status != LOST:
            self._ended[index] = perf_counter()
        self._missing -= 1
        if not self._missing:
            self._answered.set()

    def lost(self, connection: "_Connection") -> None:
        self._free.pop(connection, None)
        self._open -= 1
        if self._waiting:
            self._connect()

    def _send(self, connection: "_Connection", index: int) -> None:
        connection.send(index, self._requests[index % len(self._requests)])

    def _connect(self) -> None:
        if self._open == MOST_CONNECTIONS:
            return
        self._open += 1
        self._most = max(self._most, self._open)
        task = asyncio.create_task(self._connected())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connected(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except OSError:
            self._open -= 1
            if self._waiting:
                self.answered(self._waiting.popleft(), LOST)


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._index: int | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._load.ready(self)

    def send(self, index: int, request: bytes) -> None:
        self._index, self._received = index, b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank_line, body = self._received.partition(b"\r\n\r\n")
        length = _CONTENT_LENGTH.search(head)
        if not blank_line or self._index is None or len(body) < (int(length[1]) if length else 0):
            return
        index, self._index = self._index, None
        self._load.answered(index, int(head[9:12]))  # HTTP/1.1 200
        if _CLOSE.search(head):
            self._transport.close()
        else:
            self._load.ready(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._index is not None:
            self._load.answered(self._index, LOST)
        self._load.lost(self)
