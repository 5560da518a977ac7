"""What is sent to the native routes and what comes back, as OpenAPI tells it."""

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)
from pydantic_core import PydanticCustomError, to_json

from service.engine.encoding import MAX_SENTENCES_A_REQUEST, MAX_SENTENCES_A_TEXT
from service.http.problems import BARE_MEDIA_TYPE, KINDS, MEDIA_TYPE, Problem
from service.model.offsets import Unit

TEXT_EXAMPLE = "An absolute joy from start to finish."
# Some character is no white space, in the sense of Python's str.isspace; what `\S` leaves out differs by language.
NOT_BLANK = r"[^\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_EXAMPLE: dict[str, Any] = {
    "label": "positive",
    "score": 0.97,
    "probabilities": {"negative": 0.03, "positive": 0.97},
    "uncertain": False,
    "tokens": 8,
    "truncated": False,
    "unknown_share": 0.0,
}
# What answers carry, as OpenAPI tells it.
REQUEST_ID_HEADER: dict[str, Any] = {
    "X-Request-ID": {
        "description": "the caller's own id where it is a harmless one, else one that was made; the log has it, too",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=-]{1,128}$"},
    }
}
_RETRY_AFTER_HEADER: dict[str, Any] = {
    "Retry-After": {"description": "seconds", "required": True, "schema": {"type": "integer", "minimum": 1}}
}
# Kinds of problem that the connection itself may answer, before a request has a route.
OF_THE_PROTOCOL = ("malformed", "slow_head", "overloaded", "head_too_large", "not_implemented", "version")
_MODEL_EXAMPLE = "reviews-bilstm@1a2b3c4d"


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Beside `strict=True`, an integer as JSON Schema has it: 1.0 is one, and true is none.
WHOLE = BeforeValidator(_whole)


class Wire(BaseModel):
    """A part of a body that has no other fields than those told."""

    model_config = ConfigDict(extra="forbid")


_START: Any = Field(description="offset of its first character in the text as sent, in the unit of `offsets`")
_END: Any = Field(description="offset after its last character")
_LABEL: Any = Field(description="the likeliest label")
_SCORE: Any = Field(ge=0, le=1, description="calibrated probability of `label`")


class EvidenceToken(Wire):
    """A token and what it contributed."""

    start: int = _START
    end: int = _END
    weight: float = Field(description="its share of the winning label's logit minus the mean of the others'")


class Evidence(Wire):
    """How the logit came about: `bias` and the weights of all tokens add up to it."""

    bias: float
    tokens: list[EvidenceToken]


class Sentence(Wire):
    """What the model says of a sentence, the same as of that sentence alone."""

    start: int = _START
    end: int = _END
    label: str = _LABEL
    score: float = _SCORE
    uncertain: bool


class Judgement(Wire):
    """What the model says of one text."""

    label: str = _LABEL
    score: float = _SCORE
    probabilities: dict[str, float] = Field(description="calibrated probability of every label")
    uncertain: bool = Field(description="the score is too low to rely on, or no word of the text is known")
    tokens: int = Field(ge=1, description="tokens of the whole text")
    truncated: bool = Field(description="the text is longer than the model reads")
    unknown_share: float = Field(ge=0, le=1, description="share of unknown tokens among those read")
    evidence: Evidence | None = Field(None, description="present when it was asked for")
    mixed: bool | None = Field(
        default=None, description="sentences that are not uncertain have different labels; present when `sentences` is"
    )
    sentences: list[Sentence] | None = Field(
        default=None, description="present when they were asked for, in their order"
    )


class Prediction(Judgement):
    """The answer to `POST /predict`."""

    model: str = Field(description="name of the bundle, @, the first 8 hex digits of its manifest's SHA-256")
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {**_EXAMPLE, "model": _MODEL_EXAMPLE}})


def _optional(description: str) -> Any:
    """A string that may be absent; it has no default that OpenAPI could tell, and is never null."""

    return Field("", description=description, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]


def _check_id(value: object, handler: ValidatorFunctionWrapHandler) -> object:
    """One message in place of pydantic's one for each alternative, which would name pydantic's own types."""
    try:
        return handler(value)
    except ValidationError:
        expected = "expected a string of at most 256 characters or an integer of 64 bits, found another value"
        raise PydanticCustomError("line_id", expected) from None


