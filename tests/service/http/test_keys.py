"""Keys: who gets in, on which routes, how much, and what happens when the file of keys changes."""

import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from service.__main__ import main
from service.http.keys import HEALTH_ROUTES, KeysError, listed, parse
from service.model.classifier import Classifier
from tests.support.connection import Connection, get, head, sample, until
from tests.support.process import Service, service
from tests.support.server import client_of, make_app, serving

pytestmark = pytest.mark.anyio

KEY, ADMIN = "ovation_sekret-of-a-caller", "ovation_sekret-of-an-admin"
TEXT = {"text": "good"}
# Routes of every wire that need a key, with a body that is answered.
ROUTES: list[tuple[str, str, Any]] = [
    ("POST", "/predict", TEXT),
    ("POST", "/predict/batch", {"texts": ["good"]}),
    ("POST", "/predict/stream", TEXT),
    ("POST", "/hf", {"inputs": "good"}),
    ("POST", "/tei/predict", {"inputs": "good"}),
    ("GET", "/tei/info", None),
    ("GET", "/model", None),
    (
        "POST",
        "/v2/models/{name}/infer",
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x"]}]},
    ),
    ("GET", "/v2", None),
    ("GET", "/v2/models/{name}", None),
    ("POST", "/v2/repository/index", None),
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def sent(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
async def test_every_wire_needs_a_key(tiny_classifier: Classifier, method: str, path: str, body: Any) -> None:
    path = path.format(name=tiny_classifier.name.partition("@")[0])
    async with client_of(make_app(tiny_classifier, api_keys=f"shop={KEY}", admin_keys=ADMIN)) as client:
        for headers, found in (
            ({}, "none"),
            ({"Authorization": "Basic c2VrcmV0"}, "none"),
            (sent("sekret"), "not known"),
            ({"X-API-Key": KEY.upper()}, "not known"),
        ):
            refused = await client.request(method, path, json=body, headers=headers)
            assert (refused.status_code, refused.json()["error_type"]) == (401, "unauthorized")
            assert found in refused.json()["error"]
            assert "sekret" not in refused.text.lower()
            assert refused.headers["www-authenticate"].startswith('Bearer realm="ovation"')
            assert ('error="invalid_token"' in refused.headers["www-authenticate"]) == (found == "not known")
            media_type = "application/json" if path.startswith("/v2") else "application/problem+json"
            assert refused.headers["content-type"] == media_type
        for headers in (
            sent(KEY),
            {"Authorization": f"bearer  {KEY}"},
            {"X-API-Key": KEY},
            {"Authorization": "Bearer hf_of-the-hub", "X-API-Key": KEY},
            sent(ADMIN),
        ):
            assert (await client.request(method, path, json=body, headers=headers)).status_code == 200


@pytest.mark.parametrize("closed", [False, True])
async def test_health_is_open_and_the_rest_may_be(tiny_classifier: Classifier, closed: bool) -> None:
    app = make_app(tiny_classifier, api_keys=KEY, metrics_need_key=closed, docs_need_key=closed)
    name, _, version = tiny_classifier.name.partition("@")
    async with client_of(app) as client:
        for route in HEALTH_ROUTES:
            assert (await client.get(route.format(model=name, version=version))).status_code == 200
        for path in ("/", "/docs"):  # a browser that opens a page sends no key
            assert (await client.get(path)).status_code == 200
        for path in ("/metrics", "/openapi.json"):
            assert (await client.get(path)).status_code == (401 if closed else 200)
            assert (await client.get(path, headers=sent(KEY))).status_code == 200
        assert (await client.get("/nowhere")).status_code == 401
        assert (await client.get("/nowhere", headers=sent(KEY))).status_code == 404


async def test_without_keys_whatever_is_sent_is_passed_over(tiny_classifier: Classifier) -> None:
    async with client_of(make_app(tiny_classifier)) as client:
        assert (await client.post("/predict", json=TEXT, headers=sent("hf_of-the-hub"))).status_code == 200
        document = (await client.get("/openapi.json")).json()
        assert "securitySchemes" not in document["components"]
        assert "401" not in json.dumps(document["paths"])


async def test_an_admins_key_alone_closes_nothing(tiny_classifier: Classifier) -> None:
    async with client_of(make_app(tiny_classifier, admin_keys=ADMIN)) as client:
        assert (await client.post("/predict", json=TEXT)).status_code == 200


async def test_openapi_tells_which_routes_need_a_key(tiny_classifier: Classifier) -> None:
    async with client_of(make_app(tiny_classifier, api_keys=KEY)) as client:
        document = (await client.get("/openapi.json")).json()
        name, _, version = tiny_classifier.name.partition("@")
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                answer = await client.request(method, path.format(model=name, version=version))
                assert (answer.status_code == 401) == ("security" in operation) == ("401" in operation["responses"])
        predict = document["paths"]["/predict"]["post"]["responses"]
        assert {"overloaded", "rate_limited"} == predict["429"]["content"]["application/problem+json"][
            "examples"
        ].keys()
        assert {"RateLimit", "RateLimit-Policy"} <= predict["200"]["headers"].keys() & predict["429"]["headers"].keys()


async def test_a_web_page_reads_why_it_was_refused(tiny_classifier: Classifier) -> None:
    app, origin = make_app(tiny_classifier, api_keys=KEY, cors_origins="https://shop.example"), "https://shop.example"
    async with client_of(app) as client:
        asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert (await client.options("/predict", headers=asks)).status_code == 200
        refused = await client.post("/predict", json=TEXT, headers={"Origin": origin})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin)


def test_a_body_without_a_key_is_not_waited_for(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier, api_keys=KEY)) as url, Connection(url) as caller:
        caller.send(head(length=4_000_000))
        assert caller.answer().status == 401


