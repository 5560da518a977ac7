"""`POST /predict` and `POST /predict/batch`: Ovation's own JSON."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from service.api import schemas
from service.engine.encoding import BadText
from service.engine.engine import Answers, Engine
from service.http.body import JsonRoute
from service.http.problems import Problem
from service.model.offsets import convert
from service.telemetry.request_log import RequestRecord

_PROBLEMS = schemas.problem_responses(
    "malformed", "forbidden_origin", "slow_head", "slow_body", "body_too_large", "unsupported_media_type", "invalid",
    "no_evidence", "overloaded", "internal", "not_ready", "timeout",
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
            "description": "how long the caller waits; the service's own limit, where that is less. Too short a time "
            "is answered 408, 429 or 504",
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
        asked: schemas.One = body
        try:
            answers = await _predict(engine, request, [asked.text], asked)
        except BadText as error:
            raise Problem("invalid", f"text: {error}") from None
        prediction = convert(answers.predictions[0], asked.text, asked.offsets)
        return _Answer(to_json(prediction.as_json(answers.model)), answers)

    @routes.post("/predict/batch", response_model=schemas.Predictions, **documented)
    async def predict_batch(request: Request, body: many) -> Response:  # type: ignore[valid-type]
        """Predicts the labels of several texts; the answers stand in their order.

        One bad text fails the request, unless `on_error` is `item`: then its problem stands in its place.
        """
        asked: schemas.Many = body
        answers = await _predict(engine, request, asked.texts, asked, partial=asked.on_error == "item")
        predictions = iter(answers.predictions)
        # One after another: the objects of all would take four times the memory of their JSON.
        content = bytearray(b'{"model":%b,"predictions":[' % to_json(answers.model))
        for index, text in enumerate(asked.texts):
            if index in answers.failed:
                content += to_json(_problem(answers.failed[index]))
            else:
                content += to_json(convert(next(predictions), text, asked.offsets).as_json())
            content += b","
        content[-1:] = b"]}"
        return _Answer(memoryview(content), answers)

    return routes


async def _predict(
    engine: Engine, request: Request, texts: list[str], asked: schemas.One | schemas.Many, partial: bool = False
) -> Answers:
    record = RequestRecord.of(request.scope)
    record.answers = answers = await engine.predict(
        texts, record.deadline, asked.evidence, record, sentences=asked.sentences, partial=partial
    )
    record.model = answers.model
    return answers


def _problem(failure: BadText) -> dict[str, Any]:
    """What stands in the place of a text that failed alone."""
    return {"problem": Problem("invalid", str(failure)).body(None, None)}


class _Answer(Response):
    """A 200 with JSON. Its headers are set here, not by Response's code for them; `Server-Timing` is in ms."""

    def __init__(self, body: bytes | memoryview, answers: Answers) -> None:
        self.status_code, self.background, self.body = 200, None, body
        queue, compute = (max(each, default=0.0) * 1e3 for each in answers.timings[1:])
        tokenize = answers.timings.tokenize * 1e3
        timing = f"queue;dur={queue:.3f}, tokenize;dur={tokenize:.3f}, compute;dur={compute:.3f}"
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
            (b"server-timing", timing.encode()),
        ]
