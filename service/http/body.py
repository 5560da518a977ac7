"""Request bodies: bounded, declared as JSON, and JSON to the letter, where FastAPI's defaults are laxer.

A wire that takes other bodies as well, compressed ones or some with bytes behind the JSON, says so in a Reading.
"""

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter
from typing import Any, ClassVar, cast

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.engine.admission import Overloaded
from service.engine.batcher import Batcher
from service.http.codings import CODINGS, Inflater, too_large
from service.http.held import Held, HeldBody
from service.http.problems import Problem
from service.telemetry.request_log import RequestLog, RequestRecord

_SLOW = "the body is late"  # the message of the cancellation

# Matches a whole string, or a comma or an opening bracket outside of strings: each JSON value has one of these in it or
# before it, but for a single number or literal. An unclosed string ends with the body. Possessive quantifiers keep the
# time linear. The first alternative for a string is the fast one; two backslashes before a quote need the second.
_TOKEN = re.compile(rb'"(?:[^"]*+(?:(?<=[^\\]\\)"[^"]*+)*+(?<!\\)"|(?:[^"\\]++|\\.)*+"?)|[,\[{]', re.DOTALL)
# Up to this length tokens are not counted: even a body of arrays nested 190 deep takes only 4 MB while it is parsed.
_SMALL_BYTES = 16_384


@dataclass(frozen=True)
class Reading:
    """What a wire takes besides a body that is declared as JSON and is nothing else."""

    # Whole body, header fields, the route's own parser of JSON -> what the endpoint takes as `body`. Raises Problem.
    parse: Callable[[bytes, Mapping[bytes, bytes], Callable[[bytes], Any]], Any]
    any_media_type: bool = False  # or none
    compressed: bool = False  # in one of `codings.CODINGS`


class JsonRoute(APIRoute):
    """A route whose endpoint takes `(request, body)` and returns a Response; the body is read and checked here.

    FastAPI documents it as any other. Its own handler would parse the body into dictionaries, validate those, resolve
    dependencies of which there are none and build two exit stacks: more work than all the rest of a request
    (`python -m benchmarks floor`).
    """

    max_body_bytes: ClassVar[int]
    max_texts: ClassVar[int]
    batcher: ClassVar[Batcher[Any, Any]]
    held: ClassVar[Held]
    log: ClassVar[RequestLog]
    reading: ClassVar[Reading | None] = None

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._model: type[BaseModel] = inspect.signature(endpoint).parameters["body"].annotation

    @classmethod
    def reading_by(cls, reading: Reading) -> type["JsonRoute"]:
        """The same class for bodies that `reading` tells of."""
        return cast(type[JsonRoute], type(cls.__name__, (cls,), {"reading": reading}))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, once the path has matched. Raises Problem, RequestValidationError, ClientDisconnect, Overloaded, Closed
        and what the endpoint raises."""
        methods = self.methods or set()
        if scope["method"] not in methods:
            raise HTTPException(405, headers={"Allow": ", ".join(sorted(methods))})
        if self.param_convertors:  # the edge calls the route without Starlette's routing
            scope = {**scope, **self.matches(scope)[1]}
        inflater = _check_head(scope["headers"], self.max_body_bytes, self.reading)
        deadline = RequestRecord.of(scope).deadline
        try:
            # Before the body is read; the engine admits, once it is.
            self.batcher.admission.check(1, 0, deadline - perf_counter())
        except Overloaded:
            self.log.metrics.observe_shed()
            self.batcher.pause_after_refusal()
            raise
        # What asyncio.timeout does, which takes 2 % of a request (`python -m benchmarks closed`).
        task = asyncio.current_task()
        assert task is not None
        seconds_left = max(0.0, deadline - perf_counter())
        timer = asyncio.get_running_loop().call_later(seconds_left, task.cancel, _SLOW)
        held = HeldBody(self.held)
        try:
            body = await _read(receive, self.max_body_bytes, held, inflater)
            timer.cancel()
            if self.reading is None:
                parsed = self._parse(body)
            else:
                parsed = self.reading.parse(body, dict(scope["headers"]), self._parse)
            response = await self.endpoint(Request(scope, receive, send), parsed)
        except asyncio.CancelledError as error:
            if error.args != (_SLOW,):
                raise
            task.uncancel()
            raise Problem("slow_body", "expected the whole body before the request's deadline") from None
        finally:
            timer.cancel()
            held.release()
        await response(scope, receive, send)

    def _parse(self, body: bytes) -> BaseModel:
        """The endpoint's model of `body`. Raises Problem, RequestValidationError."""
        _check_shape(body, self.max_texts)
        return _parse(body, self._model)