# What a line of a stream may be named.
LineId = Annotated[
    Annotated[str, Field(max_length=256)] | Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63), WHOLE] | None,
    WrapValidator(_check_id),
]


class ProblemDetails(Wire):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = _optional("the route, where the path is one of them")
    error: str = Field(description="the same as `detail`")
    error_type: str
    request_id: str = _optional(
        "the request's id, where the caller named none; the header `X-Request-ID` always has it"
    )


class LineProblem(ProblemDetails):
    """What went wrong with a line of a stream."""

    retry_after: int = Field(
        0,
        ge=1,
        description="seconds to wait before the line is sent again; there where the status is 429 or 503",
        json_schema_extra=_without_default,
    )


class Failure(Wire):
    """What stands in the place of a text that has no answer, where `on_error` is `item`."""

    problem: ProblemDetails


class Predictions(Wire):
    """The answer to `POST /predict/batch`, in the order of the texts."""

    model: str
    predictions: list[Judgement | Failure]
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"model": _MODEL_EXAMPLE, "predictions": [_EXAMPLE]}}
    )


class StreamPrediction(Prediction):
    """The line that answers a line of a stream."""

    id: LineId = Field(None, description="the line's own, where it has one")


class StreamProblem(Wire):
    """The line in place of an answer."""

    line: int = Field(ge=1, description="number of the line in the request, blank ones counted")
    id: LineId = Field(None, description="the line's own, where it has one that could be read")
    problem: LineProblem


class StreamCounts(Wire):
    """What became of the lines of a stream."""

    lines: int = Field(description="how many were answered or failed; blank ones are none")
    answered: int
    failed: int


class StreamDone(Wire):
    """The last line of a stream: without it the answer is not whole."""

    done: StreamCounts


class Health(Wire):
    """A probe's good answer."""

    status: str = Field(examples=["ready"])


class Limits(Wire):
    """What a request may ask for."""

    max_characters: int
    max_texts: int
    max_body_bytes: int
    max_waiting_texts: int
    timeout_seconds: float


class Change(Wire):
    """The last attempt to change the model; the log says why one failed."""

    kind: str = Field(description="`reload`, `rollback`, `shadow` or `no_shadow`")
    succeeded: bool
    at: str


class Models(Wire):
    """What is served after a change."""

    model: str
    shadow: str | None = Field(description="the model that answers a share of the texts, too, for comparison")


class Model(Wire):
    """The bundle being served."""

    model: str
    name: str
    version: str
    created: str
    labels: list[str]
    max_tokens: int
    truncation: str
    rules: str
    evidence: bool
    uncertain_below: float
    precision: str
    provider: str = Field(description="what really runs: cpu or cuda")
    provider_fallback: str | None = Field(description="why `auto` did not choose CUDA")
    exactness: str = Field(description="what holds for one text alone and in any batch")
    shadow: str | None = Field(description="the model that answers a share of the texts, too, for comparison")
    last_change: Change | None = Field(description="since this worker started")
    inspect: bool = Field(description="whether `POST /inspect` is served")
    limits: Limits
    metrics: dict[str, Any]


class _Asked(Wire):
    evidence: bool = Field(False, strict=True, description="tell what each token contributed")
    sentences: bool = Field(
        False,
        strict=True,
        description="predict each sentence, too, of at most "
        f"{MAX_SENTENCES_A_TEXT} in a text and {MAX_SENTENCES_A_REQUEST} in a request; each counts as a text",
    )
    offsets: Unit = Field("code_points", description="what `start` and `end` count")


class One(_Asked):
    """The body of `/predict`."""

    text: str


class Many(_Asked):
    """The body of `/predict/batch`."""

    texts: list[str]
    on_error: Literal["request", "item"] = Field(
        "request", description="what a text without an answer fails: the whole request, or its own item alone"
    )


