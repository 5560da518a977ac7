"""What the service is made of, on one page."""

import asyncio
import contextlib
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path

import structlog
from fastapi import APIRouter, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

import service
from service import cgroup
from service.api import (
    admin,
    guards,
    huggingface,
    inspection,
    native,
    open_inference,
    operations,
    page,
    schemas,
    stream,
    tei,
)
from service.api.stream import StreamRoute
from service.control import Control
from service.engine.admission import Admission
from service.engine.batcher import Batcher
from service.engine.engine import Engine
from service.engine.inspector import Inspector
from service.engine.models import Models, Orders, OwnOrders
from service.engine.readiness import NotReady, Readiness
from service.http import problems
from service.http.body import JsonRoute, json_route
from service.http.connections import Connections
from service.http.edge import Edge
from service.http.held import Held
from service.http.keys import HEALTH_ROUTES, Keyring, Keys, log_read
from service.http.origins import Hosts, Origins
from service.http.shutdown import Drain
from service.model import bundle, grouping
from service.model.bundles import Bundles, ChangeRefused, Files, Order
from service.model.classifier import Classifier, Provider, Slot
from service.settings import OFF, Settings
from service.telemetry import logs
from service.telemetry.metrics import Metrics
from service.telemetry.model_log import ModelLog
from service.telemetry.request_log import CALLER_LEFT, RequestLog

LOST = 70  # for an inference thread that hung or died: whoever supervises the process starts another

# Most inference threads of a worker: one event loop cannot keep more of them busy. Further cores need more workers.
_MOST_THREADS = 4
# New objects after which the garbage collector runs. A full queue has more than Python's default of 700 in use: runs
# that often would find nothing to free.
_GC_OBJECTS = 50_000
_FAIL_SECONDS = 2.0  # most time to answer the requests that are open, before the process ends with LOST


def _end(code: int) -> None:
    """Ends the process without waiting for its threads, but for its log."""
    logs.close()
    os._exit(code)


def create_app(
    settings: Settings | None = None,
    classifier: Classifier | None = None,
    end: Callable[[int], object] = _end,
    control: Control | None = None,
) -> FastAPI:
    """The service around `classifier`, or around the bundle that the supervisor or `settings` name.

    `control` is the line to the supervisor, where there are several workers.
    All is loaded and verified here, before a port opens. `end` ends the process where an inference thread is lost.
    Raises BundleError, ProviderError, KeysError.
    """
    settings = settings or Settings()
    load = partial(_load, settings.provider)
    files = None if control is None else control.files
    if classifier is None:
        files = files or Files(settings.model, bundle.contents(settings.model))
        classifier = load(files)
    threads = settings.threads or min(_MOST_THREADS, max(1, cgroup.cores() // settings.workers))
    limits = schemas.Limits(**{name: getattr(settings, name) for name in schemas.Limits.model_fields})
    log = structlog.get_logger("ovation")

    tracing = None
    if settings.tracing == "otlp":
        from service.telemetry.tracing import Tracing  # OpenTelemetry is loaded by those who want it

        tracing = Tracing(settings.trace_ratio)
    metrics = Metrics(classifier, exemplars=tracing is not None, workers=settings.workers)
    logs.report_lost(metrics.observe_log_lines_lost)
    request_log = RequestLog(metrics, tracing)
    pages = page.router()
    keys = _keys(settings, metrics, pages)

    drain: Drain | None = None  # from the start of the app on

    def on_lost(reason: str) -> None:
        readiness.lost = True
        log.critical("inference thread lost, the process ends", reason=reason, code=LOST)
        asyncio.get_running_loop().call_later(_FAIL_SECONDS, end, LOST)
        if drain is not None:
            drain.stop()

    admission = Admission(settings.max_waiting_texts, settings.max_waiting_tokens, settings.timeout_seconds)
    batcher = Batcher(
        [Slot() for _ in range(threads)],
        lambda asked: len(asked.encoded.token_ids),
        grouping.for_provider(classifier.provider, classifier.seconds),
        admission,
        settings.hang_seconds,
        on_batch=request_log.batch,
        on_lost=on_lost,
    )
    engine = Engine(classifier, batcher, request_log, settings.max_characters)
    readiness = Readiness(engine)
    models = Models(engine, load, ModelLog(metrics))
    orders = control or OwnOrders(models, Bundles(settings.model, files, 1, cgroup.free_memory_bytes))
    inspector = Inspector(engine, settings.max_characters) if settings.inspect == "on" else None

    held = Held(settings.max_held_bytes)
    connections = Connections(request_log, held, settings.max_connections, settings.keep_alive_seconds)

    def begin_drain() -> None:
        log.info("draining", pre_stop_seconds=settings.pre_stop_seconds, grace_seconds=settings.grace_seconds)
        readiness.draining = True

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Connections]]:
        nonlocal drain
        drain = Drain(begin_drain, batcher.abandon, settings.pre_stop_seconds, settings.grace_seconds)
        # What was loaded stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(_GC_OBJECTS)
        log.info("ready", model=classifier.name, provider=classifier.provider, threads=threads)
        if settings.provider == "auto" and classifier.fallback:
            log.info("serving on the CPU", reason=classifier.fallback)
        connections.limit_to_descriptors()
        watch = None if keys is None else asyncio.create_task(keys.watch(partial(_count_keys, metrics)))
        if control is not None:
            control.attach(models)
        elif threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, orders)
        readiness.started = True
        yield {"connections": connections}
        if readiness.lost:
            end(LOST)  # what follows would wait for the thread
        readiness.draining = True
        if watch is not None:
            watch.cancel()
        if inspector is not None:
            inspector.close()
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
        responses=schemas.problem_responses(*schemas.OF_THE_PROTOCOL),
        openapi_url=None,  # see _add_document, and api/page.py for /docs
        telemetry={"tracing": False, "metrics": False, "logs": False},  # ours is in service/telemetry
        redirect_slashes=False,
    )
    route = json_route(settings.max_body_bytes, settings.max_texts, batcher, held, request_log)
    wires = {
        "native": native.router(engine, route, limits),
        "stream": stream.router(engine, limits, held, request_log, settings.keep_alive_seconds),
        "huggingface": huggingface.router(engine, route, limits),
        "tei": tei.router(engine, route, limits, readiness, settings.max_waiting_tokens),
        "open_inference": open_inference.router(engine, route, limits, readiness),
    }
    if inspector is not None:
        wires["inspect"] = inspection.router(inspector, route, limits)
    operating = operations.router(engine, models, readiness, metrics, limits, inspects=inspector is not None)
    has_admins = {settings.admin_keys, settings.admin_keys_file} != {OFF}
    administering = admin.router(engine, models, orders) if has_admins else APIRouter()
    for router in (*wires.values(), operating, administering, pages):
        app.include_router(router)
    _add_document(app, keys, any_host=settings.hosts == ["*"])
    # All that the routes that `app` calls itself may raise.
    for error in (HTTPException, NotReady, problems.Problem, RequestValidationError):
        app.add_exception_handler(error, problems.answer)
    predicting: dict[str, ASGIApp] = {}
    for protocol, wire in wires.items():
        of_texts = [route for route in wire.routes if isinstance(route, JsonRoute | StreamRoute)]
        metrics.add_routes(_statuses(of_texts, keys), protocol)
        predicting |= {route.path: route.handle for route in of_texts}
    others = [
        route for wire in wires.values() for route in wire.routes if not isinstance(route, JsonRoute | StreamRoute)
    ]
    own_routes = [*operating.routes, *administering.routes, *pages.routes]
    metrics.add_routes(_statuses([*app.routes, *others, *own_routes], keys))
    app.middleware_stack = Edge(
        app.build_middleware_stack(),
        predicting,
        readiness,
        request_log,
        Origins(settings.allowed_origins),
        settings.timeout_seconds,
        Hosts(settings.hosts),
        keys,
        [route.path for route in wires["stream"].routes if isinstance(route, StreamRoute)],
    )
    return app


