"""What schemathesis checks of every answer besides its own checks; it loads this file (schemathesis.toml)."""

import json
import os
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, Response

from tests.fuzz import BESIDE


@schemathesis.check
def only_a_deadline_of_the_callers_own_passes(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """A request with the service's own time limit is never late: it is the only one that runs."""
    if response.status_code in (408, 504) and not timeout_parameter(case):
        assert "X-Request-Timeout-Ms" in sent(case), "late without X-Request-Timeout-Ms"


@schemathesis.hook
def before_call(ctx: Any, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Names the model that is served, and makes a body of the Open Inference Protocol fit where only its schema does.

    No schema can tell that the shape is that of the data, or that a header is about the body.
    """
    # Every request has a key in X-API-Key. A made-up one beside it is answered, which a check takes for a hole.
    case.headers.pop("Authorization", None)
    named = dict(zip(("model", "version"), os.environ["SERVED_MODEL"].split("@"), strict=True))
    case.path_parameters.update({key: named[key] for key in named.keys() & case.path_parameters.keys()})
    if "folder" in (case.query or {}) and case.meta and case.meta.generation.mode.is_positive:
        case.query["folder"] = BESIDE  # no schema can tell which folders there are
    if not is_infer_in_json(case) or not case.meta or not case.meta.generation.mode.is_positive:
        return
    case.headers.pop("Inference-Header-Content-Length", None)
    body: Any = case.body
    [tensor] = body["inputs"]
    tensor["data"] = tensor.get("data") or ["fine"]
    tensor["shape"] = [len(tensor["data"])]
    tensor.pop("parameters", None)
    for output in body.get("outputs") or ():
        if output["name"] != "probabilities":
            output.pop("parameters", None)


@schemathesis.check
def texts_that_fit_are_answered(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """What `before_call` made fit."""
    if is_infer_in_json(case) and case.meta and case.meta.generation.mode.is_positive:
        assert response.status_code in (200, 408, 504)


def is_infer_in_json(case: Case[Any]) -> bool:
    """Whether a case is an inference of the Open Inference Protocol without binary data in its body."""
    return case.path.endswith("/infer") and case.media_type == "application/json"


def timeout_parameter(case: Case[Any]) -> object:
    """The caller's own deadline, in the way of the Open Inference Protocol."""
    parameters = case.body.get("parameters") if isinstance(case.body, dict) else None
    return is_infer_in_json(case) and isinstance(parameters, dict) and parameters.get("timeout")


@schemathesis.check
def every_refusal_is_a_problem_that_repeats_nothing(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """`instance` is the path of a route; `request_id` is one that the service made."""
    [request_id] = response.headers["x-request-id"]
    sent_id = sent(case).get("X-Request-ID")
    assert sent_id is None or request_id == sent_id or len(request_id) == 32, "neither the caller's id nor a made one"
    if response.status_code < 400 or not response.content:  # HEAD has no content
        return
    problem = response.json()
    assert problem["instance"] == case.path
    assert problem["status"] == response.status_code
    assert problem["error"] == problem["detail"]
    assert problem.get("request_id") == (None if request_id == sent_id else request_id)


def sent(case: Case[Any]) -> dict[str, str]:
    """The headers of a case, under their documented names."""
    names = {"x-request-id": "X-Request-ID", "x-request-timeout-ms": "X-Request-Timeout-Ms"}
    return {names.get(name.lower(), name): value for name, value in (case.headers or {}).items()}


@schemathesis.serializer("application/x-ndjson")
def lines_that_fit_among_others(ctx: Any, value: Any) -> bytes:
    """What is made up for `/predict/stream`: of text every other line becomes one that fits."""
    lines = value.splitlines() if isinstance(value, str) else [json.dumps(value)]
    sent = [json.dumps({"text": line}) if number % 2 else line for number, line in enumerate(lines)]
    return "\n".join(sent).encode(errors="surrogatepass")


@schemathesis.deserializer("application/x-ndjson")
def lines_as_text(ctx: Any, response: Response) -> str:
    """As OpenAPI tells the type."""
    return response.content.decode()


@schemathesis.check
def a_stream_tells_what_became_of_every_line(ctx: CheckContext, response: Response, case: Case[Any]) -> None:
    """The last line counts the others; a line that is JSON alone is answered where it fits."""
    if case.path != "/predict/stream" or response.status_code != 200:
        return
    *lines, last = [json.loads(line) for line in response.content.splitlines()]
    failed = [line["problem"] for line in lines if "problem" in line]
    assert last == {"done": {"lines": len(lines), "answered": len(lines) - len(failed), "failed": len(failed)}}
    assert all(problem["instance"] == case.path for problem in failed)
    in_time = [problem for problem in failed if problem["error_type"] not in ("timeout", "slow_body", "overloaded")]
    assert all(problem["status"] < 500 for problem in in_time)
    if case.media_type == "application/json" and case.meta and case.meta.generation.mode.is_positive:
        assert not in_time
