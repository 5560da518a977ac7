"""Web pages: which origins may call the service, and which may read its answers."""

from collections.abc import AsyncIterator

import httpx
import pytest

from service.model.classifier import Classifier
from tests.support.connection import Connection
from tests.support.server import client_of, make_app, serving

pytestmark = pytest.mark.anyio

SHOP, OTHER = "https://shop.example", "https://sekret.example"
PATHS = ["/predict", "/predict/batch", "/model", "/metrics", "/docs", "/openapi.json", "/hf", "/tei/predict"]
PATHS += ["/v2/models/reviews-bilstm/infer", "/admin", "/", "/nowhere"]
ALLOWED = "access-control-allow-origin"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def closed(tiny_classifier: Classifier) -> AsyncIterator[httpx.AsyncClient]:
    """To a service that allows no origin but its own."""
    async with client_of(make_app(tiny_classifier)) as found:
        yield found


@pytest.fixture
async def opened(tiny_classifier: Classifier) -> AsyncIterator[httpx.AsyncClient]:
    """To one that allows SHOP."""
    app = make_app(tiny_classifier, cors_origins=f"http://localhost:3000,{SHOP}", max_body_bytes=1000)
    async with client_of(app) as found:
        yield found


def check_refused(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["error_type"]) == (403, "forbidden_origin")
    assert "sekret" not in response.text
    assert ALLOWED not in response.headers


@pytest.mark.parametrize(
    "origin", [OTHER, SHOP, "null", "", "http://test.example", "http://test:81", "http://", "test"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
async def test_a_foreign_origin_is_refused_everywhere(closed: httpx.AsyncClient, method: str, origin: str) -> None:
    for path in PATHS:
        check_refused(await closed.request(method, path, json={"text": "sekret"}, headers={"Origin": origin}))


async def test_the_services_own_origin_is_none_to_refuse(closed: httpx.AsyncClient) -> None:
    for origin, host in (
        ("http://test", "test"),
        ("https://test", "test"),  # a proxy ended TLS
        ("https://API.shop.example", "api.Shop.example"),
        ("http://[::1]:8000", "[::1]:8000"),
    ):
        response = await closed.post("/predict", json={"text": "good"}, headers={"Origin": origin, "Host": host})
        assert response.status_code == 200
        assert ALLOWED not in response.headers
    assert (await closed.options("/predict", headers={"Origin": "http://test"})).status_code == 405


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/startup", "/health/live"])
async def test_a_probe_may_come_from_anywhere(closed: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "HEAD"):
        assert (await closed.request(method, path, headers={"Origin": OTHER})).status_code == 200
    check_refused(await closed.post(path, headers={"Origin": OTHER}))


async def test_without_an_origin_nothing_is_said_of_origins(closed: httpx.AsyncClient) -> None:
    response = await closed.post("/predict", json={"text": "good"})
    assert response.status_code == 200
    assert not {name for name in response.headers if name.startswith("access-control") or name == "vary"}


def test_the_refusal_does_not_wait_for_the_body(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier)) as url:
        caller = Connection(url)
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nOrigin: {OTHER}\r\nContent-Length: 1000000\r\n\r\n"
        caller.send(head.encode())
        assert caller.answer().status == 403
        caller.close()


# An origin that is allowed


def check_readable(response: httpx.Response, status: int) -> None:
    assert response.status_code == status
    assert response.headers[ALLOWED] == SHOP
    assert "Origin" in response.headers.get_list("vary", split_commas=True)
    exposed = set(response.headers["access-control-expose-headers"].split(", "))
    assert exposed == {"RateLimit", "RateLimit-Policy", "Retry-After", "X-Request-ID", "Server-Timing"}


async def test_an_allowed_origin_reads_answers_and_errors(opened: httpx.AsyncClient) -> None:
    origin = {"Origin": SHOP}
    check_readable(await opened.post("/predict", json={"text": "good"}, headers=origin), 200)
    check_readable(await opened.post("/predict", json={"text": " "}, headers=origin), 422)
    check_readable(await opened.post("/predict", json={"text": "x" * 1000}, headers=origin), 413)
    check_readable(await opened.post("/predict", content=b"good", headers=origin), 415)
    check_readable(
        await opened.post("/predict", json={"text": "x"}, headers={**origin, "X-Request-Timeout-Ms": "x"}), 400
    )
    check_readable(await opened.get("/nowhere", headers=origin), 404)
    check_readable(await opened.delete("/model", headers=origin), 405)
    check_readable(await opened.get("/metrics", headers=origin), 200)


async def test_it_reads_an_overload_and_a_start(tiny_classifier: Classifier) -> None:
    app = make_app(tiny_classifier, cors_origins=SHOP, max_held_bytes=5)
    async with client_of(app) as client:
        check_readable(await client.post("/predict", json={"text": "good"}, headers={"Origin": SHOP}), 429)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        check_readable(await client.get("/health", headers={"Origin": SHOP}), 503)


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}


@pytest.mark.parametrize("path", PATHS)
async def test_a_preflight_is_answered_on_every_path(opened: httpx.AsyncClient, path: str) -> None:
    response = await opened.options(path, headers={"Origin": SHOP, **PREFLIGHT})
    check_readable(response, 200)
    assert response.content == b""
    assert "POST" in response.headers["access-control-allow-methods"]
    assert set(response.headers["access-control-allow-headers"].split(", ")) == {
        *("Authorization", "Content-Type", "User-Agent", "X-API-Key", "X-Request-ID", "X-Request-Timeout-Ms")
    }
    check_refused(await opened.options(path, headers={"Origin": OTHER, **PREFLIGHT}))


async def test_another_origin_is_refused_and_caches_are_told(opened: httpx.AsyncClient) -> None:
    for origin in (OTHER, "null", f"{SHOP}:443", f"{SHOP}.sekret.example", SHOP.upper()):
        response = await opened.post("/predict", json={"text": "sekret"}, headers={"Origin": origin})
        check_refused(response)
        assert response.headers["vary"] == "Origin"
    response = await opened.get("/model")
    assert (response.status_code, response.headers["vary"]) == (200, "Origin")


@pytest.mark.parametrize("origin", [OTHER, "null"])
async def test_all_may_be_allowed(tiny_classifier: Classifier, origin: str) -> None:
    async with client_of(make_app(tiny_classifier, cors_origins="*")) as client:
        response = await client.post("/predict", json={"text": "good"}, headers={"Origin": origin})
        assert (response.status_code, response.headers[ALLOWED]) == (200, "*")
        response = await client.options("/predict", headers={"Origin": origin, **PREFLIGHT})
        assert (response.status_code, response.headers[ALLOWED]) == (200, "*")
        assert "vary" not in response.headers


async def test_a_preflight_of_any_path_makes_no_new_series(opened: httpx.AsyncClient) -> None:
    series = 'ovation_requests_total{protocol="none",route="other",status="200"}'
    assert f"{series} 0.0" in (await opened.get("/metrics")).text
    await opened.options("/nowhere", headers={"Origin": SHOP, **PREFLIGHT})
    assert f"{series} 1.0" in (await opened.get("/metrics")).text


async def test_a_refusal_is_counted(closed: httpx.AsyncClient) -> None:
    await closed.post("/predict", json={"text": "good"}, headers={"Origin": OTHER})
    metrics = (await closed.get("/metrics")).text
    assert 'ovation_requests_total{protocol="native",route="/predict",status="403"} 1.0' in metrics
    assert 'ovation_requests_total{protocol="none",route="/model",status="403"} 0.0' in metrics
