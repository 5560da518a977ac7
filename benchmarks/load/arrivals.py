"""Open loop: sends each request at its scheduled time, however long earlier answers take.

A closed loop sends less when the server is slow, and so underestimates latency (coordinated omission). Here latency
counts from the scheduled time. asyncio protocols that write prepared bytes send thousands of requests a second.
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
LOST, UNANSWERED = 0, -1  # in place of a status: the connection ended; no answer came
_PATIENCE_SECONDS = 30  # to wait for answers after the last request is sent
# The event loop's timers are accurate to a millisecond: closer than this to a scheduled time, `run` polls the clock.
_TIMER_SECONDS = 0.002
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


@dataclass(frozen=True)
class Sent:
    """The outcome of each request, in the order of sending: arrays [request], in seconds."""

    due: Floats  # scheduled time, from the first one on
    lateness: Floats  # from the scheduled time until the generator handled the request
    latency: Floats  # from the scheduled time until the whole answer was received; NaN without an answer
    status: NDArray[np.int64]  # of HTTP, or LOST, or UNANSWERED
    connections: int  # the largest number open at a time


def evenly(rate: float, seconds: float) -> Floats:
    """Scheduled times [request] at even intervals, `rate` a second."""
    due: Floats = np.arange(max(1, round(rate * seconds))) / rate
    return due


def poisson(rate: float, seconds: float, seed: int) -> Floats:
    """Scheduled times [request] of a Poisson process, `rate` a second in the mean."""
    gaps: Floats = np.random.default_rng(seed).exponential(1 / rate, max(1, round(rate * seconds)))
    due: Floats = np.cumsum(gaps) - gaps[0]
    return due


def request(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The bytes of a POST of the JSON `body` to `url`."""
    parts = urlsplit(url)
    fields = {"Host": parts.netloc, "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def send(url: str, requests: Sequence[bytes], due: Floats) -> Sent:
    """Sends a request to the host of `url` at each time in `due` (seconds, ascending), and waits for the answers.

    `requests` are sent in turn and repeated. A request takes a free connection, or opens one unless MOST_CONNECTIONS
    are open, or waits for one.
    """
    parts = urlsplit(url)
    return uvloop.run(_Load(parts.hostname or "", parts.port or 80, requests, due).run())


class _Load:
    def __init__(self, host: str, port: int, requests: Sequence[bytes], due: Floats) -> None:
        self._host, self._port, self._requests, self._due = host, port, requests, due.tolist()
        self._handled, self._ended = [np.nan] * len(due), [np.nan] * len(due)  # perf_counter seconds
        self._status = [UNANSWERED] * len(due)
        self._missing = len(due)  # requests without an outcome
        self._complete = asyncio.Event()
        self._waiting = deque[int]()  # indices of requests that wait for a connection
        self._free = dict[_Connection, None]()  # as a stack: the last used is taken first
        self._open = self._most_open = 0  # connections
        self._connecting = set[asyncio.Task[None]]()  # keeps a reference to each task until it ends

    async def run(self) -> Sent:
        began = perf_counter() + _TIMER_SECONDS
        for index, due in enumerate(self._due):
            while (left := began + due - perf_counter()) > 0:
                await asyncio.sleep(max(0.0, left - _TIMER_SECONDS))
            self._handled[index] = perf_counter()
            if self._free:
                self._send(self._free.popitem()[0], index)
            else:
                self._waiting.append(index)
                self._connect()
        with contextlib.suppress(TimeoutError):  # the remaining requests stay UNANSWERED
            await asyncio.wait_for(self._complete.wait(), _PATIENCE_SECONDS)
        scheduled = np.array(self._due) + began
        lateness, latency = np.array(self._handled) - scheduled, np.array(self._ended) - scheduled
        return Sent(np.array(self._due), lateness, latency, np.array(self._status), self._most_open)

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
            self._complete.set()

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
        self._most_open = max(self._most_open, self._open)
        task = asyncio.create_task(self._open_connection())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _open_connection(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except OSError:
            self._open -= 1
            if self._waiting:
                self.answered(self._waiting.popleft(), LOST)


class _Connection(asyncio.Protocol):
    """A connection that carries one request at a time."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._index: int | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transport does not inherit from it
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
