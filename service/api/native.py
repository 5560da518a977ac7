"""`POST /predict` and `POST /predict/batch`: Ovation's own JSON."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from service.api import answer, schemas
from service.engine.engine import Answers, BlankAt, Engine
from service.http.body import JsonRoute
from service.http.problems import Problem
from service.telemetry.request_log import RequestRecord

_PROBLEMS = schemas.problem_responses(*answer.PROBLEMS, "no_evidence")


def router(engine: Engine, route: type[JsonRoute], limits: schemas.Limits) -> APIRouter:
    """The two routes; `route` reads and bounds their bodies."""
    routes = APIRouter(tags=["predict"], route_class=route)
    one, many = schemas.requests(limits.max_characters, limits.max_texts)

    # The response models are for OpenAPI: a Response passes FastAPI by, so that nothing is built or checked twice.
    good = {200: {"headers": answer.GOOD_HEADERS}}
    documented: dict[str, Any] = {"responses": good | _PROBLEMS, "openapi_extra": {"parameters": answer.HEADERS}}

    @routes.post("/predict", response_model=schemas.Prediction, **documented)
    async def predict(request: Request, body: one) -> Response:  # type: ignore[valid-type]
        """Predicts the label of one text."""
        try:
            answers = await _predict(engine, request, [body.text], body.evidence)  # type: ignore[attr-defined]
        except BlankAt as error:
            raise Problem("invalid", f"text: {error}") from None
        return answer.Answer(to_json(answers.predictions[0].as_json(answers.model)), answers)

    @routes.post("/predict/batch", response_model=schemas.Predictions, **documented)
    async def predict_batch(request: Request, body: many) -> Response:  # type: ignore[valid-type]
        """Predicts the labels of several texts, all or none; the answers stand in their order."""
        answers = await _predict(engine, request, body.texts, body.evidence)  # type: ignore[attr-defined]
        # One after another: the objects of all would take four times the memory of their JSON.
        predictions = b",".join([to_json(prediction.as_json()) for prediction in answers.predictions])
        return answer.Answer(b'{"model":%b,"predictions":[%b]}' % (to_json(answers.model), predictions), answers)

    return routes


async def _predict(engine: Engine, request: Request, texts: list[str], evidence: bool) -> Answers:
    record = RequestRecord.of(request.scope)
    record.answers = answers = await engine.predict(texts, record.deadline, evidence, record)
    record.model = answers.model
    return answers
