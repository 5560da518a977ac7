"""The one table from error to HTTP answer.

Bodies are RFC 9457 problem details; `error`, `error_type` and `request_id` stand beside them for the clients of
Hugging Face and Triton. No body repeats what the caller sent: `instance` is a route, and absent where the path is none;
`request_id` is absent where the caller named the request (the header `X-Request-ID` has the name). Under /v2 the same
body is bare `application/json`: KServe's client reads `error` of no other media type. What the connection refuses
before it knows the path (a head that is not HTTP, late or too large, another version) is `application/problem+json`.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from service.engine.admission import Closed, Overloaded
from service.engine.encoding import Late, TooManyTogether
from service.engine.readiness import NotReady
from service.model.classifier import EvidenceUnavailable
from service.model.weights import UnknownGraph
from service.telemetry.request_log import RequestRecord

MEDIA_TYPE, BARE_MEDIA_TYPE = "application/problem+json", "application/json"

# Kind: status, what it means. Every answer that is no success is one of these.
KINDS: dict[str, tuple[int, str]] = {
    "malformed": (
        400,
        "The request is not HTTP, a header is not what it should be, or the body is not JSON in UTF-8 or not what its "
        "headers say.",
    ),
    "unauthorized": (401, "The route needs a key, and the request has none or one that is not known."),
    "forbidden": (403, "The key does not open this route."),
    "forbidden_origin": (403, "The request comes from a web page of an origin that the service does not allow."),
    "unknown_host": (421, "The service does not answer to the name in `Host`."),
    "not_found": (404, "There is no such path or model."),
    "method_not_allowed": (405, "The path does not take this method; `Allow` lists those it takes."),
    "slow_head": (408, "The head of the request did not come in time; the connection is closed."),
    "slow_body": (408, "The body had not come when the request's time was over."),
    "change_refused": (409, "The model was not changed; the one that was served goes on."),
    "body_too_large": (413, "The body is larger than the limit."),
    "unsupported_media_type": (415, "The body's media type or Content-Encoding is not one that the route takes."),
    "invalid": (422, "The body does not fit the schema, or a text is blank or has too many sentences."),
    "no_evidence": (422, "This bundle's network gives no evidence."),
    "no_inspection": (422, "This bundle's graph is not one whose LSTM the service can show at work."),
    "overloaded": (429, "No room, or not enough time before the deadline; try again after `Retry-After` seconds."),
    "rate_limited": (429, "The holder of the key has spent its tokens; try again after `Retry-After` seconds."),
    "head_too_large": (431, "The head of the request has too many bytes or fields; the connection is closed."),
    "internal": (500, "A fault of the service; its log has the request id."),
    "not_implemented": (501, "The body is sent in a transfer coding other than chunked; the connection is closed."),
    "not_ready": (503, "The service is starting or stopping."),
    "timeout": (504, "The deadline passed while the request was worked on."),
    "version": (505, "The request is not HTTP/1.1 or HTTP/1.0; the connection is closed."),
}
_BY_STATUS = {404: "not_found", 405: "method_not_allowed"}


class Problem(Exception):
    """An error with an HTTP answer; `kind` is one of KINDS."""

    def __init__(self, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.headers = kind, detail, dict(headers or {})
        self.status = KINDS[kind][0]

    def body(self, instance: str | None, request_id: str | None) -> dict[str, Any]:
        """The answer as a JSON object, without the members that are None."""
        members = {
            "type": f"urn:problem-type:ovation:{self.kind}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "error": self.detail,
            "error_type": self.kind,
            "request_id": request_id,
        }
        return {name: value for name, value in members.items() if value is not None}

    def response(self, instance: str | None, request_id: str | None, path: str = "") -> Response:
        """The answer to a request of `path` for the route `instance`, or (None) to what never became a request."""
        content = to_json(self.body(instance, request_id))
        return Response(content, self.status, self.headers, media_type=media_type(path))


def media_type(path: str) -> str:
    """The media type of errors at `path`."""
    return BARE_MEDIA_TYPE if path == "/v2" or path.startswith("/v2/") else MEDIA_TYPE


def problem_of(error: Exception) -> Problem:
    """Looks `error` up in the table; what is not in it is a fault of ours."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return Problem("invalid", _what_does_not_fit(error))
        case EvidenceUnavailable():
            return Problem("no_evidence", str(error))
        case UnknownGraph():
            return Problem("no_inspection", str(error))
        case Overloaded():
            return Problem("overloaded", str(error), {"Retry-After": str(error.retry_seconds)})
        case Closed() | NotReady():
            return Problem("not_ready", str(error), {"Retry-After": "1"})
        case TooManyTogether():
            return Problem("invalid", f"texts: {error}")
        case Late():
            return Problem("timeout", KINDS["timeout"][1])
        case HTTPException() if error.status_code in _BY_STATUS:
            kind, headers = _BY_STATUS[error.status_code], dict(error.headers or {})
            if "GET" in (allowed := set(headers.get("Allow", "").split(", "))):
                headers["Allow"] = ", ".join(sorted(allowed | {"HEAD"}))  # the edge serves HEAD as GET
            return Problem(kind, KINDS[kind][1], headers)
        case _:
            return Problem("internal", KINDS["internal"][1])


async def answer(request: Request, error: Exception) -> Response:
    """FastAPI's exception handler for everything in the table."""
    record = RequestRecord.of(request.scope)
    return problem_of(error).response(record.instance, record.made_id, record.path)


def _what_does_not_fit(error: RequestValidationError) -> str:
    """Names each field and what was expected of it, and nothing that was sent."""
    details = []
    for line in error.errors()[:5]:
        if line["type"] == "extra_forbidden":  # the field's name would be the caller's own words
            details.append("expected no other fields than those of the schema, found one")
            continue
        place = ".".join(str(part) for part in line["loc"] if part != "body")
        details.append(f"{place}: {line['msg']}" if place else line["msg"])
    return "; ".join(dict.fromkeys(details))
