"""The edge of the service: pure ASGI around every request, for its id, origin, deadline, record, unforeseen errors."""

import asyncio
import os
import re
from collections.abc import Collection, Mapping
from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.engine.admission import Closed
from service.engine.readiness import Readiness
from service.http.connection import CALLER_LEFT, REFUSED
from service.http.keys import Keys, check_allowance, limit_headers
from service.http.origins import Hosts, Origins
from service.http.problems import KINDS, Problem, problem_of
from service.telemetry.metrics import OTHER
from service.telemetry.request_log import RequestLog, RequestRecord

# Of every answer: what it is, is what its Content-Type says, and nobody keeps it. A page's own headers go before.
_NOSNIFF, _NO_STORE = (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
MILLISECONDS = re.compile(rb"[1-9][0-9]{0,8}")


class Edge:
    """Gives each request an id (the caller's own `X-Request-ID` where it is harmless) and a record.

    Requests to the routes in `predicting` have a deadline: `timeout_seconds` after they came, or sooner if
    `X-Request-Timeout-Ms` says so. Each of these routes is called as it stands there, not through `app`, so that it
    does not pay for middleware and routing that have nothing to do for it. What web pages may ask, `origins` decides,
    and `hosts` by which names the service may be asked;
    `keys`, where there are some, who may ask at all, and how much.
    While draining, connections are closed after their answer. An exception that nobody handled becomes a 500.
    """

    def __init__(
        self,
        app: ASGIApp,
        predicting: Mapping[str, ASGIApp],
        readiness: Readiness,
        log: RequestLog,
        origins: Origins,
        timeout_seconds: float,
        hosts: Hosts,
        keys: Keys | None = None,
        streams: Collection[str] = (),
    ) -> None:
        """`streams` are the routes that wait for tokens of a spent key themselves."""
        self._hosts, self._keys, self._streams = hosts, keys, streams
        self._app, self._predicting, self._readiness = app, predicting, readiness
        self._log, self._origins, self._timeout_seconds = log, origins, timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        sent_id = _sent_id(headers.get(b"x-request-id"))
        record = RequestRecord(
            scope["method"],
            scope["path"],
            sent_id or os.urandom(16).hex(),
            perf_counter(),
            self._readiness.engine.classifier.name,
            self._log.metrics.route(scope["path"]),
            own_id=sent_id is not None,
        )
        scope.setdefault("state", {})["record"] = record
        is_refused = False
        origin = headers.get(b"origin")
        cors = self._origins.headers(origin)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] += [(b"x-request-id", record.request_id.encode()), _NOSNIFF, *cors]
                if not any(name == b"cache-control" for name, _ in message["headers"]):
                    message["headers"].append(_NO_STORE)
                if record.allowance is not None and record.route in self._predicting:
                    self._log.charge(record)
                    message["headers"] += limit_headers(record.allowance)
                if self._readiness.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            self._hosts.check(headers.get(b"host", b""), record.route, record.method)
            if origin is not None:
                self._origins.check(origin, record.method, record.path, headers.get(b"host", b""))
                if preflight := self._origins.preflight(origin, record.method, headers):
                    await preflight(scope, receive, send_with_id)
                    return
            if self._keys is not None:
                self._check_key(self._keys, record, headers)
            await self._answer(record, headers, scope, receive, send_with_id)
        except ClientDisconnect:
            pass  # the caller left
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError):
                is_refused = error.args == (REFUSED,)
                if is_refused or error.args == (CALLER_LEFT,):
                    return
                if record.status or not self._readiness.draining:
                    raise
                error = Closed()
            problem = problem_of(error)
            if problem.kind == "internal":
                log = structlog.get_logger("ovation")
                log.error("unhandled error", request_id=record.request_id, exc_info=error)
            if record.status:  # the answer is on its way already; cutting it off is all that is left
                raise
            response = problem.response(record.instance, record.made_id, record.path)
            # Its traceback holds this frame and the request's body: that cycle would last until a collection.
            del problem
            await response(scope, receive, send_with_id)
        finally:
            if not is_refused:
                self._log.end(record)

    def _check_key(self, keys: Keys, record: RequestRecord, headers: Mapping[bytes, bytes]) -> None:
        """Raises Problem where the request needs a key and has none that opens its route, or one that is spent."""
        record.allowance = keys.check(record.route, headers)
        if record.allowance is not None and record.route in self._predicting and record.route not in self._streams:
            try:
                check_allowance(record.allowance)
            except Problem:
                self._log.metrics.observe_key_limited(record.allowance.name)
                raise

    async def _answer(
        self, record: RequestRecord, headers: Mapping[bytes, bytes], scope: Scope, receive: Receive, send: Send
    ) -> None:
        if record.route == OTHER:  # Starlette's routes would match a path with a line break at its end, too
            raise Problem("not_found", KINDS["not_found"][1])
        app = self._predicting.get(record.route)
        if app is None:
            self._log.flush()  # /metrics must know of every request before it
        else:
            self._log.begin(record, headers, scope["scheme"])
            record.deadline = record.began + self._seconds(headers.get(b"x-request-timeout-ms"))
        # HEAD is routed as GET; uvicorn still has the scope that says HEAD, and leaves out the content.
        routed = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        await (app or self._app)(routed, receive, send)

    def _seconds(self, timeout_ms: bytes | None) -> float:
        """Seconds that the request may take. Raises Problem."""
        if timeout_ms is None:
            return self._timeout_seconds
        if not MILLISECONDS.fullmatch(timeout_ms := timeout_ms.strip(b" \t")):
            raise Problem("malformed", "X-Request-Timeout-Ms: expected milliseconds, a whole number above 0")
        return min(self._timeout_seconds, int(timeout_ms) / 1e3)


def _sent_id(header: bytes | None) -> str | None:
    """The caller's own id; None where there is none that may stand in a header and in the log."""
    if header is not None and REQUEST_ID.fullmatch(text := header.decode("latin-1")):
        return text
    return None
