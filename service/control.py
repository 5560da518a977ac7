"""A worker's end of the line to the supervisor: it gets the bundle's files, and makes changes together with others."""

import asyncio
import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Coroutine
from multiprocessing.connection import Connection
from typing import Any

import structlog

from service.engine.models import Models
from service.model.bundles import ChangeRefused, Files, Order

_PATIENCE_SECONDS = 120.0  # for the supervisor's word on an order


class Control:
    """The messages of both sides are tuples: a word, mostly the number of an order, and what belongs to it.

    From the supervisor: ("start", files, the shadow's files and share or None), ("prepare", n, order, files),
    ("commit", n, order), ("abort", order, reason), ("done", own n, reason or None). From the worker: ("ready",),
    ("prepared", n, reason or None), ("committed", n, None), ("order", own n, order).
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.files: Files  # of the bundle that is served
        self._shadow: tuple[Files, float] | None
        _, self.files, self._shadow = connection.recv()
        self._models: Models | None = None
        self._numbers = itertools.count()
        self._waiting = dict[int, asyncio.Future[str | None]]()
        self._tasks = set[asyncio.Task[None]]()

    def attach(self, models: Models) -> None:
        """Listens from now on, in a thread that ends with the connection."""
        self._models = models
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop,), name="control", daemon=True).start()
        self._connection.send(("ready",))
        if self._shadow is not None:
            self._begin(self._start_shadow(models, *self._shadow))
        self._shadow = None

    async def carry_out(self, order: Order) -> None:
        """Hands `order` to the supervisor. Raises ChangeRefused: the model that is served stays."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._connection.send(("order", number, order))
            reason = await asyncio.wait_for(self._waiting[number], _PATIENCE_SECONDS)
        except (OSError, TimeoutError) as error:
            raise ChangeRefused("expected an answer of the supervisor, found none") from error
        finally:
            del self._waiting[number]
        if reason is not None:
            raise ChangeRefused(reason)

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop has ended
            try:
                while True:
                    loop.call_soon_threadsafe(self._take, self._connection.recv())
            except (EOFError, OSError):
                loop.call_soon_threadsafe(_end_as_an_orphan)

    def _take(self, message: tuple[Any, ...]) -> None:
        assert self._models is not None
        match message:
            case ("prepare", number, order, files):
                self._begin(self._prepare(self._models, number, order, files))
            case ("commit", number, order):
                self._models.commit(order)
                self._connection.send(("committed", number, None))
            case ("abort", order, reason):
                self._models.abort()
                self._models.ended(order, reason)
            case ("done", number, reason):
                if (waiting := self._waiting.get(number)) is not None and not waiting.done():
                    waiting.set_result(reason)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start_shadow(self, models: Models, files: Files, share: float) -> None:
        """The shadow of a worker that has come in the place of another."""
        order = Order("shadow", share=share)
        try:
            await models.prepare(order, files)
        except Exception as error:
            models.ended(order, str(error) or type(error).__name__)
        else:
            models.commit(order)

    async def _prepare(self, models: Models, number: int, order: Order, files: Files | None) -> None:
        reason = None
        try:
            await models.prepare(order, files)
        except Exception as error:  # the supervisor decides what follows
            reason = str(error) or type(error).__name__
        self._connection.send(("prepared", number, reason))


def _end_as_an_orphan() -> None:
    """Without a supervisor nobody replaces a worker or tells it to stop, and it would hold the port."""
    structlog.get_logger("ovation").critical("the supervisor has ended, so this worker stops")
    os.kill(os.getpid(), signal.SIGTERM)
