"""What the service is made of, on one page."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

import service
from service import cgroup
from service.api import native, operations, schemas, stream
from service.api.stream import StreamRoute
from service.engine.admission import Admission
from service.engine.batcher import Batcher
from service.engine.engine import Engine
from service.engine.readiness import NotReady, Readiness
from service.http import problems
from service.http.body import JsonRoute, json_route
from service.http.connections import Connections
from service.http.edge import Edge
from service.http.held import Held
from service.http.shutdown import Drain
from service.model import bundle, grouping
from service.model.classifier import Classifier, Slot
from service.settings import Settings
from service.telemetry import logs
from service.telemetry.metrics import Metrics
from service.telemetry.request_log import CALLER_LEFT, RequestLog

LOST = 70  # for an inference thread that hung or died: whoever supervises the process starts another

# One event loop keeps no more inference threads busy; for more cores there are more workers.
_MOST_THREADS = 4
# New objects between two runs of the garbage collector: at Python's 700 a full queue's objects are still in use.
_GC_OBJECTS = 50_000
_FAIL_SECONDS = 0.5  # time to answer the requests that fail, before the process ends with LOST


def _end(code: int) -> None:
    """Ends the process without waiting for its threads, but for its log."""
    logs.close()
    os._exit(code)


def create_app(
    settings: Settings | None = None, classifier: Classifier | None = None, end: Callable[[int], object] = _end
) -> FastAPI:
    """The service around `classifier`, or around the bundle that `settings` name.

    All is loaded and verified here, before a port opens. `end` ends the process where an inference thread is lost.
    Raises BundleError, ProviderError.
    """
    settings = settings or Settings()
    classifier = classifier or Classifier(bundle.read(settings.model), settings.provider)
    threads = settings.threads or min(_MOST_THREADS, max(1, cgroup.cores() // settings.workers))
    limits = schemas.Limits(**{name: getattr(settings, name) for name in schemas.Limits.model_fields})
    log = structlog.get_logger("ovation")

    tracing = None
    if settings.tracing == "otlp":
        from service.telemetry.tracing import Tracing  # OpenTelemetry is loaded by those who want it

        tracing = Tracing(settings.trace_ratio)
    metrics = Metrics(classifier, exemplars=tracing is not None)
    logs.report_lost(metrics.observe_log_lines_lost)
    request_log = RequestLog(metrics, tracing)

    def on_lost(reason: str) -> None:
        readiness.lost = True
        log.critical("inference thread lost, the process ends", reason=reason, code=LOST)
        asyncio.get_running_loop().call_later(_FAIL_SECONDS, end, LOST)

    admission = Admission(settings.max_waiting_texts, settings.max_waiting_tokens)
    batcher = Batcher(
        [Slot(classifier) for _ in range(threads)],
        lambda encoded: len(encoded.token_ids),
        grouping.for_provider(classifier.provider, classifier.seconds),
        admission,
        settings.hang_seconds,
        on_batch=request_log.batch,
        on_lost=on_lost,
    )
    engine = Engine(classifier, batcher, request_log)
    readiness = Readiness(engine)

    held = Held(settings.max_held_bytes)
    connections = Connections(request_log, held, settings.max_connections, settings.keep_alive_seconds)

    def begin_drain() -> None:
        log.info("draining", pre_stop_seconds=settings.pre_stop_seconds, grace_seconds=settings.grace_seconds)
        readiness.draining = True

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Connections]]:
        Drain(begin_drain, batcher.abandon, settings.pre_stop_seconds, settings.grace_seconds)
        # What was loaded stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_OBJECTS)
        log.info("ready", model=classifier.name, provider=classifier.provider, threads=threads)
        if settings.provider == "auto" and classifier.fallback:
            log.info("serving on the CPU", reason=classifier.fallback)
        connections.limit_to_descriptors()
        readiness.started = True
        yield {"connections": connections}
        readiness.draining = True
        await batcher.close()
        request_log.flush()
        if tracing is not None:
            await tracing.close()
        logs.close()  # uvicorn ends a worker by the signal that stopped it, past `atexit`

    app = FastAPI(
        title="Ovation",
        version=service.__version__,
        description="Calibrated, explained, verified sentiment.",
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    route = json_route(settings.max_body_bytes, settings.max_texts, batcher, held, request_log)
    predicting = native.router(engine, route, limits)
    operating = operations.router(engine, readiness, metrics, limits)
    streaming = stream.router(engine, limits, held, request_log, settings.keep_alive_seconds)
    app.include_router(predicting)
    app.include_router(streaming)
    app.include_router(operating)
    for error in (HTTPException, NotReady, problems.Problem):  # all that the routes that `app` calls itself may raise
        app.add_exception_handler(error, problems.answer)
    metrics.add_routes(_statuses([*app.routes, *predicting.routes, *streaming.routes, *operating.routes]))
    app.middleware_stack = Edge(
        app.build_middleware_stack(),
        {
            route.path: route.handle
            for route in [*predicting.routes, *streaming.routes]
            if isinstance(route, JsonRoute | StreamRoute)
        },
        readiness,
        request_log,
        settings.timeout_seconds,
    )
    return app


def _statuses(routes: Iterable[BaseRoute]) -> dict[str, set[int]]:
    """The statuses that each path may answer, as its routes document them."""
    statuses: dict[str, set[int]] = {}
    for route in routes:
        if isinstance(route, Route | APIRoute):
            documented = {int(status) for status in route.responses} if isinstance(route, APIRoute) else set()
            left = {CALLER_LEFT} if isinstance(route, JsonRoute | StreamRoute) else set()
            statuses[route.path] = {200, 405} | documented | left
    return statuses
