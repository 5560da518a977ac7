"""Every Prometheus series of the service; all of them are there from the start.

With several workers each writes its own into the files of prometheus_client's multiprocess mode, and whichever is
asked adds them up (shared_files.py): that mode is chosen when prometheus_client is imported.

What texts look like through the model (score, tokens, unknown share) is counted in the bins of the bundle's reference,
which is a series, too: deploy/prometheus/recording.yml compares the two.
"""

import contextlib
import math
import os
import re
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service import cgroup
from service.engine.batcher import Ran
from service.engine.engine import Answers
from service.model import bundle
from service.model.classifier import Classifier
from service.telemetry import shared_files

# Each twice the one before, from 50 us to 13 s: a review takes about a millisecond, and the usual first bucket is 5 ms.
_SECONDS = tuple(50e-6 * 2**power for power in range(19))
_TOKENS = tuple(2**power for power in range(1, 17))
_ROWS = tuple(2**power for power in range(8))
_SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
_SCORES = tuple(step / 20 for step in range(1, 21))

OTHER = "other"  # the route of all paths that are none
# Why a request that needed a key was refused: it had none, one that is not known, or one of a caller under /admin.
KEY_REFUSALS = ("none", "unknown", "forbidden")
KEY_KINDS = ("callers", "admins")
NO_PROTOCOL = "none"  # the protocol of routes that take no texts
# Why the service ends a connection: a head or the rest of a body is late, an answer is not taken, the body is
# malformed, another connection or answer needs the room, or there is no room for it.
CONNECTION_ENDS = ("late_head", "late_body", "unread", "malformed", "room", "refused")

# Kinds of problem that a line of a stream may have, and (invalid) a text of a batch with `on_error: item`. The status
# of the request is 200.
ITEM_PROBLEMS = (
    "malformed", "slow_body", "body_too_large", "invalid", "no_evidence", "overloaded", "internal", "not_ready",
    "timeout",
)  # fmt: skip


class _Histogram(Histogram):
    """prometheus_client's, which can also take many values at once, for a fraction of the time."""

    def observe_all(self, values: Sequence[float]) -> None:
        """`observe` of each of `values`."""
        self._raise_if_not_observable()  # type: ignore[no-untyped-call]
        self._sum.inc(sum(values))
        # A bucket holds what is not above its bound.
        for bucket, count in Tally([bisect_left(self._upper_bounds, value) for value in values]).items():
            self._buckets[bucket].inc(count)


_LOOKS = 10  # at the files of all workers, while they change their names


class Metrics:
    """The series, in a registry of their own, so that several apps live in one process.

    The bins of what texts look like are those of the reference of `classifier`. With `exemplars` OpenMetrics is given
    to a scraper that accepts it. `workers` is how many processes there are.
    """

    def __init__(self, classifier: Classifier, exemplars: bool = False, workers: int = 1) -> None:
        self._exemplars = exemplars
        self._folder = os.environ.get(shared_files.VARIABLE)
        self.registry = registry = CollectorRegistry()
        if not self._folder:  # with several workers they would describe only the one that is asked
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)
            GCCollector(registry=registry)

        def seconds(name: str, text: str, labels: Sequence[str] = ()) -> _Histogram:
            return _Histogram(f"ovation_{name}_seconds", text, labels, buckets=_SECONDS, registry=registry)

        def counts(name: str, text: str, buckets: Sequence[float]) -> _Histogram:
            return _Histogram(f"ovation_{name}", text, buckets=buckets, registry=registry)

        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"ovation_{name}", text, labels, registry=registry)

        def gauge(
            name: str, text: str, labels: Sequence[str] = (), mode: Literal["max", "livemax", "livesum"] = "max"
        ) -> Gauge:
            return Gauge(f"ovation_{name}", text, labels, registry=registry, multiprocess_mode=mode)

        reference = classifier.manifest.reference
        self._reference = _Reference(classifier.name, reference)
        registry.register(self._reference)

        def of_texts(name: str, text: str, of: str, otherwise: Sequence[float]) -> _Histogram:
            buckets = otherwise if reference is None else _ends(of, getattr(reference, of))
            histogram = _Histogram(f"ovation_{name}", text, ("model",), buckets=buckets, registry=registry)
            histogram.labels(classifier.name)
            return histogram

        self._requests = counter("requests", "Requests answered.", ("route", "protocol", "status"))
        self._request_seconds = seconds(
            "request", "From a request's first byte to its answer's last.", ("route", "protocol")
        )
        self._shed = counter("requests_shed", "Requests refused for lack of room or time before their body was read.")
        self._tokenize_seconds = seconds("tokenize", "Tokenizing of all the texts of a request.")
        self._queue_seconds = seconds("queue", "A text's wait for its batch.")
        self._compute_seconds = seconds("compute", "A batch in onnxruntime.")
        self._batch_rows = counts("batch_rows", "Texts a batch.", _ROWS)
        self._batch_tokens = counts("batch_tokens", "Tokens a batch, padding included.", _TOKENS)
        self._padding = counts("batch_padding_ratio", "Share of a batch that is padding.", _SHARES)
        self._text_tokens = of_texts("text_tokens", "Tokens a text, those cut away included.", "tokens", _TOKENS)
        self._unknown_share = of_texts(
            "text_unknown_share", "Share of a text's tokens that are unknown.", "unknown_share", _SHARES
        )
        self._score = of_texts("score", "Probability of the label answered.", "score", _SCORES)
        predictions = counter("predictions", "Texts predicted.", ("label",))
        self._stream_lines = counter("stream_lines", "Lines of streams, answered or failed.")
        failed = counter("failed_items", "Lines of streams, and texts of batches, that failed alone.", ("error_type",))
        self._sentences = counter("sentences", "Sentences predicted; no other series of predictions counts them.")
        self._uncertain = counter("predictions_uncertain", "Texts flagged uncertain.")
        self._truncated = counter("texts_truncated", "Texts cut to the model's length.")
        dropped = counter("texts_dropped", "Texts that left the queue before they were run.", ("reason",))
        self._log_lines_lost = counter("log_lines_lost", "Log lines that could not be written.")
        self._key_requests = counter("key_requests", "Requests that came with a key.", ("key",))
        self._key_limited = counter(
            "key_requests_limited", "Of them, those refused since its tokens were spent.", ("key",)
        )
        self._key_tokens = counter("key_tokens", "Tokens of the texts that came with a key.", ("key",))
        refused = counter("key_refusals", "Requests refused for want of a key.", ("reason",))
        self._key_file_broken = gauge(
            "key_file_broken", "1 where a file of keys cannot be read: those before stay.", ("kind",), "livemax"
        )
        self._waiting = gauge("waiting_texts", "Texts that no batch has taken yet.", mode="livesum")
        self._connections = gauge("connections", "Connections open.", mode="livesum")
        ended = counter("connections_ended", "Connections that the service ended by itself.", ("reason",))
        self._model_info = gauge(
            "model_info", "1 for the bundle being served, 0 for those before.", ("name", "provider"), "livemax"
        )
        self._model_info.labels(classifier.name, classifier.provider).set(1)
        self._change_failed = gauge(
            "model_change_failed", "1 where the last change of the model failed: the one before stays.", (), "livemax"
        )
        shadow = counter("shadow_texts", "Texts that the model in the shadow answered or left out.", ("result",))
        self._shadow_apart = counts(
            "shadow_score_difference", "Difference of both models in the probability of the label answered.", _SHARES
        )
        gauge(
            "metrics_alone", "1 where a worker tells its own series alone: its files found no room.", (), "livemax"
        ).set(workers > 1 and not self._folder)
        gauge("provider_fallback", "1 where CUDA was looked for and not found.").set(classifier.fallback is not None)
        gauge("memory_limit_bytes", "What the cgroup allows; +Inf without a limit.").set(cgroup.memory_bytes())
        # Every child is made at the start: a series that appears with its first event has no rate for it.
        self._routes: dict[str, _Histogram] = {}
        self._protocols: dict[str, str] = {}
        self._patterns: list[tuple[re.Pattern[str], str]] = []
        # 200: a preflight is answered on any path. 401: so is a request without a key, where there are keys.
        self.add_routes({OTHER: (200, 400, 401, 403, 404, 408, 421, 429, 431, 501, 505)})
        self._connections_ended = {reason: ended.labels(reason) for reason in CONNECTION_ENDS}
        for kind in KEY_KINDS:
            self._key_file_broken.labels(kind).set(0)
        self._key_refusals = {reason: refused.labels(reason) for reason in KEY_REFUSALS}
        self._failed_items = {kind: failed.labels(kind) for kind in ITEM_PROBLEMS}
        self._shadow = {result: shadow.labels(result) for result in ("agreed", "disagreed", "passed_over")}
        self._of_labels = predictions
        self._predictions = {label: predictions.labels(label) for label in classifier.manifest.labels}
        self._dropped = {reason: dropped.labels(reason) for reason in ("cancelled", "late", "failed")}
        self._batches: list[Ran] = []
        if self._folder:
            shared_files.remove_gauges_of_ended(Path(self._folder))

    def serve(self, classifier: Classifier, before: Classifier) -> None:
        """`classifier` is served from now on, in the place of `before`.

        The histograms keep their bins, since series cannot change them: drift of a model with other bins is told only
        after a restart.
        """
        self._model_info.labels(before.name, before.provider).set(0)
        self._model_info.labels(classifier.name, classifier.provider).set(1)
        for histogram in (self._text_tokens, self._unknown_share, self._score):
            histogram.labels(classifier.name)
        for label in classifier.manifest.labels:
            self._predictions[label] = self._of_labels.labels(label)
        self._reference.add(classifier.name, classifier.manifest.reference)

    def observe_change(self, succeeded: bool) -> None:
        """An order to change the model was carried out or not."""
        self._change_failed.set(not succeeded)

    def observe_shadow(self, result: str, texts: int, apart: float | None = None) -> None:
        """Texts that the model in the shadow answered, and how far `apart` the probabilities were, or left out."""
        self._shadow[result].inc(texts)
        if apart is not None:
            self._shadow_apart.observe(apart)

    def add_routes(self, statuses: Mapping[str, Iterable[int]], protocol: str = NO_PROTOCOL) -> None:
        """Makes the series of these routes, with the statuses that each may answer. `protocol` names the wire by which
        texts come; a route may have parameters, each a part of a path: `/v2/models/{model}`."""
        for route, codes in statuses.items():
            self._routes[route] = self._request_seconds.labels(route, protocol)
            self._protocols[route] = protocol
            if "{" in route:
                self._patterns.append((re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route))), route))
            for code in codes:
                self._requests.labels(route, protocol, code)

    def route(self, path: str) -> str:
        """The route that a path is counted under."""
        if path in self._routes:
            return path
        return next((route for pattern, route in self._patterns if pattern.fullmatch(path)), OTHER)

    def observe_requests(self, route: str, status: int, seconds: Sequence[float]) -> None:
        """Requests to one route that ended alike, whatever came of them."""
        self._requests.labels(route, self._protocols[route], status).inc(len(seconds))
        self._routes[route].observe_all(seconds)

    def observe_traced(self, route: str, status: int, seconds: float, trace: dict[str, str]) -> None:
        """One request, and the ids of its trace as an exemplar (one process of several keeps none)."""
        self._requests.labels(route, self._protocols[route], status).inc()
        self._routes[route].observe(seconds, trace)

    def observe_shed(self) -> None:
        """One request that was refused for lack of room or time before its body was read."""
        self._shed.inc()

    def observe_lines(self, lines: int, failed: Sequence[str]) -> None:
        """So many lines of a stream, and for each of them that failed, which of ITEM_PROBLEMS it has."""
        self._stream_lines.inc(lines)
        for kind, count in Tally(failed).items():
            self._failed_items[kind].inc(count)

    def add_keys(self, kind: str, names: Iterable[str], is_broken: bool) -> None:
        """Makes the series of the keys of a kind; `is_broken` tells that their file cannot be read."""
        for name in names:
            for family in (self._key_requests, self._key_limited, self._key_tokens):
                family.labels(name)
        self._key_file_broken.labels(kind).set(is_broken)

    def observe_key_refused(self, reason: str) -> None:
        """One request that was refused for one of KEY_REFUSALS."""
        self._key_refusals[reason].inc()

    def observe_key_limited(self, name: str) -> None:
        """One request that was refused since the tokens of its key were spent."""
        self._key_limited.labels(name).inc()

    def observe_keys(self, names: Sequence[str], tokens: Mapping[str, int]) -> None:
        """Requests by the `names` of their keys, and tokens taken, by name."""
        for name, count in Tally(names).items():
            self._key_requests.labels(name).inc(count)
        for name, count in tokens.items():
            self._key_tokens.labels(name).inc(count)

    def observe_connections(self, count: int) -> None:
        """How many connections are open now."""
        self._connections.set(count)

    def observe_connection_ended(self, reason: str) -> None:
        """The service ended a connection, for one of CONNECTION_ENDS."""
        self._connections_ended[reason].inc()

    def observe_log_lines_lost(self, lines: int) -> None:
        """Lines that the log has lost; any thread may call this."""
        self._log_lines_lost.inc(lines)

    def observe_waiting(self, texts: int) -> None:
        """How many texts wait now."""
        self._waiting.set(texts)

    def observe_dropped(self, reason: str, texts: int) -> None:
        """Texts that were not run; the engine's Observer says what each `reason` means."""
        self._dropped[reason].inc(texts)

    def observe_batch(self, ran: Ran) -> None:
        """One batch that ended; unless all of it failed, it is counted with others by `count_batches`."""
        self._waiting.set(ran.waiting)
        if ran.failed < len(ran.tokens):
            self._batches.append(ran)

    def count_batches(self) -> None:
        """Counts what `observe_batch` was told of, as `render` does as well."""
        batches, self._batches = self._batches, []
        if not batches:
            return
        cells = [max(ran.tokens) * len(ran.tokens) for ran in batches]
        self._batch_rows.observe_all([len(ran.tokens) for ran in batches])
        self._batch_tokens.observe_all(cells)
        self._padding.observe_all([1 - sum(ran.tokens) / size for ran, size in zip(batches, cells, strict=True)])
        self._compute_seconds.observe_all([ran.ended - ran.began for ran in batches])

    def observe_tokenized(self, seconds: float) -> None:
        """The texts of one request."""
        self._tokenize_seconds.observe(seconds)

    def observe_answers(self, answers: Sequence[Answers]) -> None:
        """The answers to some requests. What sentences look like is not counted: the reference is of whole texts."""
        if not answers:
            return
        predictions = [prediction for one in answers for prediction in one.predictions]
        self._queue_seconds.observe_all([seconds for one in answers for seconds in one.timings.queue])
        for model in {one.model for one in answers}:
            of_model = [prediction for one in answers if one.model == model for prediction in one.predictions]
            self._text_tokens.labels(model).observe_all([prediction.tokens for prediction in of_model])
            self._unknown_share.labels(model).observe_all([prediction.unknown_share for prediction in of_model])
            self._score.labels(model).observe_all([prediction.score for prediction in of_model])
        for label, count in Tally([prediction.label for prediction in predictions]).items():
            self._predictions[label].inc(count)
        self._failed_items["invalid"].inc(sum([len(one.failed) for one in answers]))
        self._sentences.inc(sum([len(prediction.sentences or ()) for prediction in predictions]))
        self._uncertain.inc(sum([prediction.uncertain for prediction in predictions]))
        self._truncated.inc(sum([prediction.truncated for prediction in predictions]))

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Prometheus' text, or OpenMetrics, which alone has exemplars, where `accept` names it; and its media type."""
        self.count_batches()
        for _ in range(_LOOKS):
            # A worker that starts renames the files of one that has ended.
            with contextlib.suppress(FileNotFoundError):
                return self._render(accept)
        return self._render(accept)

    def _render(self, accept: str) -> tuple[bytes, str]:
        registry = self.registry
        if self._folder:
            shared_files.remove_gauges_of_ended(Path(self._folder))
            registry = CollectorRegistry()
            registry.register(self._reference)
            registry.register(_Workers(Path(self._folder)))
            MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
        if self._exemplars and "application/openmetrics-text" in accept:
            return openmetrics.generate_latest(registry), openmetrics.CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST


