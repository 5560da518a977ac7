"""Every Prometheus series of the service; all of them are there from the start."""

from collections.abc import Callable, Iterable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from service.classifier import Classifier, Prediction
from service.tokenizer import Encoded

# Twice the last from 50 us to 13 s: a review takes about a millisecond, and the usual first bucket is 5 ms.
_SECONDS = tuple(50e-6 * 2**power for power in range(19))
_TOKENS = tuple(2**power for power in range(1, 17))
_ROWS = tuple(2**power for power in range(8))
_SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
_SCORES = tuple(step / 20 for step in range(1, 21))

OTHER = "other"


class Metrics:
    """The series, in a registry of their own, so that several apps live in one process.

    `statuses` lists the statuses that each route may answer; `waiting` tells how many texts wait.
    """

    def __init__(self, classifier: Classifier, statuses: dict[str, Iterable[int]], waiting: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

        def seconds(name: str, text: str, labels: Sequence[str] = ()) -> Histogram:
            return Histogram(f"ovation_{name}_seconds", text, labels, buckets=_SECONDS, registry=registry)

        def counts(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"ovation_{name}", text, buckets=buckets, registry=registry)

        self._requests = Counter("ovation_requests", "Requests answered.", ("route", "status"), registry=registry)
        self._request_seconds = seconds("request", "From a request's first byte to its answer's last.", ("route",))
        self._tokenize_seconds = seconds("tokenize", "Tokenizing of all the texts of a request.")
        self._queue_seconds = seconds("queue", "A text's wait for its batch.")
        self._compute_seconds = seconds("compute", "A batch in onnxruntime.")
        self._batch_rows = counts("batch_rows", "Texts a batch.", _ROWS)
        self._batch_tokens = counts("batch_tokens", "Tokens a batch, padding included.", _TOKENS)
        self._padding = counts("batch_padding_ratio", "Share of a batch that is padding.", _SHARES)
        self._text_tokens = counts("text_tokens", "Tokens a text, those cut away included.", _TOKENS)
        self._unknown_share = counts("text_unknown_share", "Share of a text's tokens that are unknown.", _SHARES)
        self._score = counts("score", "Probability of the label answered.", _SCORES)
        self._predictions = Counter("ovation_predictions", "Texts judged.", ("label",), registry=registry)
        self._uncertain = Counter("ovation_predictions_uncertain", "Texts flagged uncertain.", registry=registry)
        self._truncated = Counter("ovation_texts_truncated", "Texts cut to the model's length.", registry=registry)
        Gauge("ovation_waiting_texts", "Texts that no batch has taken yet.", registry=registry).set_function(waiting)
        model = Gauge("ovation_model_info", "The bundle being served.", ("name", "provider"), registry=registry)
        model.labels(classifier.name, classifier.provider).set(1)
        fallback = Gauge("ovation_provider_fallback", "1 where CUDA was looked for and not found.", registry=registry)
        fallback.set(classifier.fallback is not None)
        for route, found in statuses.items():
            self._request_seconds.labels(route)
            for status in found:
                self._requests.labels(route, status)
        for label in classifier.manifest.labels:
            self._predictions.labels(label)

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """One request, whatever came of it."""
        self._requests.labels(route, status).inc()
        self._request_seconds.labels(route).observe(seconds)

    def observe_batch(self, encoded: Sequence[Encoded], compute_seconds: float) -> None:
        """One batch that was run."""
        lengths = [len(text.token_ids) for text in encoded]
        cells = max(lengths) * len(lengths)
        self._batch_rows.observe(len(lengths))
        self._batch_tokens.observe(cells)
        self._padding.observe(1 - sum(lengths) / cells)
        self._compute_seconds.observe(compute_seconds)

    def observe_tokenized(self, seconds: float) -> None:
        """The texts of one request."""
        self._tokenize_seconds.observe(seconds)

    def observe_prediction(self, prediction: Prediction, queue_seconds: float) -> None:
        """One answer."""
        self._queue_seconds.observe(queue_seconds)
        self._text_tokens.observe(prediction.tokens)
        self._unknown_share.observe(prediction.unknown_share)
        self._score.observe(prediction.score)
        self._predictions.labels(prediction.label).inc()
        self._uncertain.inc(prediction.uncertain)
        self._truncated.inc(prediction.truncated)

    def render(self) -> bytes:
        """The Prometheus text format."""
        return generate_latest(self.registry)
