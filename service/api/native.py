"""`POST /predict` and `POST /predict/batch`: Ovation's own JSON."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from service.api import schemas
from service.engine.engine import Answers, BlankAt, Engine
from service.http.body import JsonRoute
from service.http.problems import Problem
from service.telemetry.request_log import RequestRecord

_PROBLEMS = schemas.problem_responses(
    "malformed", "slow_head", "slow_body", "body_too_large", "unsupported_media_type", "invalid", "no_evidence",
    "overloaded", "internal", "not_ready", "timeout",
)  # fmt: skip

# Read at the edge, not by FastAPI, which is only told of them.
_HEADERS: dict[str, Any] = {
    "parameters": [
        {
            "name": "X-Request-ID",
            "in": "header",
            "description": "taken over where it is 1 to 128 of `A-Z a-z 0-9 . _ : / + = -`, else one is made",
            "schema": {"type": "string"},
        },
        {
            "name": "X-Request-Timeout-Ms",
            "in": "header",
            "description": "how long the caller waits; the service's own limit, where that is less",
            "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
        },
    ]
}

_SERVER_TIMING = {
    "Server-Timing": {
        "description": "`queue`, `tokenize` and `compute` in ms",
        "required": True,
        "schema": {"type": "string"},
    }
}


def router(engine: Engine, route: type[JsonRoute], limits: schemas.Limits) -> APIRouter:
    """The two routes; `route` reads and bounds their bodies."""
    routes = APIRouter(tags=["predict"], route_class=route)
    one, many = schemas.requests(limits.max_characters, limits.max_texts)

    # The response models are for OpenAPI: a Response passes FastAPI by, so that nothing is built or checked twice.
    good = {200: {"headers": schemas.REQUEST_ID_HEADER | _SERVER_TIMING}}
    documented: dict[str, Any] = {"responses": good | _PROBLEMS, "openapi_extra": _HEADERS}

    @routes.post("/predict", response_model=schemas.Prediction, **documented)
    async def predict(request: Request, body: one) -> Response:  # type: ignore[valid-type]
        """Predicts the label of one text."""
        try:
            answers = await _predict(engine, request, [body.text], body.evidence)  # type: ignore[attr-defined]
        except BlankAt as error:
            raise Problem("invalid", f"text: {error}") from None
        return _Answer(to_json(answers.predictions[0].as_json(answers.model)), answers)

    @routes.post("/predict/batch", response_model=schemas.Predictions, **documented)
    async def predict_batch(request: Request, body: many) -> Response:  # type: ignore[valid-type]
        """Predicts the labels of several texts, all or none; the answers stand in their order."""
        answers = await _predict(engine, request, body.texts, body.evidence)  # type: ignore[attr-defined]
        # One after another: the objects of all would take four times the memory of their JSON.
        content = bytearray(b'{"model":%b,"predictions":[' % to_json(answers.model))
        for prediction in answers.predictions:
            content += to_json(prediction.as_json())
            content += b","
        content[-1:] = b"]}"
        return _Answer(memoryview(content), answers)

    return routes


async def _predict(engine: Engine, request: Request, texts: list[str], evidence: bool) -> Answers:
    record = RequestRecord.of(request.scope)
    record.answers = answers = await engine.predict(texts, record.deadline, evidence, record)
    record.model = answers.model
    return answers


class _Answer(Response):
    """A 200 with JSON. Its headers are set here, not by Response's code for them; `Server-Timing` is in ms."""

    def __init__(self, body: bytes | memoryview, answers: Answers) -> None:
        self.status_code, self.background, self.body = 200, None, body
        queue, compute = max(answers.timings.queue) * 1e3, max(answers.timings.compute) * 1e3
        tokenize = answers.timings.tokenize * 1e3
        timing = f"queue;dur={queue:.3f}, tokenize;dur={tokenize:.3f}, compute;dur={compute:.3f}"
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
            (b"server-timing", timing.encode()),
        ]
