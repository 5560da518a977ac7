"""The end of a service: SIGTERM, then not ready, then no new connections, then nothing left to answer."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable
from socket import socket
from types import FrameType
from typing import Any

import uvicorn

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Drain:
    """Replaces uvicorn's signal handlers and calls them later; made in the lifespan, when uvicorn has set them.

    The first signal calls `begin`; `pre_stop_seconds` later (at once for Ctrl-C) uvicorn is told to stop accepting and
    to let open requests finish; after `grace_seconds` more, `abandon` answers those that still wait. A second
    signal stops at once. In a thread other than the main one, where there are no signals, nothing is done.
    """

    def __init__(
        self, begin: Callable[[], None], abandon: Callable[[], None], pre_stop_seconds: float, grace_seconds: float
    ) -> None:
        self._begin, self._abandon = begin, abandon
        self._pre_stop_seconds, self._grace_seconds = pre_stop_seconds, grace_seconds
        self._loop = asyncio.get_running_loop()
        self._first: int | None = None
        self._uvicorn_handlers: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self._uvicorn_handlers = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}

    def stop(self) -> None:
        """Has uvicorn stop accepting now and let open requests finish, without a signal."""
        if self._first is None and self._uvicorn_handlers:
            self._first = signal.SIGINT
            self._stop(signal.SIGINT)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._first == signal.SIGINT and number == signal.SIGTERM:
            return  # Ctrl-C reaches every process of a terminal; uvicorn's supervisor then sends SIGTERM, too
        if self._first is not None:
            for _ in range(2):  # uvicorn takes its second SIGINT for "now"
                self._uvicorn_handlers[signal.SIGINT](signal.SIGINT, frame)
            return
        self._first = number
        self._loop.call_soon_threadsafe(self._start, number)

    def _start(self, number: int) -> None:
        self._begin()
        self._loop.call_later(0 if number == signal.SIGINT else self._pre_stop_seconds, self._stop, number)

    def _stop(self, number: int) -> None:
        self._uvicorn_handlers[number](number, None)
        self._loop.call_later(self._grace_seconds, self._abandon)


class Server(uvicorn.Server):
    """uvicorn's, but it takes the connections that wait to be accepted before it closes its listeners.

    The system resets those that still wait then, whose callers may have sent their requests.
    """

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Called by uvicorn when it is told to exit."""
        for listener in sockets or ():
            with contextlib.suppress(OSError):  # BlockingIOError: none waits
                while True:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol
