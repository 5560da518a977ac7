"""OpenTelemetry: a span for each sampled request, with its parts inside, and one for each batch that ran one.

The one module that imports it, and imported only where tracing is asked for. Spans carry times and counts, and nothing
of what a caller wrote: neither texts nor query nor headers. Batches are sent by a thread of the SDK's, from a bounded
queue; the endpoint and the rest are OpenTelemetry's own OTEL_EXPORTER_OTLP_* and OTEL_BSP_* variables.
"""

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import random
from time import monotonic, perf_counter, perf_counter_ns, time_ns

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import service
from service.engine.batcher import Ran

FLUSH_SECONDS = 2.0  # what the last spans get to reach the collector when the service ends
_COMPLAINT_SECONDS = 60.0  # of a collector that fails, each kind of line is logged at most this often
_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))


@dataclass(slots=True, eq=False)
class Trace:
    """A request that is sampled; times are perf_counter seconds."""

    span: Span
    clock_ns: int  # what to add to a perf_counter time for one since 1970
    texts: int = 0
    tokenize_seconds: float = 0.0
    admitted: float | None = None
    batches: list[tuple[float, float]] = field(default_factory=list)  # those that ran its texts: began, ended

    @property
    def ids(self) -> dict[str, str]:
        """As log lines and exemplars name the span."""
        context = self.span.get_span_context()
        return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}

    def unix_ns(self, seconds: float) -> int:
        """A perf_counter time as OpenTelemetry wants it."""
        return self.clock_ns + int(seconds * 1e9)


class Tracing:
    """Samples as the caller did where `traceparent` says so, else the share `ratio`."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        named = Resource({"service.name": "ovation", "service.version": service.__version__})
        # Who is sampled is decided in `begin`, where a "no" costs next to nothing.
        self._provider = TracerProvider(ALWAYS_ON, named.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("ovation", service.__version__)
        self._propagator = TraceContextTextMapPropagator()
        logging.getLogger(OTLPSpanExporter.__module__).addFilter(_Rarely())

    def begin(self, method: str, route: str, scheme: str, headers: Mapping[bytes, bytes], began: float) -> Trace | None:
        """The trace of a request that came at `began` (perf_counter seconds); None where it is not sampled."""
        parent = Context()
        if b"traceparent" in headers:
            names = ("traceparent", "tracestate")
            carrier = {name: headers[name.encode()].decode("latin-1") for name in names if name.encode() in headers}
            parent = self._propagator.extract(carrier, parent)
        caller = get_current_span(parent).get_span_context()
        if not (caller.trace_flags.sampled if caller.is_valid else random() < self._ratio):
            return None
        known = method in _METHODS
        clock_ns = time_ns() - perf_counter_ns()
        span = self._tracer.start_span(
            f"{method if known else 'HTTP'} {route}",
            parent,
            SpanKind.SERVER,
            {
                "http.request.method": method if known else "_OTHER",
                "http.route": route,
                "url.path": route,  # in place of the path, whose parameters a caller writes
                "url.scheme": scheme,
            },
            start_time=clock_ns + int(began * 1e9),
        )
        return Trace(span, clock_ns) if span.is_recording() else None

    def end(self, trace: Trace, ended: float, status: int, tokens: int | None, model: str) -> None:
        """Ends the request's span and those of its parts, as far as it came."""
        inside = set_span_in_context(trace.span, Context())

        def part(name: str, began: float, ended: float) -> None:
            span = self._tracer.start_span(name, inside, start_time=trace.unix_ns(began))
            span.end(trace.unix_ns(ended))

        if trace.admitted is not None:
            part("tokenize", trace.admitted - trace.tokenize_seconds, trace.admitted)
            # Of several texts: until the last of their batches began, and from the first's beginning on.
            part("queue", trace.admitted, max((began for began, _ in trace.batches), default=ended))
            if trace.batches:
                part("compute", min(began for began, _ in trace.batches), max(ended for _, ended in trace.batches))
        attributes: dict[str, str | int] = {"http.response.status_code": status, "ovation.model": model}
        if tokens is not None:
            attributes |= {"ovation.tokens": tokens, "ovation.texts": trace.texts}
        if status >= 500:
            attributes["error.type"] = str(status)
            trace.span.set_status(Status(StatusCode.ERROR))
        trace.span.set_attributes(attributes)
        trace.span.end(trace.unix_ns(ended))

    def batch(self, traces: Sequence[Trace], ran: Ran, model: str) -> None:
        """A batch that ended, some texts of which are of the requests in `traces`."""
        for trace in traces:
            trace.batches.append((ran.began, ran.ended))
        span = self._tracer.start_span(
            "batch",
            Context(),
            attributes={"ovation.texts": len(ran.tokens), "ovation.tokens": sum(ran.tokens), "ovation.model": model},
            links=[Link(trace.span.get_span_context()) for trace in traces],
            start_time=traces[0].unix_ns(ran.began),
        )
        if ran.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(traces[0].unix_ns(ran.ended))

    async def close(self) -> None:
        """Sends what is left, for at most FLUSH_SECONDS; a thread that still tries is left behind."""
        thread = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        thread.start()
        end = perf_counter() + FLUSH_SECONDS
        while thread.is_alive() and perf_counter() < end:
            await asyncio.sleep(0.005)
        if thread.is_alive():
            structlog.get_logger("ovation").warning("the last spans were lost", seconds=FLUSH_SECONDS)


class _Rarely(logging.Filter):
    """Lets each message through once in a while, whatever its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()  # the SDK's thread and that of the last spans may fail at once

    def filter(self, record: logging.LogRecord) -> bool:
        with self._lock:
            if (now := monotonic()) - self._told.get(record.msg, -_COMPLAINT_SECONDS) < _COMPLAINT_SECONDS:
                return False
            self._told[record.msg] = now
            return True
