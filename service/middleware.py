"""The edge of the service: pure ASGI around every request, for its id, its metrics, its line in the log."""

import re
import uuid
from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import OTHER, Metrics
from service.problems import problem_of

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class Edge:
    """Gives each request an id (the caller's own `X-Request-ID` where it is harmless), counts and logs it.

    `routes` are the paths that exist; any other is counted as "other". An exception that nobody handled becomes a 500.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, routes: frozenset[str], model: str) -> None:
        self._app, self._metrics, self._routes, self._model = app, metrics, routes, model
        self._log = structlog.get_logger("ovation")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode()))
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            pass  # it left while still sending: nobody is there to answer
        except Exception as error:
            self._log.error("unhandled error", request_id=request_id, exc_info=error)
            if status:  # the answer is on its way already; cutting it off is all that is left
                raise
            await problem_of(error).response(scope["path"], request_id)(scope, receive, send_with_id)
        finally:
            seconds = perf_counter() - began
            route = scope["path"] if scope["path"] in self._routes else OTHER
            # 499, as nginx logs it: the caller left before an answer began.
            self._metrics.observe_request(route, status or 499, seconds)
            self._log.info(
                "request",
                request_id=request_id,
                method=scope["method"],
                route=route,
                status=status or 499,
                seconds=round(seconds, 6),
                tokens=state.get("tokens"),
                model=self._model,
            )


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            sent: str = value.decode("latin-1")
            return sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex
    return uuid.uuid4().hex
