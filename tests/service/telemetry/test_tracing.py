"""Spans, as a collector receives them; and that who does not ask for them pays nothing."""

import asyncio
import json
import logging
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.load.collector import Collector, collecting
from service.model.classifier import Classifier
from tests.service.test_server import run_service
from tests.support.server import Held, client_of, make_app, serving

pytestmark = pytest.mark.anyio
SEKRET = "Sekret words that nobody may see."
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield found


def plain(attributes: Any) -> dict[str, Any]:
    def value(pair: KeyValue) -> Any:
        return getattr(pair.value, str(pair.value.WhichOneof("value")))

    return {pair.key: value(pair) for pair in attributes}


def named(collector: Collector, name: str) -> list[Span]:
    return [span for span in collector.spans() if span.name == name]


async def test_a_request_and_its_parts(collector: Collector, tiny_classifier: Classifier) -> None:
    async with client_of(make_app(tiny_classifier, tracing="otlp", trace_ratio=1)) as client:
        headers = {"X-Sekret": "sekret", "User-Agent": "sekret"}
        answer = await client.post("/predict?sekret=1", json={"text": SEKRET}, headers=headers)
        assert answer.status_code == 200
        await client.get("/health/live")  # probes are no requests to trace
    [span] = named(collector, "POST /predict")
    assert (span.kind, span.parent_span_id) == (Span.SPAN_KIND_SERVER, b"")
    assert plain(span.attributes) == {
        "http.request.method": "POST",
        "http.route": "/predict",
        "url.path": "/predict",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "ovation.tokens": answer.json()["tokens"],
        "ovation.texts": 1,
        "ovation.model": tiny_classifier.name,
    }
    parts = [named(collector, name)[0] for name in ("tokenize", "queue", "compute")]
    assert len(collector.spans()) == 5  # and the batch
    assert {(part.trace_id, part.parent_span_id) for part in parts} == {(span.trace_id, span.span_id)}
    tokenize, queue, compute = parts
    order = [
        span.start_time_unix_nano, tokenize.start_time_unix_nano, tokenize.end_time_unix_nano,
        queue.start_time_unix_nano, queue.end_time_unix_nano, compute.start_time_unix_nano,
        compute.end_time_unix_nano, span.end_time_unix_nano,
    ]  # fmt: skip
    assert order == sorted(order)
    told = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    for part in parts:
        milliseconds = (part.end_time_unix_nano - part.start_time_unix_nano) / 1e6
        assert milliseconds == pytest.approx(float(told[part.name]), abs=0.1)
    [batch] = named(collector, "batch")
    assert [(link.trace_id, link.span_id) for link in batch.links] == [(span.trace_id, span.span_id)]
    assert not any(b"sekret" in body.lower() for body in collector.received)
    [resource] = collector.requests()[0].resource_spans
    assert plain(resource.resource.attributes)["service.name"] == "ovation"


async def test_a_batch_links_to_the_sampled_among_its_requests(
    collector: Collector, tiny_classifier: Classifier
) -> None:
    held = Held(tiny_classifier)
    unsampled = CALLER[:-2] + "00"
    async with client_of(make_app(held, tracing="otlp", trace_ratio=0)) as client:

        def ask(headers: dict[str, str], texts: list[str]) -> "asyncio.Task[httpx.Response]":
            return asyncio.create_task(client.post("/predict/batch", json={"texts": texts}, headers=headers))

        first = ask({}, ["good"])
        await asyncio.to_thread(held.entered.acquire)
        # These three wait together behind the first, and are of one length.
        waiting = [ask({"traceparent": CALLER}, ["bad", "dull"]), ask({"traceparent": unsampled}, ["fine"])]
        while b"ovation_waiting_texts 3.0" not in (await client.get("/metrics")).content:
            await asyncio.sleep(0)
        held.gate.set()
        assert [(await task).status_code for task in (first, *waiting)] == [200, 200, 200]
    [span] = named(collector, "POST /predict/batch")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == tuple(CALLER.split("-")[1:3])
    assert plain(span.attributes)["ovation.texts"] == 2
    batches = named(collector, "batch")
    assert batches
    assert sum(plain(batch.attributes)["ovation.texts"] for batch in batches) in (2, 3)
    for batch in batches:
        assert [(link.trace_id, link.span_id) for link in batch.links] == [(span.trace_id, span.span_id)]
    [compute] = named(collector, "compute")
    assert compute.start_time_unix_nano == min(batch.start_time_unix_nano for batch in batches)
    assert compute.end_time_unix_nano == max(batch.end_time_unix_nano for batch in batches)


