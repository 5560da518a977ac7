"""What OpenAPI tells of those who are not let in: without a key, or by a name that is not the service's."""

from collections.abc import Callable
from typing import Any

from service.api import schemas
from service.http.keys import HEALTH_ROUTES, Keys

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "the key, as `Authorization: Bearer`"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the key"},
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "`Bearer`; with `error` where there was a key",
        "required": True,
        "schema": {"type": "string"},
    }
}
_LIMIT = {
    name: {"description": f"{text}, where the key has a limit", "schema": {"type": "string"}}
    for name, text in {
        "RateLimit-Policy": "tokens that the key may spend at once, and seconds in which it gets as many anew",
        "RateLimit": "tokens that are left, and seconds until more are there",
    }.items()
}


def add_keys(document: dict[str, Any], keys: Keys | None) -> dict[str, Any]:
    """The OpenAPI `document` with the keys that its routes need.

    Without keys it says nothing of them: a generated client would ask its user for a key that nobody has.
    """
    if keys is None:
        return document
    document["components"]["securitySchemes"] = _SCHEMES
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if keys.needs_key(path):
                _add_to(operation, path)
    return document


def add_hosts(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI `document` of a service that answers to some names alone."""
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path not in HEALTH_ROUTES:
                operation["responses"]["421"] = _of_problems(path)("unknown_host")[421]
    return document


def _of_problems(path: str) -> Callable[..., dict[int | str, dict[str, Any]]]:
    return schemas.v2_problem_responses if path.startswith("/v2") else schemas.problem_responses


def _add_to(operation: dict[str, Any], path: str) -> None:
    operation["security"] = [{name: []} for name in _SCHEMES]
    of_problems, responses = _of_problems(path), operation["responses"]
    responses["401"] = of_problems("unauthorized")[401]
    responses["401"]["headers"] |= _CHALLENGE
    if "requestBody" not in operation or not (limited := responses.get("429")):
        return
    for response in (responses["200"], limited):
        response["headers"] = response.get("headers", {}) | _LIMIT
    told = of_problems("rate_limited")[429]
    limited["description"] += f" {told['description']}"
    for media_type, content in told["content"].items():
        limited["content"][media_type]["examples"] |= content["examples"]
