"""What every answer has, by which names the service may be asked, and that no words of a caller come back out of it."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.http.keys import HEALTH_ROUTES
from service.model.classifier import Classifier
from tests.support.connection import Connection, head
from tests.support.faulty_service import RAISES
from tests.support.process import service
from tests.support.server import client_of, make_app, serving

pytestmark = pytest.mark.anyio

PATHS = ["/predict", "/predict/batch", "/predict/stream", "/hf", "/tei/predict", "/model", "/health", "/metrics", "/v2"]
PATHS += ["/openapi.json", "/v2/models/tiny/infer", "/nowhere"]
WORD = "Sekretwort"
KEY = "ovation_a-right-key"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def test_every_answer_is_what_it_says_and_is_not_kept(tiny_classifier: Classifier) -> None:
    async with client_of(make_app(tiny_classifier)) as client:
        for path in PATHS:
            for method in ("GET", "POST"):
                answer = await client.request(method, path, json={"text": "good", "inputs": "good"})
                assert answer.headers.get_list("x-content-type-options") == ["nosniff"], path
                assert answer.headers.get_list("cache-control") == ["no-store"], path


@pytest.mark.parametrize("host", ["a.example", "A.Example:8000", "localhost", "[::1]:80"])
async def test_names_that_are_listed_are_answered(tiny_classifier: Classifier, host: str) -> None:
    async with client_of(make_app(tiny_classifier, allowed_hosts="a.example, localhost,[::1]")) as client:
        assert (await client.post("/predict", json={"text": "good"}, headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["sekret.example", "a.example.sekret", "a.example:80:80", "", "[::2]", "a.example."])
async def test_other_names_are_refused_but_for_probes(tiny_classifier: Classifier, host: str) -> None:
    async with client_of(make_app(tiny_classifier, allowed_hosts="a.example")) as client:
        for path in (*PATHS, "/docs"):
            answer = await client.post(path, json={"text": "good"}, headers={"Host": host, "Origin": f"http://{host}"})
            if "/health" not in path:
                assert (answer.status_code, answer.json()["error_type"]) == (421, "unknown_host"), path
                assert "sekret" not in answer.text
        for path in ("/health", "/health/live", "/tei/health", "/v2/health/ready"):
            assert (await client.get(path, headers={"Host": host})).status_code == 200


async def test_openapi_tells_of_names_where_some_are_listed(tiny_classifier: Classifier) -> None:
    for hosts, told in (("*", False), ("test", True)):
        async with client_of(make_app(tiny_classifier, allowed_hosts=hosts)) as client:
            for path, operations in (await client.get("/openapi.json")).json()["paths"].items():
                for operation in operations.values():
                    assert ("421" in operation["responses"]) == (told and path not in HEALTH_ROUTES)


def test_a_proxys_words_are_passed_over(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier, allowed_hosts="test")) as url, Connection(url) as caller:
        for name in ("X-Forwarded-Host", "X-Forwarded-For", "X-Forwarded-Proto", "Forwarded"):
            caller.send(head(f"{name}: sekret"), b'{"text": "as good as it gets"}')
            assert caller.answer().status == 200


def said_by_a_caller() -> list[tuple[str, bytes, dict[str, str]]]:
    """Requests with WORD in every place that a caller can put it: path, body, and headers."""
    fails = f"{WORD} " * RAISES  # raises in the classifier
    bodies: list[tuple[str, Any]] = [
        *((path, {"text": text}) for path in ("/predict", "/predict/stream") for text in (WORD, fails, " ")),
        ("/predict", {"text": WORD, WORD: 1}),
        ("/predict", {"text": WORD, "offsets": WORD}),
        ("/predict/batch", {"texts": [WORD, fails]}),
        ("/predict/batch", {"texts": [WORD, " "]}),
        ("/predict/batch", {"texts": [WORD], "on_error": WORD}),
        ("/hf", {"inputs": fails}),
        ("/hf", {"inputs": [WORD], "parameters": {"function_to_apply": WORD}}),
        ("/tei/predict", {"inputs": [[WORD], [fails]]}),
        ("/tei/predict", {"inputs": [[WORD, WORD]]}),
        (f"/v2/models/{WORD}/infer", {"inputs": [{"name": WORD, "datatype": WORD, "shape": [1], "data": [WORD]}]}),
        ("/v2/models/tiny/infer", {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [fails]}]}),
        *(("/inspect", {"text": text}) for text in (WORD, " ")),
        *((f"/{path}{WORD}", {}) for path in ("", "page/", "docs/", "admin/", "admin/models/", "health/")),
        (f"/predict?{WORD}={WORD}", {"text": WORD, "evidence": WORD}),
    ]
    headers = {"Content-Type": "application/json"}
    sent = [(path, json.dumps(body).encode(), headers) for path, body in bodies]
    sent += [(path, f'{{"text": "{WORD}'.encode(), headers) for path in ("/predict", "/hf", "/v2/models/tiny/infer")]
    names = ("Content-Type", "Content-Encoding", "Origin", "Authorization", "X-API-Key", "Cookie", "User-Agent")
    for name in (*names, "Referer", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host"):
        sent.append(("/predict", b'{"text": "good"}', {**headers, name: WORD}))
    sent += [
        ("/predict", b'{"text": "good"}', {**headers, "X-Request-Timeout-Ms": WORD}),
        ("/predict", b'{"text": "good"}', {**headers, "X-Request-ID": f"<{WORD}>"}),
        ("/predict", b'{"text": "good"}', {**headers, "traceparent": WORD}),
    ]
    return sent


@pytest.mark.parametrize("settings", [{}, {"api_keys": f"shop={KEY}", "admin_keys": "an-admins"}], ids=["open", "keys"])
def test_a_callers_words_stay_the_callers(tiny_bundle_path: Path, settings: dict[str, Any]) -> None:
    """Neither in an answer, nor in the log, nor in the metrics: whatever is done with them, they may not go on."""
    statuses = set[int]()
    with service(tiny_bundle_path, log_level="debug", **settings) as running:
        with httpx.Client(base_url=running.url, timeout=60) as client:
            for path, body, headers in said_by_a_caller():
                answer = client.post(path, content=body, headers={"X-API-Key": KEY, **headers})
                statuses.add(answer.status_code)
                told = answer.text + "".join(map(str, answer.headers.items()))
                assert WORD.lower() not in told.lower(), (path, body[:80], headers)
            for path in ("/metrics", "/model"):
                page = client.get(path, headers={"X-API-Key": KEY})
                assert (page.status_code, WORD.lower() in page.text.lower()) == (200, False)
        with Connection(running.url) as caller:
            caller.send(f"GET /{WORD} HTTP/3.0\r\nHost: {WORD}\r\n\r\n".encode())
            assert WORD.encode() not in caller.answer().body
        running.process.terminate()
        code, log = running.end()
    assert code == 0
    assert statuses >= {200, 400, 403, 404, 415, 422, 500, *([401] if settings else [])}
    assert '"event":"unhandled error"' in log
    assert not re.search(f"{WORD}|{KEY}", log, re.IGNORECASE)
