"""The native routes: judging texts, and telling of the model and its health."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import to_json

from service.api import schemas
from service.engine.batcher import Answer
from service.engine.engine import Judge
from service.http.alarms import Alarms
from service.http.body import json_route
from service.http.problems import KINDS, MEDIA_TYPE, Problem
from service.model.classifier import Classifier, Prediction
from service.model.tokenizer import BlankText, is_blank
from service.settings import Settings

_EXACTNESS = {
    "cpu": "logits and evidence are bit-identical alone and in any batch (tested for the pinned onnxruntime)",
    "cuda": "not measured on this provider",
}


def _problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's entries for these kinds of problem."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, meaning = KINDS[kind]
        # FastAPI would put a `model` under application/json.
        content = {MEDIA_TYPE: {"schema": schemas.ProblemDetails.model_json_schema(), "examples": {}}}
        entry = found.setdefault(status, {"description": "", "content": content})
        entry["description"] = f"{entry['description']} {meaning}".strip()
        body = Problem(kind, meaning).body("/predict", "0f8fad5bd9cb469fa165708867285bb3")
        entry["content"][MEDIA_TYPE]["examples"][kind] = {"value": body}
    return found


_PREDICT_PROBLEMS = _problems(
    "malformed", "slow_body", "body_too_large", "unsupported_media_type", "invalid", "no_evidence", "overloaded",
    "internal", "not_ready", "timeout",
)  # fmt: skip


# Read at the edge, not by FastAPI, which is only told of them.
_HEADERS: dict[str, Any] = {
    "parameters": [
        {
            "name": "X-Request-ID",
            "in": "header",
            "description": "names the request in its answer and in the log; where it is none of these, one is made",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/+=-]{1,128}$"},
        },
        {
            "name": "X-Request-Timeout-Ms",
            "in": "header",
            "description": "how long the caller waits; the service's own limit, where that is less",
            "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
        },
    ]
}


def _judgement(prediction: Prediction, model: str | None = None) -> dict[str, Any]:
    """The JSON object of one prediction, as `schemas` describes it."""
    found: dict[str, Any] = {
        "label": prediction.label,
        "score": prediction.score,
        "probabilities": prediction.probabilities,
        "uncertain": prediction.uncertain,
        "tokens": prediction.tokens,
        "truncated": prediction.truncated,
        "unknown_share": prediction.unknown_share,
    }
    if model is not None:
        found["model"] = model
    if prediction.evidence is not None:
        spans = prediction.evidence.tokens
        weights = [{"start": start, "end": end, "weight": weight} for start, end, weight in spans]
        found["evidence"] = {"bias": prediction.evidence.bias, "tokens": weights}
    return found


def _timed(content: dict[str, Any], answers: Sequence[Answer[Prediction]], tokenize_seconds: float) -> Response:
    """Serialised once; `Server-Timing` tells the longest wait and the computing of the request's batches, in ms."""
    queue = max(answer.queue_seconds for answer in answers) * 1e3
    compute = max(answer.compute_seconds for answer in answers) * 1e3
    timing = f"queue;dur={queue:.3f}, tokenize;dur={tokenize_seconds * 1e3:.3f}, compute;dur={compute:.3f}"
    return _Answer(to_json(content), timing.encode())


class _Answer(Response):
    """A good answer: what Response does, without what never changes."""

    def __init__(self, body: bytes, server_timing: bytes) -> None:
        self.status_code, self.background, self.body = 200, None, body
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"server-timing", server_timing),
        ]


def predict_router(judge: Judge, settings: Settings) -> APIRouter:
    """`POST /predict` and `POST /predict/batch`."""
    router = APIRouter(tags=["predict"], route_class=json_route(settings.max_body_bytes, Alarms()))
    one, many = schemas.requests(settings.max_characters, settings.max_texts)
    name = judge.classifier.name

    # The response models are for OpenAPI: a Response passes FastAPI by, so that nothing is built or checked twice.
    documented: dict[str, Any] = {"responses": _PREDICT_PROBLEMS, "openapi_extra": _HEADERS}

    @router.post("/predict", response_model=schemas.Prediction, **documented)
    async def predict(request: Request, body: one) -> Response:  # type: ignore[valid-type]
        """Judges one text."""
        try:
            answers = await judge(request, [body.text], body.evidence)  # type: ignore[attr-defined]
        except BlankText as error:
            raise Problem("invalid", f"text: {error}") from None
        return _timed(_judgement(answers[0].result, name), answers, request.state.tokenize_seconds)

    @router.post("/predict/batch", response_model=schemas.Predictions, **documented)
    async def predict_batch(request: Request, body: many) -> Response:  # type: ignore[valid-type]
        """Judges several texts, all or none; the answers stand in their order."""
        texts: list[str] = body.texts  # type: ignore[attr-defined]
        try:
            answers = await judge(request, texts, body.evidence)  # type: ignore[attr-defined]
        except BlankText as error:
            place = next(index for index, text in enumerate(texts) if is_blank(text))
            raise Problem("invalid", f"texts.{place}: {error}") from None
        content = {"model": name, "predictions": [_judgement(answer.result) for answer in answers]}
        return _timed(content, answers, request.state.tokenize_seconds)

    return router


def operator_router(judge: Judge, settings: Settings) -> APIRouter:
    """The model, its health and its metrics."""
    router = APIRouter(tags=["operate"])
    description = _describe(judge.classifier, settings)
    not_ready = _problems("not_ready")

    @router.get("/model", response_model=schemas.Model)
    async def model() -> Response:
        """What is being served, by which provider, within which limits."""
        return Response(description, media_type="application/json")

    @router.get("/health", responses=not_ready)
    @router.get("/health/ready", responses=not_ready)
    async def ready() -> schemas.Health:
        """Whether this worker answers texts: one was answered lately, or one of its own was just now."""
        await judge.check_ready()
        return schemas.Health(status="ready")

    @router.get("/health/startup", responses=not_ready)
    async def startup() -> schemas.Health:
        """Whether it has started: the bundle is verified before the port opens, so from the first moment."""
        if not judge.started:
            raise Problem("not_ready", "the service is starting", {"Retry-After": "1"})
        return schemas.Health(status="started")

    @router.get("/health/live", responses=not_ready)
    async def live() -> schemas.Health:
        """Whether the event loop and the inference threads run; a restart helps when they do not."""
        if judge.dead:
            raise Problem("not_ready", "an inference thread was lost; the process is about to end")
        return schemas.Health(status="live")

    @router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}})
    async def metrics(request: Request) -> Response:
        """Prometheus' text format; where requests are traced, OpenMetrics with exemplars for whoever accepts it."""
        judge.metrics.observe_waiting(judge.batcher.waiting)
        accept = request.headers.get("accept", "") if settings.tracing == "otlp" else ""
        content, media_type = judge.metrics.render(accept)
        return Response(content, headers={"Content-Type": media_type, "Vary": "Accept"})

    return router


def _describe(classifier: Classifier, settings: Settings) -> bytes:
    """The body of `GET /model`, which does not change while the service runs."""
    manifest = classifier.manifest
    public = ("name", "version", "labels", "max_tokens", "truncation", "rules", "evidence", "uncertain_below")
    found = schemas.Model(
        **{key: getattr(manifest, key) for key in (*public, "precision", "metrics")},
        model=classifier.name,
        created=manifest.created.isoformat(),
        provider=classifier.provider,
        provider_fallback=classifier.fallback,
        exactness=_EXACTNESS[classifier.provider],
        limits=schemas.Limits(**{key: getattr(settings, key) for key in schemas.Limits.model_fields}),
    )
    return found.model_dump_json().encode()
