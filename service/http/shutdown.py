"""The end of a service: SIGTERM, then not ready, then no new connections, then nothing left to answer."""

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

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
