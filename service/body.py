"""Request bodies: bounded, declared as JSON, and JSON to the letter, where FastAPI's defaults are laxer."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json

from service.problems import Problem


def strict_route(max_body_bytes: int) -> type[APIRoute]:
    """A route class whose bodies are bounded, declared as JSON, and JSON to the letter."""

    class StrictRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle: Callable[[Request], Awaitable[Response]] = super().get_route_handler()

            async def strict(request: Request) -> Response:
                if request.method == "POST":
                    request = _Parsed(request, await _read(request, max_body_bytes))
                return await handle(request)

            return strict

    return StrictRoute


class _Parsed(Request):
    """A request whose body has been read and checked; FastAPI finds it where it would have put it."""

    def __init__(self, request: Request, body: bytes) -> None:
        super().__init__(request.scope, request.receive)
        self._body = body
        try:
            # Refuses what Python's own parser lets through: NaN, Infinity, lone surrogates, bytes that are not UTF-8.
            self._json = from_json(body, allow_inf_nan=False)
        except ValueError as error:
            raise Problem("malformed", f"expected JSON in UTF-8, found an error: {str(error)[:200]}") from None


async def _read(request: Request, max_bytes: int) -> bytes:
    """The body, counted as it comes: a chunked one has no length to go by."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise Problem("unsupported_media_type", f"expected Content-Type: application/json, found {_quoted(media_type)}")
    parts, size = [], int(request.headers.get("content-length") or 0)
    if size <= max_bytes:
        size = 0
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > max_bytes:
                break
    if size > max_bytes:
        raise Problem("body_too_large", f"expected at most {max_bytes} bytes, found more")
    return b"".join(parts)


def _quoted(media_type: str) -> str:
    return repr(media_type[:80]) if media_type else "none"