class _Reference(Collector):
    """How validation looked through the model, as shares of bins; the same in every worker, so nothing is added up."""

    def __init__(self, model: str, reference: bundle.Reference | None) -> None:
        self._edges = None if reference is None else _edges(reference)
        self._models = set[str]()
        self._family = GaugeMetricFamily(
            "ovation_reference_ratio",
            "Share of the validation texts in a bin: those of its histogram that are above < x <= up_to.",
            labels=("model", "of", "bin", "above", "up_to"),
        )
        self.add(model, reference)

    def add(self, model: str, reference: bundle.Reference | None) -> None:
        """Adds the reference of another model, where it has the bins that the series were made with."""
        if model in self._models or reference is None or _edges(reference) != self._edges:
            return
        self._models.add(model)
        for of, histogram in reference:
            ends = ["-Inf", *map(floatToGoString, _ends(of, histogram)), "+Inf"]
            for edge, above, up_to, count in zip(histogram.edges, ends, ends[1:], histogram.counts, strict=False):
                self._family.add_metric((model, of, f"{edge:g}", above, up_to), count / sum(histogram.counts))

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client."""
        yield self._family


def _edges(reference: bundle.Reference) -> list[tuple[float, ...]]:
    return [histogram.edges for _, histogram in reference]


def _ends(of: str, histogram: bundle.Histogram) -> list[float]:
    """Upper bounds of all bins but the last: Prometheus counts x <= bound, the reference x < edge."""
    inner = histogram.edges[1:-1]
    return [edge - 1 for edge in inner] if of == "tokens" else [math.nextafter(edge, -math.inf) for edge in inner]


class _Workers(Collector):
    """What prometheus_client tells of its own process, for all workers: memory added up, the start of the youngest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client."""
        by_name = dict[str, list[Metric]]()
        for path in self._folder.glob("counter_*.db"):
            pid = path.stem.rpartition("_")[2]
            for family in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                by_name.setdefault(family.name, []).append(family)
        for name, together in (("process_resident_memory_bytes", sum), ("process_start_time_seconds", max)):
            if families := by_name.get(name):
                help_text = families[0].documentation
                yield GaugeMetricFamily(name, help_text, together(family.samples[0].value for family in families))