async def test_a_key_that_is_spent_gets_429_and_is_told_when(tiny_classifier: Classifier) -> None:
    app = make_app(tiny_classifier, api_keys=f"shop={KEY},rich=another", key_tokens_per_second=20)
    async with client_of(app) as client:
        text = {"text": "good " * 210}
        first = await client.post("/predict", json=text, headers=sent(KEY))
        assert first.status_code == 200
        assert first.headers["ratelimit-policy"] == '"tokens";q=200;qu="tokens";w=10'
        assert first.headers["ratelimit"].startswith('"tokens";r=0;t=')
        refused = await client.post("/predict", json=text, headers=sent(KEY))
        assert (refused.status_code, refused.json()["error_type"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) >= int(refused.headers["ratelimit"].partition("t=")[2]) >= 1
        assert (await client.get("/model", headers=sent(KEY))).status_code == 200
        other = await client.post("/predict", json=text, headers=sent("another"))
        assert (other.status_code, other.headers["ratelimit"].partition(";")[2][:3]) == (200, "r=0")
        series = (await client.get("/metrics")).text
        assert 'ovation_key_requests_total{key="shop"} 3.0' in series
        assert 'ovation_key_requests_limited_total{key="shop"} 1.0' in series
        assert 'ovation_key_tokens_total{key="shop"} 210.0' in series


def test_a_stream_waits_for_its_tokens(tiny_classifier: Classifier) -> None:
    lines = b"".join(json.dumps({"text": "good " * 150}).encode() + b"\n" for _ in range(128))
    with serving(make_app(tiny_classifier, api_keys=f"shop={KEY}", key_tokens_per_second=1000)) as url:
        headers = {**sent(KEY), "Content-Type": "application/x-ndjson"}
        answer = httpx.post(f"{url}/predict/stream", content=lines, headers=headers, timeout=60)
        assert json.loads(answer.text.splitlines()[-1]) == {"done": {"lines": 128, "answered": 128, "failed": 0}}
        until(url, 128 * 150, "ovation_key_tokens_total", key="shop")
        assert httpx.post(f"{url}/predict", json=TEXT, headers=sent(KEY)).status_code == 429
        again = httpx.post(f"{url}/predict/stream", content=b'{"text": "good"}\n', headers=headers, timeout=60)
        assert json.loads(again.text.splitlines()[-1]) == {"done": {"lines": 1, "answered": 1, "failed": 0}}


async def test_a_key_pays_for_what_is_inspected(tiny_classifier: Classifier) -> None:
    app = make_app(tiny_classifier, api_keys=f"shop={KEY}", key_tokens_per_second=20)
    async with client_of(app) as client:
        assert (await client.post("/inspect", json={"text": "good " * 20}, headers=sent(KEY))).status_code == 200
        assert (await client.post("/inspect", json=TEXT, headers=sent(KEY))).status_code == 429


def make(*arguments: object) -> Result:
    """`ovation keys new`."""
    return CliRunner().invoke(main, ["keys", "new", *map(str, arguments)])


def test_a_key_that_is_made_fits_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# of the shop")  # no line break at its end
    first, second = (
        make("shop", "--file", file, *limit).stdout.strip() for limit in (["--tokens-per-second", "500"], [])
    )
    assert first != second
    assert len(first.removeprefix("ovation_")) == math.ceil(256 / 6)
    entries = parse(file.read_bytes(), file)
    assert [(entry.name, entry.tokens_per_second) for entry in entries] == [("shop", 500), ("shop", 500)]
    assert [entry.digest for entry in entries] == [entry.digest for entry in listed(f"{first},{second}")]
    assert first not in file.read_text()
    done = make("shop")
    assert parse(done.stderr.rpartition(": ")[2].encode(), file)[0].digest == listed(done.stdout.strip())[0].digest
    assert make("so/so").exit_code == 1
    file.write_text("sekret")
    broken = make("shop", "--file", file)
    assert (broken.exit_code, "line 1: expected" in broken.stderr, "sekret" in broken.stderr) == (1, True, False)


@pytest.mark.parametrize(
    "content",
    [b"", b"# none", b"shop", b"shop \xff", b"shop abc", b"shop %b 0", b"shop %b inf", b"shop %b 1 2", b"-x %b"],
)
def test_a_file_that_is_no_file_of_keys_is_refused(content: bytes) -> None:
    with pytest.raises(KeysError, match="expected"):
        parse(content.replace(b"%b", b"0" * 64), Path("keys"))


@pytest.mark.parametrize("text", ["", " ", "a,", "a b", "schlüssel"])
def test_keys_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(KeysError, match="expected"):
        listed(text)


def test_listed_keys_have_names() -> None:
    assert [entry.name for entry in listed("shop=abc, bare, YWJj==")] == ["shop", "key-2", "key-3"]
    assert listed("x=YWJj==")[0].digest == listed("YWJj==")[0].digest


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"OVATION_API_KEYS": "sekret words"}, "OVATION_API_KEYS: key 1: expected"),
        ({"OVATION_API_KEYS_FILE": "nowhere"}, "OVATION_API_KEYS_FILE: nowhere: expected a readable file of keys"),
        ({"OVATION_ADMIN_KEYS_FILE": "/dev/zero"}, "OVATION_ADMIN_KEYS_FILE: /dev/zero: expected a regular file"),
    ],
)
def test_keys_that_cannot_be_read_end_the_process(settings: dict[str, str], message: str) -> None:
    command = [sys.executable, "-m", "service", "serve"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **settings})
    assert done.returncode == 1
    assert message in done.stderr
    assert "sekret" not in done.stdout + done.stderr