def _load(provider: Provider, files: Files) -> Classifier:
    """The classifier of a bundle's files. Raises BundleError, ProviderError."""
    classifier = Classifier(bundle.parse(*files), provider)
    classifier.drop_files()
    return classifier


def _reload(orders: Orders) -> None:
    """SIGHUP: the folder that is served is read again."""

    async def carry_out() -> None:
        with contextlib.suppress(ChangeRefused):  # which is logged where it happens
            await orders.carry_out(Order("reload"))

    task = asyncio.create_task(carry_out())
    task.add_done_callback(lambda done: None)


def _keys(settings: Settings, metrics: Metrics, pages: APIRouter) -> Keys | None:
    """The check of keys; None where no route needs one. Raises KeysError.

    A browser fetches `pages` without a key; what they then ask for needs one.
    """

    def keyring(kind: str, listed: str, file: str) -> Keyring | None:
        if listed == file == OFF:
            return None
        text, path = (None if value == OFF else value for value in (listed, file))
        return Keyring(kind, text, None if path is None else Path(path), settings.key_tokens_per_second)

    callers = keyring("callers", settings.api_keys, settings.api_keys_file)
    admins = keyring("admins", settings.admin_keys, settings.admin_keys_file)
    if callers is admins is None:
        return None
    open_routes = [
        *HEALTH_ROUTES,
        *(route.path for route in pages.routes if isinstance(route, Route | APIRoute)),
        *([] if settings.metrics_need_key else ["/metrics"]),
        *([] if settings.docs_need_key else ["/openapi.json"]),
    ]
    keys = Keys(callers, admins, open_routes, metrics.observe_key_refused)
    for each in keys.keyrings:
        log_read(each)
        _count_keys(metrics, each)
    return keys


def _count_keys(metrics: Metrics, keyring: Keyring) -> None:
    metrics.add_keys(keyring.kind, keyring.names, keyring.error is not None)


def _add_document(app: FastAPI, keys: Keys | None, any_host: bool) -> None:
    """Adds /openapi.json. FastAPI's own would make the JSON, some 100 KB of it, anew for each request."""

    @cache
    def document() -> bytes:
        content = guards.add_keys(app.openapi(), keys)
        return to_json(content if any_host else guards.add_hosts(content))

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        return Response(document(), media_type="application/json")


def _statuses(routes: Iterable[BaseRoute], keys: Keys | None) -> dict[str, set[int]]:
    """The statuses that each path may answer, as its routes document them."""
    statuses: dict[str, set[int]] = {}
    for route in routes:
        if isinstance(route, Route | APIRoute):
            documented = {int(status) for status in route.responses} if isinstance(route, APIRoute) else set()
            left = {CALLER_LEFT} if isinstance(route, JsonRoute | StreamRoute) else set()
            refused = {401} if keys is not None and keys.needs_key(route.path) else set()
            statuses[route.path] = {200, 403, 405, 421} | documented | left | refused
    return statuses
