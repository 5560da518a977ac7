"""`POST /hf`: text classification as Hugging Face's clients ask for it, `InferenceClient(model=URL)` and `endpointUrl`.

One text a request. The answer is a list of one list, since both clients take its first element, whatever was sent.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, RootModel, WithJsonSchema
from pydantic_core import to_json

from service.api import answer, schemas
from service.engine.engine import Engine
from service.http.body import JsonRoute
from service.http.problems import Problem
from service.model.classifier import Prediction

# By `function_to_apply`: [label] scores.
_SCORES: dict[str, Callable[[Prediction], list[float]]] = {
    "softmax": lambda prediction: list(prediction.probabilities.values()),
    "sigmoid": lambda prediction: [_sigmoid(logit) for logit in prediction.logits],
    "none": lambda prediction: prediction.logits,
}


class Score(BaseModel):
    """A label and its score."""

    label: str
    score: float


class Parameters(BaseModel):
    """What else may be asked; unknown parameters are ignored."""

    top_k: Annotated[int, Field(strict=True, ge=1), schemas.WHOLE] | None = Field(
        default=None, description="this many labels, best first"
    )
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = Field(
        default=None, description="`softmax`, calibrated probabilities, if absent; `none` gives logits"
    )


def router(engine: Engine, route: type[JsonRoute], limits: schemas.Limits) -> APIRouter:
    """The route, with and without a slash at its end: clients call the URL as their user wrote it."""
    routes = APIRouter(tags=["Hugging Face"], route_class=route)

    class HuggingFaceRequest(BaseModel):
        """The body; unknown fields are ignored."""

        model_config = ConfigDict(json_schema_extra={"example": {"inputs": schemas.TEXT_EXAMPLE}})
        # Checked by hand, since pydantic's message for a list would not say why lists are refused.
        inputs: Annotated[Any, WithJsonSchema(schemas.text_schema(limits.max_characters))]
        parameters: Parameters | None = None

    good = {200: {"headers": answer.GOOD_HEADERS}}
    documented: dict[str, Any] = {
        "response_model": RootModel[list[list[Score]]],
        "responses": good | schemas.problem_responses(*answer.PROBLEMS),
        "openapi_extra": {"parameters": answer.HEADERS},
    }

    @routes.post("/hf", **documented)
    @routes.post("/hf/", **documented)
    async def classify(request: Request, body: HuggingFaceRequest) -> Response:
        """Ranks the labels of one text, for Hugging Face's clients."""
        if isinstance(body.inputs, list):
            detail = "inputs: expected one text, found a list: the clients would keep the first text's answer alone"
            raise Problem("invalid", detail)
        text = answer.text_at("inputs", body.inputs)
        parameters = body.parameters or Parameters()
        answers = await answer.predict(engine, request, [text], "inputs")
        [prediction] = answers.predictions
        scores = _SCORES[parameters.function_to_apply or "softmax"](prediction)
        ranked = answer.ranked(prediction, scores)[: parameters.top_k]
        return answer.Answer(to_json([ranked]), answers)

    return routes


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > 0 else 1 - 1 / (1 + math.exp(logit))