def requests(max_characters: int, max_texts: int) -> tuple[type[One], type[Many]]:
    """The bodies of `/predict` and `/predict/batch` under these limits, so that OpenAPI tells what is checked."""
    # The pattern is for callers; the tokenizer, which takes `<br />` for white space too, refuses a blank text.
    text = Annotated[
        str,
        Field(
            min_length=1,
            max_length=max_characters,
            description="not blank: white space and `<br />` alone are refused",
            json_schema_extra={"pattern": NOT_BLANK},
        ),
    ]
    one = create_model(
        "PredictRequest",
        __config__=ConfigDict(extra="forbid", json_schema_extra={"example": {"text": TEXT_EXAMPLE}}),
        __base__=One,
        text=(text, ...),
    )
    # The engine refuses single texts of a batch, since with "item" they fail alone.
    limits = {"minLength": 1, "maxLength": max_characters, "pattern": NOT_BLANK}
    as_request: dict[str, Any] = {
        "if": {"properties": {"on_error": {"const": "item"}}, "required": ["on_error"]},
        "else": {"properties": {"texts": {"items": limits}}},
    }
    texts = Field(
        min_length=1,
        max_length=max_texts,
        description=f"each not blank, and at most {max_characters} characters long",
    )
    many = create_model(
        "PredictBatchRequest",
        __config__=ConfigDict(
            extra="forbid", json_schema_extra={"example": {"texts": [TEXT_EXAMPLE, "Dull."]}, **as_request}
        ),
        __base__=Many,
        texts=(Annotated[list[str], texts], ...),
    )
    return one, many


def text_schema(max_characters: int) -> dict[str, Any]:
    """JSON Schema of a text, for what a wire checks by hand."""
    return {"type": "string", "minLength": 1, "maxLength": max_characters, "pattern": NOT_BLANK}


def stream_line(one: type[BaseModel]) -> type[BaseModel]:
    """A line of the body of `/predict/stream`: the body of `/predict`, and an id."""
    described = Field(None, description="stands in the line that answers", json_schema_extra=_without_default)
    return create_model("StreamLine", __base__=one, id=(LineId, described))


def stream_request(line: type[BaseModel]) -> dict[str, Any]:
    """OpenAPI's entry for the lines of a request."""
    lines = [{"id": "a", "text": TEXT_EXAMPLE}, {"id": "b", "text": "Dull."}]
    return {
        "schema": {
            "type": "string",
            "description": "lines, each of which is like `x-line`; blank ones are passed over",
        },
        "x-line": line.model_json_schema(),
        "example": _lines(lines),
    }


def stream_answer() -> dict[str, Any]:
    """OpenAPI's entry for the lines of an answer."""
    found = "text: expected a text with at least one visible character, found only white space"
    problem = Problem("invalid", found).body("/predict/stream", "0f8fad5bd9cb469fa165708867285bb3")
    lines = [
        {"id": "a", **_EXAMPLE, "model": _MODEL_EXAMPLE},
        {"line": 2, "id": "b", "problem": problem},
        {"done": {"lines": 2, "answered": 1, "failed": 1}},
    ]
    return {
        "schema": {"type": "string", "description": "lines, each of which is like one of `x-line`"},
        "x-line": TypeAdapter(StreamPrediction | StreamProblem | StreamDone).json_schema(),
        "example": _lines(lines),
    }


def _lines(contents: list[dict[str, Any]]) -> str:
    return "".join(f"{to_json(content).decode()}\n" for content in contents)


def v2_problem_responses(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """The same for the routes under /v2: bare JSON, and for what the connection may refuse before it knows the path,
    problem documents as well."""
    responses = problem_responses(*dict.fromkeys((*OF_THE_PROTOCOL, *kinds)), media_type=BARE_MEDIA_TYPE)
    for status, response in problem_responses(*OF_THE_PROTOCOL).items():
        responses[status]["content"] |= response["content"]
    return responses


def problem_responses(*kinds: str, media_type: str = MEDIA_TYPE) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's entries, by status, for these kinds of problem."""
    responses: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, meaning = KINDS[kind]
        # FastAPI would put a `model` under application/json. It knows the schema from `Failure`.
        content = {media_type: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}, "examples": {}}}
        headers = REQUEST_ID_HEADER | (_RETRY_AFTER_HEADER if status in (429, 503) else {})
        entry = responses.setdefault(status, {"description": "", "headers": headers, "content": content})
        entry["description"] = f"{entry['description']} {meaning}".strip()
        body = Problem(kind, meaning).body("/predict", "0f8fad5bd9cb469fa165708867285bb3")
        entry["content"][media_type]["examples"][kind] = {"value": body}
    return responses