async def test_what_fails_says_so(collector: Collector, tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    held.gate.set()
    held.error = RuntimeError("sekret")
    async with client_of(make_app(held, tracing="otlp", trace_ratio=1)) as client:
        assert (await client.post("/predict", json={"text": "good"})).status_code == 500
        assert (await client.post("/predict", json={"text": " "})).status_code == 422
        held.error = None
        held.gate.clear()
        slow = {"X-Request-Timeout-Ms": "50"}
        assert (await client.post("/predict", json={"text": "good"}, headers=slow)).status_code == 504
        held.gate.set()
        assert (await client.get("/predict")).status_code == 405
        assert (await client.request("BREW", "/predict")).status_code == 405
    spans = {plain(span.attributes)["http.response.status_code"]: span for span in named(collector, "POST /predict")}
    assert {code: span.status.code for code, span in spans.items()} == {
        500: Status.STATUS_CODE_ERROR,
        422: Status.STATUS_CODE_UNSET,
        504: Status.STATUS_CODE_ERROR,
    }
    assert plain(spans[504].attributes)["error.type"] == "504"
    assert "ovation.tokens" not in plain(spans[422].attributes)
    assert Status.STATUS_CODE_ERROR in {batch.status.code for batch in named(collector, "batch")}
    assert len(named(collector, "GET /predict")) == 1
    [brew] = named(collector, "HTTP /predict")
    assert plain(brew.attributes)["http.request.method"] == "_OTHER"
    assert not any(b"sekret" in body.lower() for body in collector.received)


@pytest.mark.parametrize(("ratio", "least", "most"), [(0, 0, 0), (0.5, 20, 80), (1, 100, 100)])
async def test_the_share_sampled(
    collector: Collector, tiny_classifier: Classifier, ratio: float, least: int, most: int
) -> None:
    async with client_of(make_app(tiny_classifier, tracing="otlp", trace_ratio=ratio)) as client:
        for header in ("", "nonsense", CALLER.replace("-b7", "-zz")):  # what is no context counts as none
            headers = {"traceparent": header} if header else {}
            for _ in range(100 if not header else ratio in (0, 1)):
                assert (await client.post("/predict", json={"text": "good"}, headers=headers)).status_code == 200
    count = len(named(collector, "POST /predict"))
    assert least <= count <= most + 2


async def test_exemplars_stand_in_openmetrics_only(collector: Collector, tiny_classifier: Classifier) -> None:
    async with client_of(make_app(tiny_classifier, tracing="otlp", trace_ratio=0)) as client:
        assert (await client.post("/predict", json={"text": "good"}, headers={"traceparent": CALLER})).is_success
        usual = await client.get("/metrics")
        asked = await client.get("/metrics", headers=OPENMETRICS)
    assert usual.headers["content-type"].startswith("text/plain; version=1.0.0")
    assert "trace_id" not in usual.text
    assert list(text_string_to_metric_families(usual.text))
    assert asked.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    samples = [sample for family in openmetrics_families(asked.text) for sample in family.samples]  # type: ignore[no-untyped-call]
    exemplars = [(sample.name, sample.labels["route"], sample.exemplar.labels) for sample in samples if sample.exemplar]
    [span] = named(collector, "POST /predict")
    ids = {"trace_id": CALLER.split("-")[1], "span_id": span.span_id.hex()}
    assert exemplars == [("ovation_request_seconds_bucket", "/predict", ids)]


def test_the_command_line_traces_and_its_log_names_the_trace(collector: Collector, tiny_bundle_path: Path) -> None:
    variables = {"MODEL": str(tiny_bundle_path), "PORT": "0", "TRACING": "otlp", "TRACE_RATIO": "0"}
    process = run_service(
        "serve", **{f"OVATION_{name}": value for name, value in variables.items()}, OTEL_SERVICE_NAME="mine"
    )
    assert process.stdout is not None
    match = None
    for line in process.stdout:
        if match := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            break
    assert match
    for headers in ({"traceparent": CALLER}, {}):
        httpx.post(f"http://127.0.0.1:{match[1]}/predict", json={"text": SEKRET}, headers=headers, timeout=30)
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=60)
    lines = [json.loads(line) for line in out.splitlines()]
    traced, other = [line for line in lines if line["event"] == "request"]
    assert traced["trace_id"] == CALLER.split("-")[1]
    assert "trace_id" not in other
    [span] = named(collector, "POST /predict")  # sent before the process ended
    assert traced["span_id"] == span.span_id.hex()
    assert process.returncode == 0
    assert "sekret" not in (out + errors).lower()
    [resource] = collector.requests()[0].resource_spans
    assert plain(resource.resource.attributes)["service.name"] == "mine"