def json_route(
    max_bytes: int, texts: int, queue: Batcher[Any, Any], bytes_held: Held, request_log: RequestLog
) -> type[JsonRoute]:
    """A route class for bodies of at most `max_bytes` with some `texts`, not read where there is no room for them."""

    class Bounded(JsonRoute):
        max_body_bytes, max_texts, batcher, held, log = max_bytes, texts, queue, bytes_held, request_log

    return Bounded


def parse(body: bytes, model: type[BaseModel], max_texts: int) -> BaseModel:
    """The `model` that a body of JSON with at most so many texts is. Raises Problem, RequestValidationError."""
    _check_shape(body, max_texts)
    return _parse(body, model)


def _check_shape(body: bytes, max_texts: int) -> None:
    """Refuses a body of many more JSON values than texts are allowed, before it is parsed. Raises Problem.

    The parser builds a tree of the whole body, and an error for each unknown field: up to 100 times the body's bytes
    where its values are short.
    """
    # A text is two tokens: a string and a comma. Twice as many are parsed, and get the schema's own message.
    tokens = 4 * max_texts + 64
    if len(body) > _SMALL_BYTES and next(islice(_TOKEN.finditer(body), tokens, None), None):
        raise Problem("invalid", f"expected at most {max_texts} texts and the schema's fields, found many more values")


def _parse(body: bytes, model: type[BaseModel]) -> BaseModel:
    """One pass in Rust; a body that fails is looked at again, to tell what is no JSON from what does not fit."""
    try:
        parsed = model.model_validate_json(body)
    except ValidationError as error:
        _check_json(body)
        raise RequestValidationError(error.errors(include_url=False, include_input=False)) from None
    # A model that ignores unknown fields does not see what stands in them.
    if model.model_config.get("extra") != "forbid" and (b"NaN" in body or b"Infinity" in body):
        _check_json(body)
    return parsed


def _check_json(body: bytes) -> None:
    """Refuses what Python's own parser lets through: NaN, Infinity, lone surrogates, bytes that are not UTF-8."""
    try:
        from_json(body, allow_inf_nan=False)
    except ValueError as malformed:
        detail = f"expected JSON in UTF-8, found an error: {str(malformed)[:200]}"
        raise Problem("malformed", detail) from None


def _check_head(headers: list[tuple[bytes, bytes]], max_bytes: int, reading: Reading | None) -> Inflater | None:
    """Refuses a body that is not declared as JSON, or as what `reading` takes, or is declared too long. Raises Problem.

    Returns what inflates the body where it is compressed.
    """
    media_type, inflater = "", None
    for name, value in headers:
        if name == b"content-type":
            media_type = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name == b"content-encoding" and value.lower() != b"identity":
            taken = CODINGS if reading is not None and reading.compressed else ()
            inflater = _inflater(value.lower(), taken, max_bytes)
        elif name == b"content-length" and value.isdigit() and int(value) > max_bytes:
            raise too_large(max_bytes)
    if reading is not None and reading.any_media_type:
        return inflater
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise Problem(
            "unsupported_media_type",
            f"expected Content-Type: application/json, found {'another' if media_type else 'none'}",
        )
    return inflater


def _inflater(coding: bytes, taken: Sequence[bytes], max_bytes: int) -> Inflater:
    """What inflates a body in `coding`, where that is one of `taken`. Raises Problem."""
    if coding in taken:
        return Inflater(coding, max_bytes)
    # RFC 9110, 15.5.16: Accept-Encoding tells that the coding is at fault, not the media type.
    names = b", ".join(taken).decode()
    if names:
        detail = f"expected a body in one of {names} or without Content-Encoding, found another"
    else:
        detail = "expected a body without Content-Encoding, found one"
    raise Problem("unsupported_media_type", detail, {"Accept-Encoding": names or "identity"})


async def _read(receive: Receive, max_bytes: int, held: HeldBody, inflater: Inflater | None) -> bytes:
    """The body, counted as it comes: a chunked one has no length. Raises Problem, ClientDisconnect, Overloaded."""
    parts, more = list[bytes](), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        parts.append(part if inflater is None else inflater.inflate(part))
        more = message.get("more_body", False)
        held.add(len(parts[-1]))
        if held.bytes > max_bytes:
            raise too_large(max_bytes)
    if inflater is not None:
        inflater.end()
    return parts[0] if len(parts) == 1 else b"".join(parts)
