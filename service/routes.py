"""The native routes: judging texts, and telling of the model and its health."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic_core import to_json

from service import schemas
from service.batcher import Answer, Batcher
from service.body import strict_route
from service.classifier import Classifier, EvidenceUnavailable, Prediction
from service.metrics import Metrics
from service.problems import KINDS, MEDIA_TYPE, Problem
from service.settings import Settings
from service.tokenizer import Encoded, tokens

# Longer texts are tokenized in slices, so that nobody else waits for the whole of one.
_SLICE_CHARACTERS = 16_384
_SLICE_TOKENS = 4_096

_EXACTNESS = {
    "cpu": "logits and evidence are bit-identical alone and in any batch (tested for the pinned onnxruntime)",
    "cuda": "not measured on this provider",
}


def _problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's entries for these kinds of problem."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status, meaning = KINDS[kind]
        entry = found.setdefault(
            status, {"model": schemas.ProblemDetails, "description": "", "content": {MEDIA_TYPE: {"examples": {}}}}
        )
        entry["description"] = f"{entry['description']} {meaning}".strip()
        body = Problem(kind, meaning).body("/predict", "0f8fad5bd9cb469fa165708867285bb3")
        entry["content"][MEDIA_TYPE]["examples"][kind] = {"value": body}
    return found


_PREDICT_PROBLEMS = _problems(
    "malformed", "body_too_large", "unsupported_media_type", "invalid", "no_evidence", "overloaded", "internal",
    "not_ready", "timeout",
)  # fmt: skip


@dataclass
class Judge:
    """What the routes work with: texts in, timed answers out."""

    settings: Settings
    classifier: Classifier
    batcher: Batcher[Encoded, Prediction]
    metrics: Metrics
    ready: bool = field(default=False)  # between start-up and shutdown

    async def __call__(self, request: Request, texts: Sequence[str], evidence: bool) -> list[Answer[Prediction]]:
        """Tokenizes on the event loop, then waits for the batcher. Raises what `problems` knows."""
        if evidence and not self.classifier.manifest.evidence:
            raise EvidenceUnavailable(self.classifier.name)
        async with asyncio.timeout(self.settings.timeout_seconds):
            began = perf_counter()
            encoded = await self._encode_all(texts, evidence)
            tokenized = perf_counter() - began
            request.state.tokenize_seconds = tokenized
            request.state.tokens = sum(text.tokens for text in encoded)
            answers = await self.batcher.submit(encoded)
        self.metrics.observe_tokenized(tokenized)
        for answer in answers:
            self.metrics.observe_prediction(answer.result, answer.queue_seconds)
        return answers

    async def _encode_all(self, texts: Sequence[str], evidence: bool) -> list[Encoded]:
        encoded, since_pause = list[Encoded](), 0
        for text in texts:
            since_pause += len(text)
            if since_pause > _SLICE_CHARACTERS:  # many short texts are as long as a long one
                await asyncio.sleep(0)
                since_pause = len(text)
            encoded.append(await self._encode(text, evidence))
        return encoded

    async def _encode(self, text: str, evidence: bool) -> Encoded:
        tokenizer = self.classifier.tokenizer
        if len(text) <= _SLICE_CHARACTERS:
            return tokenizer.encode(text, spans=evidence)
        found, stream = list[tuple[str, int, int]](), tokens(text, tokenizer.rules)
        while part := list(islice(stream, _SLICE_TOKENS)):
            found += part
            await asyncio.sleep(0)
        return tokenizer.encode_tokens(text, found, spans=evidence)


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
    return Response(to_json(content), headers={"Server-Timing": timing}, media_type="application/json")


def predict_router(judge: Judge) -> APIRouter:
    """`POST /predict` and `POST /predict/batch`."""
    router = APIRouter(tags=["predict"], route_class=strict_route(judge.settings.max_body_bytes))
    one, many = schemas.requests(judge.settings.max_characters, judge.settings.max_texts)
    name = judge.classifier.name

    # The response models are for OpenAPI: a Response passes FastAPI by, so that nothing is built or checked twice.
    @router.post("/predict", response_model=schemas.Prediction, responses=_PREDICT_PROBLEMS)
    async def predict(request: Request, body: one) -> Response:  # type: ignore[valid-type]
        """Judges one text."""
        answers = await judge(request, [body.text], body.evidence)  # type: ignore[attr-defined]
        return _timed(_judgement(answers[0].result, name), answers, request.state.tokenize_seconds)

    @router.post("/predict/batch", response_model=schemas.Predictions, responses=_PREDICT_PROBLEMS)
    async def predict_batch(request: Request, body: many) -> Response:  # type: ignore[valid-type]
        """Judges several texts, all or none; the answers stand in their order."""
        answers = await judge(request, body.texts, body.evidence)  # type: ignore[attr-defined]
        content = {"model": name, "predictions": [_judgement(answer.result) for answer in answers]}
        return _timed(content, answers, request.state.tokenize_seconds)

    return router


def operator_router(judge: Judge) -> APIRouter:
    """The model, its health and its metrics."""
    router = APIRouter(tags=["operate"])
    description = _describe(judge)
    not_ready = _problems("not_ready")

    @router.get("/model", response_model=schemas.Model)
    async def model() -> Response:
        """What is being served, by which provider, within which limits."""
        return Response(description, media_type="application/json")

    @router.get("/health", responses=not_ready)
    @router.get("/health/ready", responses=not_ready)
    @router.get("/health/startup", responses=not_ready)
    async def ready() -> schemas.Health:
        """Whether texts are answered: the bundle is verified before the port opens, so from the first moment."""
        if not judge.ready:
            raise Problem("not_ready", KINDS["not_ready"][1], {"Retry-After": "1"})
        return schemas.Health(status="ready")

    @router.get("/health/live")
    async def live() -> schemas.Health:
        """Whether the event loop runs; a restart helps when it does not."""
        return schemas.Health(status="live")

    @router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}})
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(judge.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router


def _describe(judge: Judge) -> bytes:
    """The body of `GET /model`, which does not change while the service runs."""
    manifest, settings = judge.classifier.manifest, judge.settings
    public = ("name", "version", "labels", "max_tokens", "truncation", "rules", "evidence", "uncertain_below")
    found = schemas.Model(
        **{key: getattr(manifest, key) for key in (*public, "precision", "metrics")},
        model=judge.classifier.name,
        created=manifest.created.isoformat(),
        provider=judge.classifier.provider,
        provider_fallback=judge.classifier.fallback,
        exactness=_EXACTNESS[judge.classifier.provider],
        limits=schemas.Limits(**{key: getattr(settings, key) for key in schemas.Limits.model_fields}),
    )
    return found.model_dump_json().encode()
