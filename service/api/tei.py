"""`/tei`: text classification with the routes and bodies of Hugging Face's Text Embeddings Inference (TEI)."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, WithJsonSchema
from pydantic_core import to_json

import service
from service.api import answer, schemas
from service.engine.engine import Engine
from service.engine.readiness import Readiness
from service.http.body import JsonRoute
from service.http.problems import Problem

_DTYPES = {"fp32": "float32"}
_SEVERAL = "several: pairs of texts are not classified, and a batch is a list of lists of one text"


class Rank(BaseModel):
    """A label and its score."""

    score: float
    label: str


class ClassifierModel(BaseModel):
    """The labels by index, and the reverse."""

    id2label: dict[str, str]
    label2id: dict[str, int]


class ModelType(BaseModel):
    """What kind of model is served."""

    classifier: ClassifierModel


class Info(BaseModel):
    """The model and the limits, in TEI's fields."""

    model_id: str
    model_sha: str = Field(description="the first 8 hex digits of its manifest's SHA-256")
    model_dtype: str
    served_model_name: str
    model_type: ModelType
    max_concurrent_requests: int = Field(description="most texts in the queue")
    max_input_length: int = Field(description="tokens that the model reads of a text")
    max_batch_tokens: int = Field(description="most tokens in the queue")
    max_batch_requests: int | None
    max_client_batch_size: int = Field(description="most texts in a request")
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None
    docker_label: str | None


def _capital(value: object) -> object:
    """`left` is taken for `Left`; a schema with both would give generated clients the same name twice."""
    return value.capitalize() if isinstance(value, str) else value


def router(
    engine: Engine, route: type[JsonRoute], limits: schemas.Limits, readiness: Readiness, max_waiting_tokens: int
) -> APIRouter:
    """`/tei/predict`, `/tei/info` and `/tei/health`."""
    routes = APIRouter(tags=["TEI"])
    text = schemas.text_schema(limits.max_characters)
    alone = {"type": "array", "items": text, "minItems": 1, "maxItems": 1}
    batch = {"type": "array", "items": alone, "minItems": 1, "maxItems": limits.max_texts}

    class TeiRequest(BaseModel):
        """The body; unknown fields are ignored."""

        model_config = ConfigDict(json_schema_extra={"example": {"inputs": [[schemas.TEXT_EXAMPLE], ["Dull."]]}})
        # Checked by hand: pydantic's message would tell of each alternative.
        inputs: Annotated[Any, WithJsonSchema({"anyOf": [text, alone, batch]})]
        truncate: bool | None = Field(
            None, strict=True, description="`false`: a text that the model does not read whole is refused"
        )
        truncation_direction: Annotated[Literal["Left", "Right"], BeforeValidator(_capital)] = Field(
            "Right", description="has no effect: the model's own rule, see `GET /model`, says what it reads of a text"
        )
        raw_scores: bool = Field(False, strict=True, description="logits instead of probabilities")

    good = {200: {"headers": answer.GOOD_HEADERS}}
    documented: dict[str, Any] = {
        "response_model": RootModel[list[Rank] | list[list[Rank]]],
        "responses": good | schemas.problem_responses(*answer.PROBLEMS),
        "openapi_extra": {"parameters": answer.HEADERS},
    }
    headers: dict[int | str, dict[str, Any]] = {200: {"headers": schemas.REQUEST_ID_HEADER}}

    async def predict(request: Request, body: TeiRequest) -> Response:
        """Ranks the labels of one text, or of each text of a batch."""
        many = _is_batch(body.inputs)
        texts = _texts(body.inputs, many, limits)
        place = "inputs.{}" if many else "inputs"
        answers = await answer.predict(engine, request, texts, place, whole=body.truncate is False)
        ranks = []
        for prediction in answers.predictions:
            scores = prediction.logits if body.raw_scores else list(prediction.probabilities.values())
            ranks.append(answer.ranked(prediction, scores))
        return answer.Answer(to_json(ranks if many else ranks[0]), answers)

    routes.add_api_route("/tei/predict", predict, methods=["POST"], route_class_override=route, **documented)

    @routes.get("/tei/info", responses=headers | schemas.problem_responses("forbidden_origin", "internal"))
    async def info() -> Info:
        """What is being served, within which limits."""
        manifest = engine.classifier.manifest
        name, _, digest = engine.classifier.name.partition("@")
        id2label = {str(index): label for index, label in enumerate(manifest.labels)}
        label2id = {label: index for index, label in enumerate(manifest.labels)}
        return Info(
            model_id=name,
            model_sha=digest,
            model_dtype=_DTYPES[manifest.precision],
            served_model_name=name,
            model_type=ModelType(classifier=ClassifierModel(id2label=id2label, label2id=label2id)),
            max_concurrent_requests=limits.max_waiting_texts,
            max_input_length=manifest.max_tokens,
            max_batch_tokens=max_waiting_tokens,
            max_batch_requests=None,
            max_client_batch_size=limits.max_texts,
            auto_truncate=True,
            tokenization_workers=1,
            version=service.__version__,
            sha=None,
            docker_label=None,
        )

    # Without a media type: the answer has no content.
    empty: dict[int | str, dict[str, Any]] = {200: headers[200] | {"description": "texts are answered"}}

    @routes.get(
        "/tei/health",
        response_class=Response,
        responses=empty | schemas.problem_responses("internal", "not_ready"),
    )
    async def health() -> Response:
        """Whether this worker answers texts, as `/health/ready`."""
        await readiness.check()
        return Response()

    return routes


def _is_batch(inputs: object) -> bool:
    """Whether `inputs` is a list of lists; `["a"]` is a single text."""
    return isinstance(inputs, list) and not any(isinstance(item, str) for item in inputs)


def _texts(inputs: object, many: bool, limits: schemas.Limits) -> list[str]:
    """The texts of `inputs`, of which there is at least one. Raises Problem."""
    if not isinstance(inputs, list):
        return [answer.text_at("inputs", inputs)]
    if not inputs or len(inputs) > limits.max_texts:
        found = "more" if inputs else "none"
        raise Problem("invalid", f"inputs: expected 1 to {limits.max_texts} texts, found {found}")
    if not many:
        return [_only("inputs", inputs)]
    return [_only(f"inputs.{index}", item) for index, item in enumerate(inputs)]


def _only(place: str, item: object) -> str:
    """The one text of the list `item`. Raises Problem."""
    if not isinstance(item, list):
        raise Problem("invalid", f"{place}: expected a list of one text, found another type")
    if len(item) != 1:
        raise Problem("invalid", f"{place}: expected one text, found {_SEVERAL if item else 'none'}")
    return answer.text_at(place, item[0])
