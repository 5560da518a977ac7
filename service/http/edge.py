"""The edge of the service: pure ASGI around every request, for its id, deadline, metrics and line in the log."""

import asyncio
import os
import re
import time
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.engine.batcher import Answer, Closed, Overloaded
from service.http.problems import Problem, problem_of
from service.model.classifier import Prediction
from service.telemetry import logs
from service.telemetry.metrics import OTHER, Metrics

if TYPE_CHECKING:
    from service.telemetry.tracing import Trace, Tracing

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_MILLISECONDS = re.compile(rb"[1-9][0-9]{0,8}")
# Requests are counted and logged some at a time: the code and data for it are then in the cache after the first.
_TELL_SECONDS = 0.02
# After a turn of the loop that refused somebody it waits, and who comes meanwhile is refused together. Else each of
# thousands a second takes the core from the batch that runs (`python -m benchmarks open`).
_REST_SECONDS = 0.002


class _Ended(NamedTuple):
    scope: Scope
    status: int
    ended: float  # perf_counter seconds
    seconds: float


class Edge:
    """Gives each request an id (the caller's own `X-Request-ID` where it is harmless), counts and logs it.

    `routes` are the paths that exist; any other is counted as "other". `judged` are those that have a deadline:
    `timeout_seconds` after they came, or sooner if `X-Request-Timeout-Ms` says so; `shed` is asked before their body
    is read whether there is any hope of meeting it, and `expect` is told the length of each body that `refuse` let
    through. Each is called as it stands in `judged`, not through `app`, so that it does not pay for middleware and
    routing that have nothing to do for it. While `draining`, connections are closed after their answer. An exception
    that nobody handled becomes a 500.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        routes: frozenset[str],
        judged: Mapping[str, ASGIApp],
        model: str,
        timeout_seconds: float,
        max_body_bytes: int,
        shed: Callable[[int, float], None],
        expect: Callable[[int], None],
        draining: Callable[[], bool],
        tracing: "Tracing | None" = None,
    ) -> None:
        self._app, self._metrics, self._routes, self._judged, self._model = app, metrics, routes, judged, model
        self._max_body_bytes = max_body_bytes
        self._timeout_seconds, self._shed, self._expect, self._draining = timeout_seconds, shed, expect, draining
        self._tracing = tracing
        self._log = structlog.get_logger("ovation")
        self._ended: list[_Ended] = []
        self._resting = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        began: float = state.setdefault("began", perf_counter())
        sent: dict[bytes, bytes] = dict(scope["headers"])
        request_id = _request_id(sent.get(b"x-request-id"))
        state["request_id"] = request_id
        path: str = scope["path"]
        app = self._judged.get(path)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
                if self._draining():
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            if app is None:
                self.tell()  # /metrics must know of every request before it
            else:
                if self._tracing is not None:
                    state["trace"] = self._tracing.begin(scope, sent, began)
                self._admit(sent, state)
            # HEAD is GET, of which uvicorn, by its own scope, leaves out the content.
            routed = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
            await (app or self._app)(routed, receive, send_with_id)
        except ClientDisconnect:
            pass  # it left: nobody is there to answer
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError):
                if status or not self._draining():
                    raise
                error = Closed("the service is stopping and did not come to this")
            problem = problem_of(error)
            if problem.kind == "internal":
                self._log.error("unhandled error", request_id=request_id, exc_info=error)
            if status:  # the answer is on its way already; cutting it off is all that is left
                raise
            await problem.response(path, request_id)(scope, receive, send_with_id)
        finally:
            # 499 is nginx's: the caller left before an answer began.
            self._end(scope, status or 499, began)

    def refuse(self, path: str, headers: list[tuple[bytes, bytes]], state: dict[str, Any]) -> Response | None:
        """The answer to a POST that is refused before it became a request, counted and logged like one.

        None where it is to come through ASGI: there is hope for it, or it may have another end than 429, or its length
        is not known. The edge then looks at it again, when it knows better who came before; its time, as `state` (that
        of its scope) keeps it, counts from now.
        """
        began = state["began"] = perf_counter()
        sent = dict(headers)
        if path not in self._judged or b"content-length" not in sent or self._tracing is not None or self._draining():
            return None
        try:
            self._expect(self._admit(sent, state))
        except Overloaded as error:
            request_id = _request_id(sent.get(b"x-request-id"))
            response = problem_of(error).response(path, request_id)
            response.raw_headers.append((b"x-request-id", request_id.encode()))
            state["request_id"] = request_id
            self._end({"path": path, "method": "POST", "state": state}, response.status_code, began)
            if not self._resting:
                self._resting = True
                asyncio.get_running_loop().call_soon(self._rest)
            return response
        except (Closed, Problem):
            pass
        return None

    def tell(self) -> None:
        """Counts and logs the requests that have ended since it was last called."""
        ended, self._ended = self._ended, []
        alike: dict[tuple[str, int], list[float]] = {}
        judged: list[Answer[Prediction]] = []
        lines: list[dict[str, object]] = []
        for scope, status, end, seconds in ended:
            path, state = scope["path"], scope["state"]
            route = path if path in self._routes else OTHER
            line = {
                "request_id": state["request_id"],
                "method": scope["method"],
                "route": route,
                "status": status,
                "seconds": round(seconds, 6),
                "tokens": state.get("tokens"),
                "model": self._model,
            }
            if answers := state.get("answers"):
                line["queue_seconds"] = round(max([answer.queue_seconds for answer in answers]), 6)
                line["tokenize_seconds"] = round(state["tokenize_seconds"], 6)
                line["compute_seconds"] = round(max([answer.compute_seconds for answer in answers]), 6)
                judged += answers
            trace: Trace | None = state.get("trace")
            if trace is not None and self._tracing is not None:
                line |= trace.ids
                self._tracing.end(trace, end, status, state.get("tokens"), state.get("tokenize_seconds"))
                self._metrics.observe_traced(route, status, seconds, trace.ids)
            else:
                alike.setdefault((route, status), []).append(seconds)
            lines.append(line)
        for (route, status), each in alike.items():
            self._metrics.observe_requests(route, status, each)
        self._metrics.observe_answers(judged)
        self._metrics.count_batches()
        logs.info_all("request", lines)

    def _end(self, scope: Scope, status: int, began: float) -> None:
        """Has a request counted and logged before long."""
        ended = perf_counter()
        self._ended.append(_Ended(scope, status, ended, ended - began))
        if len(self._ended) == 1:
            asyncio.get_running_loop().call_later(_TELL_SECONDS, self.tell)

    def _rest(self) -> None:
        """Keeps the loop from its sockets for a while; the inference threads go on."""
        self._resting = False
        time.sleep(_REST_SECONDS)

    def _admit(self, sent: dict[bytes, bytes], state: dict[str, Any]) -> int:
        """Sets the deadline; refuses at once what could not meet it. The length of the body in bytes as far as it is
        known and allowed. Raises Problem, Overloaded, Closed."""
        seconds = self._timeout_seconds
        if (value := sent.get(b"x-request-timeout-ms")) is not None:
            if not _MILLISECONDS.fullmatch(value):
                raise Problem("malformed", "X-Request-Timeout-Ms: expected milliseconds, a whole number above 0")
            seconds = min(seconds, int(value) / 1e3)
        deadline = state["deadline"] = state["began"] + seconds
        length = sent.get(b"content-length", b"")
        body_bytes = int(length) if length.isdigit() else 0
        if body_bytes > self._max_body_bytes:
            return 0  # not to be answered 429 however busy: whoever reads it refuses it
        try:
            self._shed(body_bytes, deadline - perf_counter())
        except Overloaded:
            self._metrics.observe_shed()
            raise
        return body_bytes


def _request_id(sent: bytes | None) -> str:
    if sent is not None and _REQUEST_ID.fullmatch(text := sent.decode("latin-1")):
        return text
    return os.urandom(16).hex()