def everywhere(running: Service, status: int, headers: dict[str, str]) -> None:
    """Waits until each of many new connections, which any worker takes, is answered with `status`."""
    end, alike = time.monotonic() + 30, 0
    while alike < 16:
        assert time.monotonic() < end, f"expected {status} of all workers"
        answers = list[int]()

        def ask(answers: list[int] = answers) -> None:
            answers.append(httpx.post(f"{running.url}/predict", json=TEXT, headers=headers).status_code)

        callers = [threading.Thread(target=ask) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        alike = alike + 4 if set(answers) == {status} else 0


def test_a_file_that_changes_is_read_again_by_every_worker(tiny_bundle_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    old = make("shop", "--file", file).stdout.strip()
    with service(tiny_bundle_path, module="service", workers=2, api_keys_file=file) as running:
        everywhere(running, 200, sent(old))
        new = make("shop", "--file", file).stdout.strip()
        everywhere(running, 200, sent(new))
        everywhere(running, 200, sent(old))
        renewed = tmp_path / "renewed"
        renewed.write_text(file.read_text().splitlines()[1])
        renewed.rename(file)
        everywhere(running, 401, sent(old))
        for breaks in (lambda: file.write_text("sekret sekret"), file.unlink):
            breaks()
            until(running.url, 1, "ovation_key_file_broken", kind="callers")
            everywhere(running, 200, sent(new))
        shutil.copy2(tiny_bundle_path / "manifest.json", file)  # of any content
        file.write_text(f"shop {listed(old)[0].digest.hex()} 1000\n")
        everywhere(running, 200, sent(old))
        everywhere(running, 401, sent(new))
        until(running.url, 0, "ovation_key_file_broken", kind="callers")
        for path in ("/metrics", "/model"):
            assert old not in httpx.get(f"{running.url}{path}", headers=sent(old)).text
        assert sample(running.url, "ovation_key_refusals_total", reason="unknown") > 0
        running.process.terminate()
        code, log = running.end()
    assert code == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert {line.get("key") for line in lines if line["event"] == "request" and line["status"] == 200} >= {"shop"}
    assert [line["reason"] for line in lines if line["event"] == "keys not read, those before stay"]
    assert not [word for word in (old, new, "sekret") if word in log]


def test_a_worker_that_starts_beside_a_broken_file_lets_nobody_in(tiny_classifier: Classifier, tmp_path: Path) -> None:
    with serving(make_app(tiny_classifier, api_keys_file=str(tmp_path / "nowhere"))) as url, Connection(url) as caller:
        caller.send(get("/model", "X-API-Key: any"))
        assert caller.answer().status == 401
        assert httpx.get(f"{url}/health").status_code == 200