async def test_a_collector_that_is_not_there_harms_nobody(
    tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It takes connections and never answers: worse than one that refuses them.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        monkeypatch.setattr("service.telemetry.tracing.FLUSH_SECONDS", 0.2)
        with serving(make_app(tiny_classifier, tracing="otlp", trace_ratio=1)) as url, httpx.Client() as client:
            for _ in range(50):
                assert client.post(f"{url}/predict", json={"text": "good"}, timeout=0.9).status_code == 200


def test_complaints_about_a_collector_are_few(
    tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as refused:
        port = refused.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")  # no time to try again: each export fails at once
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
    monkeypatch.setattr(logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter"), "filters", [])
    others = {thread.ident for thread in threading.enumerate()}  # exporters of earlier tests may still complain
    app = make_app(tiny_classifier, tracing="otlp", trace_ratio=1)
    with caplog.at_level(logging.WARNING), serving(app) as url, httpx.Client() as client:
        for _ in range(200):
            client.post(f"{url}/predict", json={"text": "good"})
    failures = [record for record in caplog.records if record.name.startswith("opentelemetry.exporter")]
    assert failures
    ours = [record.msg for record in failures if record.thread not in others]
    assert len(set(ours)) == len(ours)


def test_off_means_that_it_is_not_loaded(tiny_bundle_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom service.app import create_app\n"
        "from service.settings import Settings\n"
        f"create_app(Settings(model=Path({str(tiny_bundle_path)!r}), provider='cpu'))\n"
        "# FastAPI itself loads the API\n"
        "ours = ('opentelemetry.sdk', 'opentelemetry.exporter', 'service.telemetry.tracing')\n"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_the_extra_the_start_says_what_to_do(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom importlib import util\nfind = util.find_spec\n"
        "util.find_spec = lambda name: None if name == 'opentelemetry.sdk' else find(name)\n"
        "from service.__main__ import main\nmain(['serve'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"OVATION_TRACING": "otlp"}, check=False
    )
    assert done.returncode == 1
    assert "OVATION_TRACING: " in done.stderr
    assert "pip install -r requirements/tracing.txt" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan"])
def test_a_share_is_from_0_to_1(value: str) -> None:
    process = run_service("serve", OVATION_TRACE_RATIO=value)
    assert "OVATION_TRACE_RATIO: " in process.communicate(timeout=60)[1]
    assert process.returncode == 1
