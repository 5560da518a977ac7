"""What all wires share: the headers and problems that they document, the call of the engine, the good answer."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

from fastapi import Request, Response

from service.api import schemas
from service.engine.encoding import BadText
from service.engine.engine import Answers, Engine
from service.http.problems import Problem
from service.model.classifier import Prediction
from service.telemetry.request_log import RequestRecord

PROBLEMS = (
    "malformed", "forbidden_origin", "slow_head", "slow_body", "body_too_large", "unsupported_media_type", "invalid",
    "overloaded", "internal", "not_ready", "timeout",
)  # fmt: skip

# Read at the edge, not by FastAPI, which is only told of them.
HEADERS: list[dict[str, Any]] = [
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
GOOD_HEADERS = schemas.REQUEST_ID_HEADER | {
    "Server-Timing": {
        "description": "`queue`, `tokenize` and `compute` in ms",
        "required": True,
        "schema": {"type": "string"},
    }
}


def text_at(place: str, value: object) -> str:
    """`value`, which stands at `place` of the body, where it is a text; the engine checks the rest. Raises Problem."""
    if not isinstance(value, str):
        raise Problem("invalid", f"{place}: expected a text, found another type")
    return value


async def predict(
    engine: Engine,
    request: Request,
    texts: Sequence[str],
    place: str,
    *,
    whole: bool = False,
    evidence: bool = False,
    sentences: bool = False,
    partial: bool = False,
) -> Answers:
    """The engine's answers, by the request's deadline.

    Raises what `Engine.predict` does, but Problem for a bad text and, with `whole`, for one that the model does not
    read whole: then nothing is counted as predicted. The problem names `place`, where `{}` is the text's index.
    """
    record = RequestRecord.of(request.scope)
    try:
        answers = await engine.predict(texts, record.deadline, evidence, record, sentences=sentences, partial=partial)
    except BadText as error:
        raise Problem("invalid", f"{place.format(error.index)}: {error}") from None
    if whole:
        for index, prediction in enumerate(answers.predictions):
            if prediction.truncated:
                most = engine.classifier.manifest.max_tokens
                detail = (
                    f"{place.format(index)}: expected at most {most} tokens or truncation, found {prediction.tokens}"
                )
                raise Problem("invalid", detail)
    record.answers, record.model = answers, answers.model
    return answers


def ranked(prediction: Prediction, scores: Sequence[float]) -> list[dict[str, Any]]:
    """Labels with their `scores` [label], the highest first, as Hugging Face's clients and TEI's expect them."""
    pairs = zip(prediction.probabilities, scores, strict=True)
    return [{"label": label, "score": score} for label, score in sorted(pairs, key=itemgetter(1), reverse=True)]


class Answer(Response):
    """A 200. Its headers are set here, not by Response's code for them; `Server-Timing` is in ms."""

    def __init__(self, body: bytes | memoryview, answers: Answers, media_type: bytes = b"application/json") -> None:
        self.status_code, self.background, self.body = 200, None, body
        queue, compute = (max(each, default=0.0) * 1e3 for each in answers.timings[1:])
        tokenize = answers.timings.tokenize * 1e3
        timing = f"queue;dur={queue:.3f}, tokenize;dur={tokenize:.3f}, compute;dur={compute:.3f}"
        self.raw_headers = [
            (b"content-type", media_type),
            (b"content-length", b"%d" % len(self.body)),
            (b"server-timing", timing.encode()),
        ]
