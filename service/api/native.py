"""`POST /predict` and `POST /predict/batch`: Ovation's own JSON."""

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from service.api import answer, schemas
from service.engine.encoding import BadText
from service.engine.engine import Engine
from service.http.body import JsonRoute
from service.http.problems import Problem
from service.model.offsets import convert

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
        asked: schemas.One = body
        answers = await answer.predict(
            engine, request, [asked.text], "text", evidence=asked.evidence, sentences=asked.sentences
        )
        prediction = convert(answers.predictions[0], asked.text, asked.offsets)
        return answer.Answer(to_json(prediction.as_json(answers.model)), answers)

    @routes.post("/predict/batch", response_model=schemas.Predictions, **documented)
    async def predict_batch(request: Request, body: many) -> Response:  # type: ignore[valid-type]
        """Predicts the labels of several texts; the answers stand in their order.

        One bad text fails the request, unless `on_error` is `item`: then its problem stands in its place.
        """
        asked: schemas.Many = body
        answers = await answer.predict(
            engine,
            request,
            asked.texts,
            "texts.{}",
            evidence=asked.evidence,
            sentences=asked.sentences,
            partial=asked.on_error == "item",
        )
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
        return answer.Answer(memoryview(content), answers)

    return routes


def _problem(failure: BadText) -> dict[str, Any]:
    """What stands in the place of a text that failed alone."""
    return {"problem": Problem("invalid", str(failure)).body(None, None)}
