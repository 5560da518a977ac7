"""Request bodies: bounded, declared as JSON, and JSON to the letter, where FastAPI's defaults are laxer."""

import asyncio
import inspect
from collections.abc import Callable
from time import perf_counter
from typing import Any, ClassVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.engine.admission import Admission, Overloaded
from service.http.problems import Problem
from service.telemetry.request_log import RequestLog, RequestRecord

_SLOW = "the body is late"  # the message of the cancellation


class JsonRoute(APIRoute):
    """A route whose endpoint takes `(request, body)` and returns a Response; the body is read and checked here.

    FastAPI documents it as any other. Its own handler would parse the body into dictionaries, validate those, resolve
    dependencies of which there are none and build two exit stacks: more work than all the rest of a request
    (`python -m benchmarks floor`).
    """

    max_body_bytes: ClassVar[int]
    admission: ClassVar[Admission]
    log: ClassVar[RequestLog]

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._model: type[BaseModel] = inspect.signature(endpoint).parameters["body"].annotation

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, once the path has matched. Raises Problem, RequestValidationError, ClientDisconnect, Overloaded, Closed
        and what the endpoint raises."""
        methods = self.methods or set()
        if scope["method"] not in methods:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
        _check_head(scope["headers"], self.max_body_bytes)
        seconds_left = RequestRecord.of(scope).deadline - perf_counter()
        try:
            self.admission.check(1, 0, seconds_left)  # before the body is read; the engine admits, once it is
        except Overloaded:
            self.log.metrics.observe_shed()
            raise
        # What asyncio.timeout does, which takes 2 % of a request (`python -m benchmarks closed`).
        task = asyncio.current_task()
        assert task is not None
        timer = asyncio.get_running_loop().call_later(max(0.0, seconds_left), task.cancel, _SLOW)
        try:
            body = await _read(receive, self.max_body_bytes)
        except asyncio.CancelledError as error:
            if error.args != (_SLOW,):
                raise
            task.uncancel()
            raise Problem("slow_body", "expected the whole body before the request's deadline") from None
        finally:
            timer.cancel()
        response = await self.endpoint(Request(scope, receive, send), _parse(body, self._model))
        await response(scope, receive, send)


def json_route(max_bytes: int, limits: Admission, request_log: RequestLog) -> type[JsonRoute]:
    """A route class for bodies of at most `max_bytes`, which are not read where `limits` leave no room."""

    class Bounded(JsonRoute):
        max_body_bytes, admission, log = max_bytes, limits, request_log

    return Bounded


def _parse(body: bytes, model: type[BaseModel]) -> BaseModel:
    """One pass in Rust; a body that fails is looked at again, to tell what is no JSON from what does not fit."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        try:
            # Refuses what Python's own parser lets through: NaN, Infinity, lone surrogates, bytes that are not UTF-8.
            from_json(body, allow_inf_nan=False)
        except ValueError as malformed:
            detail = f"expected JSON in UTF-8, found an error: {str(malformed)[:200]}"
            raise Problem("malformed", detail) from None
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from None


def _check_head(headers: list[tuple[bytes, bytes]], max_bytes: int) -> None:
    """Refuses a body that is not declared as JSON or is declared too long. Raises Problem."""
    media_type = ""
    for name, value in headers:
        if name == b"content-type":
            media_type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise _too_large(max_bytes)
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise Problem("unsupported_media_type", f"expected Content-Type: application/json, found {_quoted(media_type)}")


async def _read(receive: Receive, max_bytes: int) -> bytes:
    """The body, counted as it comes: a chunked one has no length to go by. Raises Problem, ClientDisconnect."""
    parts, size, more = list[bytes](), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > max_bytes:
            raise _too_large(max_bytes)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(max_bytes: int) -> Problem:
    return Problem("body_too_large", f"expected at most {max_bytes} bytes, found more")


def _quoted(media_type: str) -> str:
    return repr(media_type[:80]) if media_type else "none"
