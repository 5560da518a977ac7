"""One record a request, from its head to its series and its line in the log."""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

from service.engine.allowance import Allowance
from service.engine.batcher import Ran
from service.engine.engine import Answers
from service.telemetry import logs
from service.telemetry.metrics import OTHER, Metrics

if TYPE_CHECKING:
    from service.telemetry.tracing import Trace, Tracing

# Requests are counted and logged some at a time: after the first, the code and data for it are in the cache.
_FLUSH_SECONDS = 0.02
OVERLOADED = 429
CALLER_LEFT = 499  # nginx's status for a caller who left before an answer began


@dataclass(slots=True, eq=False)
class RequestRecord:
    """What is known of a request; times are perf_counter seconds."""

    method: str
    path: str
    request_id: str
    began: float
    model: str | None = None  # the one that answered, or that was served when the request came
    route: str = OTHER  # what the path is counted under
    own_id: bool = False  # the caller's X-Request-ID
    allowance: Allowance | None = None  # of the key that the request came with, where its route needs one
    charged: int = 0  # tokens that were taken from it
    deadline: float = math.inf
    tokens: int | None = None  # of all its texts and their sentences, as far as they were tokenized
    answers: Answers | None = None
    lines: Mapping[str, int] = field(default_factory=dict)  # of a stream: how many, answered, failed
    trace: "Trace | None" = None
    status: int = 0  # 0: no answer has begun
    ended: float = 0.0

    @property
    def instance(self) -> str | None:
        """The request's route, for the body of a problem; None where the path is the caller's invention."""
        return None if self.route == OTHER else self.route

    @property
    def made_id(self) -> str | None:
        """The request's id, for the body of a problem; None where it is the caller's own."""
        return None if self.own_id else self.request_id

    @classmethod
    def of(cls, scope: Mapping[str, Any]) -> "RequestRecord":
        """The record that the edge put into an ASGI scope."""
        record: RequestRecord = scope["state"]["record"]
        return record


class RequestLog:
    """Counts, logs and traces requests; is the engine's observer."""

    def __init__(self, metrics: Metrics, tracing: "Tracing | None" = None) -> None:
        self.metrics = metrics
        self._tracing = tracing
        self._ended: list[RequestRecord] = []
        self._answered: list[Answers] = []  # to parts of requests
        self._charged = Counter[str]()  # tokens by the name of a key
        self._flush_is_due = False

    def begin(self, record: RequestRecord, headers: Mapping[bytes, bytes], scheme: str) -> None:
        """Starts the trace of a request, if it is to have one."""
        if self._tracing is not None:
            record.trace = self._tracing.begin(record.method, record.route, scheme, headers, record.began)

    def end(self, record: RequestRecord) -> None:
        """Schedules the counting and logging of a request: at most _FLUSH_SECONDS from now."""
        record.ended = perf_counter()
        record.status = record.status or CALLER_LEFT
        self.charge(record)
        self._ended.append(record)
        self._schedule()

    def answered(self, record: RequestRecord, answers: Answers) -> None:
        """Schedules the counting of some texts of a stream, whose record does not keep all its answers."""
        record.model, record.tokens = answers.model, (record.tokens or 0) + answers.tokens
        if record.trace is not None:
            record.trace.texts += len(answers.predictions)
        self._answered.append(answers)
        self.charge(record)
        self._schedule()

    def charge(self, record: RequestRecord) -> None:
        """Takes the tokens of a request from the allowance of its key, those that were not taken before.

        A request that the queue had no room for costs nothing.
        """
        if record.allowance is None or record.tokens is None or record.status == OVERLOADED:
            return
        tokens, record.charged = record.tokens - record.charged, record.tokens
        record.allowance.spend(tokens)
        self._charged[record.allowance.name] += tokens

    def _schedule(self) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Counts and logs the requests that have ended, and the answers that were given, since the last flush."""
        self._flush_is_due = False
        ended, self._ended = self._ended, []
        answered, self._answered = self._answered, []
        alike: dict[tuple[str, int], list[float]] = {}
        lines: list[dict[str, object]] = []
        for record in ended:
            route, seconds = record.route, record.ended - record.began
            line: dict[str, object] = {
                "request_id": record.request_id,
                "method": record.method,
                "route": route,
                "status": record.status,
                "seconds": round(seconds, 6),
                "tokens": record.tokens,
                "model": record.model,
                **record.lines,
            }
            if record.allowance is not None:
                line["key"] = record.allowance.name
            if record.answers is not None:
                timings = record.answers.timings
                line["queue_seconds"] = round(max(timings.queue, default=0.0), 6)
                line["tokenize_seconds"] = round(timings.tokenize, 6)
                line["compute_seconds"] = round(max(timings.compute, default=0.0), 6)
            if record.trace is not None and self._tracing is not None:
                line |= record.trace.ids
                self._tracing.end(record.trace, record.ended, record.status, record.tokens, record.model or "")
                self.metrics.observe_traced(route, record.status, seconds, record.trace.ids)
            else:
                alike.setdefault((route, record.status), []).append(seconds)
            lines.append(line)
        for (route, status), each in alike.items():
            self.metrics.observe_requests(route, status, each)
        names = [record.allowance.name for record in ended if record.allowance is not None]
        if names or self._charged:
            charged, self._charged = self._charged, Counter()
            self.metrics.observe_keys(names, charged)
        answered += [record.answers for record in ended if record.answers is not None]
        self.metrics.observe_answers(answered)
        self.metrics.count_batches()
        logs.info_all("request", lines)

    # What the engine reports. A tag is the record of the request; None for the texts of a stream, which `answered` adds
    # to its record, and for the probe's own text.

    def tokenized(self, tag: object, tokens: int, seconds: float) -> None:
        """The texts of a request were tokenized."""
        self.metrics.observe_tokenized(seconds)
        if isinstance(tag, RequestRecord):
            tag.tokens = tokens
            if tag.trace is not None:
                tag.trace.tokenize_seconds = seconds

    def admitted(self, tag: object, texts: int) -> None:
        """The texts of a request were put into the queue."""
        if isinstance(tag, RequestRecord) and tag.trace is not None:
            tag.trace.admitted, tag.trace.texts = perf_counter(), texts

    def batch(self, ran: Ran) -> None:
        """A batch ended."""
        self.metrics.observe_batch(ran)
        if self._tracing is not None:
            records = [tag for tag in ran.tags if isinstance(tag, RequestRecord)]
            traces = [record.trace for record in records if record.trace is not None]
            if traces:
                self._tracing.batch(traces, ran, records[0].model or "")

    def dropped(self, reason: str, texts: int) -> None:
        """Texts left the queue before a batch took them."""
        self.metrics.observe_dropped(reason, texts)
