"""The shell that blocks."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from time import monotonic
from typing import Any, Self

import httpx

import service
from service.client.calls import Asked, Calls, Offsets, Outcome, Pause, Reply, Returned, Send, Steps, TimedOut
from service.client.errors import OvationError, Unreachable
from service.client.groups import Group, Groups
from service.client.results import Model, Prediction

RETRIES = 5
SECONDS = 30.0
CONNECTIONS = 2
KEEP_SECONDS = 60.0  # for idle connections: less than the service keeps them


class Client:
    """Asks the service at `url`, and keeps its connections; several threads may share one client.

    `timeout` are the seconds of a call, of `predict_many` and `stream` those of each request, attempts and pauses
    included; the service is told. An attempt that failed for a reason that may pass is repeated `retries` times,
    after the time that the service asks for. `predict_many` and `stream` use `connections` at a time. More `options`
    are those of `httpx.Client`, such as `verify` or `proxy`.
    """

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
        self._http = httpx.Client(base_url=url.rstrip("/"), limits=limits, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def model(self, *, timeout: float | None = None) -> Model:
        """What is being served, and its limits. Raises OvationError."""
        return self._run(self._calls.model(timeout or self._timeout), Event())

    def predict(
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
        return self._run(self._calls.one(text, asked), Event())

    def predict_many(
        self,
        texts: Iterable[str],
        *,
        evidence: bool = False,
        sentences: bool = False,
        offsets: Offsets = "code_points",
        timeout: float | None = None,
    ) -> Iterator[Outcome]:
        """Predicts any number of texts in batches: yields a Prediction or a Failure for each, in order.

        Reads no further than a few batches ahead. Raises OvationError where the service answers no more.
        """
        asked = Asked(evidence, sentences, offsets, timeout or self._timeout)
        return self._many(texts, lambda group: self._calls.batch(group, asked))

    def stream(
        self,
        texts: Iterable[str],
        *,
        evidence: bool = False,
        sentences: bool = False,
        offsets: Offsets = "code_points",
        timeout: float | None = None,
    ) -> Iterator[Outcome]:
        """As `predict_many`, but over the service's stream: texts wait for room where batches would be refused.

        For work that should not get in the way of other callers.
        """
        asked = Asked(evidence, sentences, offsets, timeout or self._timeout)
        return self._many(texts, lambda group: self._calls.lines(group, asked))

    def _many(self, texts: Iterable[str], call: Callable[[Group], Steps[list[Outcome]]]) -> Iterator[Outcome]:
        groups, left = Groups(self.model().limits), Event()
        running: deque[Future[list[Outcome]]] = deque()
        pool = ThreadPoolExecutor(self._connections, "ovation-client")
        try:
            for text in texts:
                if (group := groups.add(text)) is not None:
                    running.append(pool.submit(self._run, call(group), left))
                    if len(running) > self._connections:
                        yield from running.popleft().result()
            if (group := groups.rest()) is not None:
                running.append(pool.submit(self._run, call(group), left))
            while running:
                yield from running.popleft().result()
        finally:
            left.set()  # whoever stops iterating waits for no pause
            pool.shutdown(cancel_futures=True)

    def _run(self, steps: Steps[Returned], left: Event) -> Returned:
        """Takes the steps of a call. Raises OvationError, also once `left` is set."""
        outcome: Reply | Exception | None = None
        try:
            while True:
                step = steps.throw(outcome) if isinstance(outcome, Exception) else steps.send(outcome)
                outcome = None
                if isinstance(step, Pause):
                    if left.wait(step.seconds):
                        raise OvationError("expected another attempt, found that nobody waits for the answer")
                    continue
                try:
                    outcome = self._send(step)
                except httpx.TimeoutException:
                    outcome = TimedOut()
                except httpx.TransportError as error:
                    outcome = Unreachable(f"expected an answer, found no connection ({error or type(error).__name__})")
        except StopIteration as end:
            returned: Returned = end.value
            return returned

    def _send(self, step: Send) -> Reply:
        until = monotonic() + step.seconds
        with self._http.stream(
            step.method, step.path, content=step.content, headers=step.headers, timeout=step.seconds
        ) as answer:
            content, is_whole = bytearray(), True
            try:
                for part in answer.iter_bytes():
                    content += part
                    if monotonic() > until:
                        raise httpx.ReadTimeout("")
            except httpx.TransportError as error:
                if isinstance(error, httpx.TimeoutException):
                    raise
                is_whole = False
            return Reply(answer.status_code, answer.headers, bytes(content), is_whole)
