"""A real server, and an app without one, for the tests of the HTTP side."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, cast

import httpx
import uvicorn
import uvloop
from fastapi import FastAPI

from service.app import create_app
from service.model.classifier import Classifier, Prediction
from service.model.tokenizer import Encoded
from service.settings import Settings


class Held:
    """A classifier that answers only when told to: `entered` counts its calls, `gate` lets them through."""

    def __init__(self, real: Classifier) -> None:
        self._real = real
        self.manifest = real.manifest
        self.gate, self.entered = threading.Event(), threading.Semaphore(0)
        self.judged: list[int] = []  # tokens of each text, in the order they were run
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def predict(self, encoded: Sequence[Encoded], options: object = None) -> list[Prediction]:
        self.judged += [text.tokens for text in encoded]
        self.entered.release()
        assert self.gate.wait(30)
        if self.error:
            raise self.error
        return self._real.predict(encoded)


def make_app(classifier: Classifier | Held, **settings: Any) -> FastAPI:
    """The service around a classifier, with one inference thread unless told otherwise."""
    return create_app(Settings(**{"threads": 1, **settings}), cast(Classifier, classifier), _end)


def _end(code: int) -> None:
    """In place of `os._exit`, which would take the tests along: the event loop logs it, and waiters are failed."""
    raise AssertionError(f"the service ends its process, this one, with code {code}")


@contextlib.asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the app directly, with its lifespan around."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


@contextlib.contextmanager
def serving(app: FastAPI, **options: Any) -> Iterator[str]:
    """Runs the app in uvicorn, with more `options` of its Config, on a free port of 127.0.0.1 and gives its URL; stops
    it as SIGTERM would."""
    listener = socket.socket()
    # Each connection has its listener's buffer; a newer kernel's own takes megabytes that a caller does not read.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http="service.http.connection:Connection",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=20,
        **options,
    )
    server = uvicorn.Server(config)
    started = threading.Event()

    async def run() -> None:
        task = asyncio.create_task(server.serve([listener]))
        while not server.started and not task.done():
            await asyncio.sleep(0)
        started.set()
        await task

    thread = threading.Thread(target=uvloop.run, args=(run(),))  # as the service's own
    thread.start()
    try:
        assert started.wait(30)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()
        assert not thread.is_alive()
