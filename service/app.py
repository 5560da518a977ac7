"""What the service is made of, on one page."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException

import service
from service import cgroup
from service.api.native import operator_router, predict_router
from service.engine.batcher import Batcher
from service.engine.engine import Judge
from service.http import problems
from service.http.body import JsonRoute
from service.http.connection import REFUSE
from service.http.edge import Edge
from service.http.shutdown import Drain
from service.model import bundle, grouping
from service.model.bundle import DAMAGED, BundleError
from service.model.classifier import Classifier, Prediction, ProviderError, Slot
from service.model.tokenizer import Encoded
from service.settings import Settings
from service.telemetry import logs
from service.telemetry.metrics import OTHER, Metrics

LOST = 70  # for an inference thread that hung or died: whoever supervises the process starts another

_PREDICT_STATUSES = (200, 400, 405, 408, 413, 415, 422, 429, 499, 500, 503, 504)
_HEALTH_STATUSES = (200, 405, 503)
_JUDGED = ("/predict", "/predict/batch")
# One event loop feeds no more: beyond that, more workers.
_MOST_THREADS = 4
# New objects until the collector looks at them, in place of 700: in a full queue they live for longer than that.
_GC_OBJECTS = 50_000
_LAST_WORDS_SECONDS = 0.5  # what a lost process gets to answer those it has to fail


def create_app(
    settings: Settings | None = None, classifier: Classifier | None = None, end: Callable[[int], object] = os._exit
) -> FastAPI:
    """The service around `classifier`, or around the bundle that `settings` name.

    All is loaded and verified here, before a port opens. `end` ends the process where an inference thread is lost.
    Raises BundleError, ProviderError.
    """
    settings = settings or Settings()
    classifier = classifier or Classifier(bundle.read(settings.model), settings.provider)
    statuses = {**dict.fromkeys(_JUDGED, _PREDICT_STATUSES), OTHER: (404,)}
    statuses |= dict.fromkeys(("/health", "/health/ready", "/health/startup", "/health/live"), _HEALTH_STATUSES)
    statuses |= dict.fromkeys(("/model", "/metrics", "/docs", "/openapi.json"), (200, 405))
    metrics = Metrics(classifier, dict(statuses))
    log = structlog.get_logger("ovation")
    threads = settings.threads or min(_MOST_THREADS, max(1, cgroup.cores() // settings.workers))

    def on_batch(encoded: list[Encoded], seconds: float) -> None:
        metrics.observe_batch(encoded, seconds)
        metrics.observe_waiting(batcher.waiting)

    def on_death(reason: str) -> None:
        judge.dead = True
        log.critical("inference thread lost, the process ends", reason=reason, code=LOST)
        loop = asyncio.get_running_loop()
        loop.call_later(_LAST_WORDS_SECONDS, end, LOST)

    tracing = None
    if settings.tracing == "otlp":
        from service.telemetry.tracing import Tracing  # OpenTelemetry is loaded by those who want it

        tracing = Tracing(classifier.name, settings.trace_ratio)
    batcher: Batcher[Encoded, Prediction] = Batcher(
        [Slot(classifier) for _ in range(threads)],
        lambda encoded: len(encoded.token_ids),
        grouping.measured(classifier.provider, classifier.seconds),
        settings.max_waiting_texts,
        settings.max_waiting_tokens,
        settings.hang_seconds,
        on_batch=on_batch,
        on_death=on_death,
        on_callers=tracing.batch if tracing is not None else None,
    )
    judge = Judge(classifier, batcher, metrics)

    def begin_drain() -> None:
        log.info("draining", pre_stop_seconds=settings.pre_stop_seconds, grace_seconds=settings.grace_seconds)
        judge.draining = True

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        Drain(begin_drain, batcher.abandon, settings.pre_stop_seconds, settings.grace_seconds)
        # What was loaded stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_OBJECTS)
        log.info("ready", model=classifier.name, provider=classifier.provider, threads=threads)
        if settings.provider == "auto" and classifier.fallback:
            log.info("serving on the CPU", reason=classifier.fallback)
        judge.started = True
        yield {REFUSE: edge.refuse}
        judge.draining = True
        await batcher.close()
        edge.tell()
        if tracing is not None:
            await tracing.close()

    app = FastAPI(
        title="Ovation",
        version=service.__version__,
        description="Calibrated, explained, verified sentiment.",
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    predict = predict_router(judge, settings)
    app.include_router(predict)
    app.include_router(operator_router(judge, settings))
    for error in (HTTPException, problems.Problem):  # all that the routes that `app` calls itself may raise
        app.add_exception_handler(error, problems.answer)
    edge = Edge(
        app.build_middleware_stack(),
        metrics=metrics,
        routes=frozenset(statuses) - {OTHER},
        judged={route.path: route.handle for route in predict.routes if isinstance(route, JsonRoute)},
        model=classifier.name,
        timeout_seconds=settings.timeout_seconds,
        max_body_bytes=settings.max_body_bytes,
        shed=judge.shed,
        expect=judge.expect,
        draining=lambda: judge.draining,
        tracing=tracing,
    )
    app.middleware_stack = edge
    return app


def worker() -> FastAPI:
    """The app of one of several processes; ends the process with code 3 where the bundle cannot be served."""
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    try:
        return create_app(settings)
    except (BundleError, ProviderError) as problem:
        sys.stderr.write(f"error: {problem}\n")
        sys.exit(DAMAGED)
