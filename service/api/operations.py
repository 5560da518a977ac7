"""What an operator asks: the model, its health and its metrics."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.api import schemas
from service.engine.engine import Engine
from service.engine.models import Models
from service.engine.readiness import NotReady, Readiness
from service.http.problems import Problem
from service.telemetry.metrics import Metrics

_EXACTNESS = {
    "cpu": "logits and evidence are bit-identical alone and in any batch (tested for the pinned onnxruntime)",
    "cuda": "not measured on this provider",
}
_MANIFEST_FIELDS = (
    "name", "version", "labels", "max_tokens", "truncation", "rules", "evidence", "uncertain_below", "precision",
    "metrics",
)  # fmt: skip


def router(
    engine: Engine,
    models: Models,
    readiness: Readiness,
    metrics: Metrics,
    limits: schemas.Limits,
    *,
    inspects: bool,
) -> APIRouter:
    """`/model`, `/health*` and `/metrics`; `inspects` says whether `/inspect` is served."""
    routes = APIRouter(tags=["operate"])
    good: dict[int | str, dict[str, Any]] = {200: {"headers": schemas.REQUEST_ID_HEADER}}
    always = good | schemas.problem_responses("forbidden_origin", "internal")
    probe = good | schemas.problem_responses("internal", "not_ready")
    of_metrics: dict[int | str, dict[str, Any]] = {
        200: good[200] | {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}
    }

    @routes.get("/model", responses=always)
    async def model() -> schemas.Model:
        """What is being served, by which provider, within which limits."""
        classifier, shadow, last = engine.classifier, models.shadow, models.last
        return schemas.Model(
            **{name: getattr(classifier.manifest, name) for name in _MANIFEST_FIELDS},
            model=classifier.name,
            created=classifier.manifest.created.isoformat(),
            provider=classifier.provider,
            provider_fallback=classifier.fallback,
            exactness=_EXACTNESS[classifier.provider],
            shadow=None if shadow is None else shadow.name,
            last_change=last and schemas.Change(kind=last.kind, succeeded=last.succeeded, at=last.at.isoformat()),
            inspect=inspects,
            limits=limits,
        )

    @routes.get("/health", responses=probe)
    @routes.get("/health/ready", responses=probe)
    async def ready() -> schemas.Health:
        """Whether this worker answers texts: one was answered lately, or one of its own was just now."""
        await readiness.check()
        return schemas.Health(status="ready")

    @routes.get("/health/startup", responses=probe)
    async def startup() -> schemas.Health:
        """Whether it has started: the bundle is verified before the port opens, so from the first moment."""
        if not readiness.started:
            raise NotReady("the service is starting")
        return schemas.Health(status="started")

    @routes.get("/health/live", responses=probe)
    async def live() -> schemas.Health:
        """Whether the event loop and the inference threads run; a restart helps when they do not."""
        if readiness.lost:
            reason = "an inference thread was lost; the process is about to end"
            raise Problem("not_ready", reason, {"Retry-After": "1"})
        return schemas.Health(status="live")

    # FastAPI makes the operationId of the name.
    @routes.get("/metrics", name="metrics", response_class=Response, responses=always | of_metrics)
    async def scrape(request: Request) -> Response:
        """Prometheus' text format; where requests are traced, OpenMetrics with exemplars for whoever accepts it."""
        metrics.observe_waiting(engine.batcher.admission.texts)
        content, media_type = metrics.render(request.headers.get("accept", ""))
        return Response(content, headers={"Content-Type": media_type, "Vary": "Accept"})

    return routes
