"""What the service is made of, on one page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import service
from service import bundle, problems
from service.batcher import Batcher, Closed, Overloaded
from service.classifier import Classifier, EvidenceUnavailable, Prediction
from service.metrics import OTHER, Metrics
from service.middleware import Edge
from service.routes import Judge, operator_router, predict_router
from service.settings import Settings
from service.tokenizer import BlankText, Encoded

_PREDICT_STATUSES = (200, 400, 405, 413, 415, 422, 429, 499, 500, 503, 504)
_HEALTH_STATUSES = (200, 405, 503)
_HANDLED = (RequestValidationError, HTTPException, problems.Problem, BlankText, EvidenceUnavailable)
# Batches of unequal lengths cost the CPU more than they save, until they are chosen by length.
_MAX_BATCH_SIZE = {"cpu": 1, "cuda": 32}


def create_app(settings: Settings | None = None, classifier: Classifier | None = None) -> FastAPI:
    """The service around `classifier`, or around the bundle that `settings` name.

    All is loaded and verified here, before a port opens. Raises BundleError, ProviderError.
    """
    settings = settings or Settings()
    classifier = classifier or Classifier(bundle.read(settings.model), settings.provider)
    batcher = Batcher[Encoded, Prediction](
        classifier.predict,
        _MAX_BATCH_SIZE[classifier.provider],
        settings.max_waiting_texts,
        lambda encoded, seconds: metrics.observe_batch(encoded, seconds),
    )
    predict = dict.fromkeys(("/predict", "/predict/batch"), _PREDICT_STATUSES)
    health = dict.fromkeys(("/health", "/health/ready", "/health/startup", "/health/live"), _HEALTH_STATUSES)
    pages = dict.fromkeys(("/model", "/metrics", "/docs", "/openapi.json"), (200, 405))
    statuses = {**predict, **health, **pages, OTHER: (404,)}
    metrics = Metrics(classifier, dict(statuses), lambda: batcher.waiting)
    judge = Judge(settings, classifier, batcher, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        log = structlog.get_logger("ovation")
        log.info("ready", model=classifier.name, provider=classifier.provider)
        if settings.provider == "auto" and classifier.fallback:
            log.info("serving on the CPU", reason=classifier.fallback)
        judge.ready = True
        yield
        judge.ready = False
        await batcher.close()

    app = FastAPI(
        title="Ovation",
        version=service.__version__,
        description="Calibrated, explained, verified sentiment.",
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    app.include_router(predict_router(judge))
    app.include_router(operator_router(judge))
    for error in (*_HANDLED, Overloaded, Closed, TimeoutError):
        app.add_exception_handler(error, problems.answer)
    app.add_middleware(Edge, metrics=metrics, routes=frozenset(statuses) - {OTHER}, model=classifier.name)
    return app
