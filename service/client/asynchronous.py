"""The shell that awaits."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, Self

import httpx

import service
from service.client.blocking import CONNECTIONS, KEEP_SECONDS, RETRIES, SECONDS
from service.client.calls import Asked, Calls, Offsets, Outcome, Pause, Reply, Returned, Send, Steps, TimedOut
from service.client.errors import Unreachable
from service.client.groups import Group, Groups
from service.client.results import Model, Prediction

Texts = Iterable[str] | AsyncIterable[str]


class AsyncClient:
    """As `Client`, for asyncio; more `options` are those of `httpx.AsyncClient`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = SECONDS,
        retries: int = RETRIES,
        connections: int = CONNECTIONS,
        **options: Any,
    ) -> None:
        self._calls = Calls(api_key, retries, f"ovation-client/{service.__version__}")
        self._timeout, self._connections = timeout, connections
        limits = httpx.Limits(keepalive_expiry=KEEP_SECONDS)
        self._http = httpx.AsyncClient(base_url=url.rstrip("/"), limits=limits, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def model(self, *, timeout: float | None = None) -> Model:
        """What is being served, and its limits. Raises OvationError."""
        return await self._run(self._calls.model(timeout or self._timeout))

    async def predict(
        self,
        text: str,
        *,
        evidence: bool = False,
        sentences: bool = False,
        offsets: Offsets = "code_points",
        timeout: float | None = None,
    ) -> Prediction:
        """Predicts one text. Raises OvationError."""
        asked = Asked(evidence, sentences, offsets, timeout or self._timeout)
        return await self._run(self._calls.one(text, asked))

    def predict_many(
        self,
        texts: Texts,
        *,
        evidence: bool = False,
        sentences: bool = False,
        offsets: Offsets = "code_points",
        timeout: float | None = None,
    ) -> AsyncIterator[Outcome]:
        """As `Client.predict_many`."""
        asked = Asked(evidence, sentences, offsets, timeout or self._timeout)
        return self._many(texts, lambda group: self._calls.batch(group, asked))

    def stream(
        self,
        texts: Texts,
        *,
        evidence: bool = False,
        sentences: bool = False,
        offsets: Offsets = "code_points",
        timeout: float | None = None,
    ) -> AsyncIterator[Outcome]:
        """As `Client.stream`."""
        asked = Asked(evidence, sentences, offsets, timeout or self._timeout)
        return self._many(texts, lambda group: self._calls.lines(group, asked))

    async def _many(self, texts: Texts, call: Callable[[Group], Steps[list[Outcome]]]) -> AsyncIterator[Outcome]:
        groups = Groups((await self.model()).limits)
        running: deque[asyncio.Task[list[Outcome]]] = deque()
        turns = asyncio.Semaphore(self._connections)

        async def run(group: Group) -> list[Outcome]:
            async with turns:
                return await self._run(call(group))

        try:
            async for text in _each(texts):
                if (group := groups.add(text)) is not None:
                    running.append(asyncio.create_task(run(group)))
                    if len(running) > self._connections:
                        for outcome in await running.popleft():
                            yield outcome
            if (group := groups.rest()) is not None:
                running.append(asyncio.create_task(run(group)))
            while running:
                for outcome in await running.popleft():
                    yield outcome
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, steps: Steps[Returned]) -> Returned:
        """Takes the steps of a call. Raises OvationError."""
        outcome: Reply | Exception | None = None
        try:
            while True:
                step = steps.throw(outcome) if isinstance(outcome, Exception) else steps.send(outcome)
                outcome = None
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    continue
                try:
                    async with asyncio.timeout(step.seconds):
                        outcome = await self._send(step)
                except (httpx.TimeoutException, TimeoutError):
                    outcome = TimedOut()
                except httpx.TransportError as error:
                    outcome = Unreachable(f"expected an answer, found no connection ({error or type(error).__name__})")
        except StopIteration as end:
            returned: Returned = end.value
            return returned

    async def _send(self, step: Send) -> Reply:
        async with self._http.stream(
            step.method, step.path, content=step.content, headers=step.headers, timeout=step.seconds
        ) as answer:
            content, is_whole = bytearray(), True
            try:
                async for part in answer.aiter_bytes():
                    content += part
            except httpx.TransportError as error:
                if isinstance(error, httpx.TimeoutException):
                    raise
                is_whole = False
            return Reply(answer.status_code, answer.headers, bytes(content), is_whole)


async def _each(texts: Texts) -> AsyncIterator[str]:
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            yield text
        return
    for text in texts:
        yield text
