"""The HTTP side, entered as a client enters it."""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message

from service.api import schemas
from service.http.connection import CALLER_LEFT
from service.http.edge import MILLISECONDS, REQUEST_ID
from service.http.problems import KINDS
from service.model.classifier import Classifier
from service.model.tokenizer import Tokenizer, is_blank
from tests.support.server import Held, client_of, make_app

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client(tiny_classifier: Classifier) -> AsyncIterator[httpx.AsyncClient]:
    app = make_app(tiny_classifier, max_characters=50_000, max_texts=3, max_body_bytes=60_000, max_waiting_texts=4)
    async with client_of(app) as found:
        yield found


def check_problem(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Every error has the same body, and none of them repeats what was sent."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = schemas.ProblemDetails.model_validate(response.json()).model_dump(exclude_unset=True)
    assert (body["status"], body["error_type"]) == (status, kind)
    assert body["error"] == body["detail"]
    assert body.get("instance") == (None if status == 404 else response.request.url.path)
    sent_id = response.request.headers.get("x-request-id")
    assert body.get("request_id") == (None if sent_id else response.headers["x-request-id"])
    assert KINDS[kind][0] == status
    assert "sekret" not in response.text
    return body


async def test_one_text(client: httpx.AsyncClient, tiny_classifier: Classifier) -> None:
    response = await client.post("/predict", json={"text": "The film was wonderful."})
    assert response.status_code == 200
    answer = schemas.Prediction.model_validate_json(response.content, strict=True)
    [expected] = tiny_classifier(["The film was wonderful."])
    assert (answer.label, answer.score, answer.model) == (expected.label, expected.score, tiny_classifier.name)
    assert answer.probabilities == expected.probabilities
    assert "evidence" not in response.json()
    timings = dict(part.split(";dur=") for part in response.headers["server-timing"].split(", "))
    assert set(timings) == {"queue", "tokenize", "compute"}
    assert all(float(value) >= 0 for value in timings.values())


async def test_evidence_adds_up_and_points_at_the_words(client: httpx.AsyncClient, tiny_classifier: Classifier) -> None:
    text = "İt wasn’t dull — café 🙂!"
    response = await client.post("/predict", json={"text": text, "evidence": True})
    answer = schemas.Prediction.model_validate_json(response.content, strict=True)
    assert answer.evidence is not None
    words = [text[token.start : token.end] for token in answer.evidence.tokens]
    assert words == ["İt", "wasn’t", "dull", "—", "café", "🙂", "!"]
    logits, _ = tiny_classifier.run(tiny_classifier.tokenizer.batch([text]))
    winner = tiny_classifier.manifest.labels.index(answer.label)
    margin = logits[0][winner] - logits[0][1 - winner]
    total = answer.evidence.bias + sum(token.weight for token in answer.evidence.tokens)
    assert total == pytest.approx(margin, abs=1e-4)


async def test_a_batch_keeps_its_order(client: httpx.AsyncClient) -> None:
    texts = ["The film was wonderful.", "awful", "The music was superb, I thought."]
    response = await client.post("/predict/batch", json={"texts": texts})
    answer = schemas.Predictions.model_validate_json(response.content, strict=True)
    alone = [(await client.post("/predict", json={"text": text})).json() for text in texts]
    assert [(one.score, one.tokens) for one in answer.predictions if isinstance(one, schemas.Judgement)] == [
        (one["score"], one["tokens"]) for one in alone
    ]


async def test_a_long_text_is_the_same_in_slices(client: httpx.AsyncClient, tiny_classifier: Classifier) -> None:
    text = "The film was wonderful, café. " * 1500
    response = await client.post("/predict", json={"text": text, "evidence": True})
    [expected] = tiny_classifier([text], evidence=True)
    assert response.json()["score"] == expected.score
    assert response.json()["tokens"] == expected.tokens == 10_500
    assert response.json()["truncated"] is True
    assert expected.evidence is not None
    spans = [(token["start"], token["end"]) for token in response.json()["evidence"]["tokens"]]
    assert spans == [(start, end) for start, end, _ in expected.evidence.tokens]


async def test_only_unknown_words_are_answered_and_flagged(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/predict", json={"text": "qwxz zzyzx"})).json()
    assert (answer["uncertain"], answer["unknown_share"]) == (True, 1.0)


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/predict", b"", 400, "malformed"),
        ("/predict", b'{"text": "sekret', 400, "malformed"),
        ("/predict", b'{"text": "sekret \xff"}', 400, "malformed"),
        ("/predict", b'{"text": "sekret \\ud800"}', 400, "malformed"),
        ("/predict", b'{"text": NaN}', 400, "malformed"),
        ("/predict", b'{"text": "sekret", "evidence": Infinity}', 400, "malformed"),
        ("/predict", b"[" * 10_000, 400, "malformed"),
        ("/predict", b"[" * 20_000, 422, "invalid"),
        ("/predict", b"[]", 422, "invalid"),
        ("/predict", b"{}", 422, "invalid"),
        ("/predict", b'{"text": 5}', 422, "invalid"),
        ("/predict", b'{"text": null}', 422, "invalid"),
        ("/predict", b'{"text": "sekret", "evidence": "sekret"}', 422, "invalid"),
        ("/predict", b'{"text": "x", "sekret": 1}', 422, "invalid"),
        ("/predict", b'{"text": ""}', 422, "invalid"),
        ("/predict", b'{"text": " \\n<br />"}', 422, "invalid"),
        ("/predict", json.dumps({"text": "s" * 50_001}).encode(), 422, "invalid"),
        ("/predict/batch", b'{"texts": []}', 422, "invalid"),
        ("/predict/batch", b'{"texts": ["a", "b", "c", "d"]}', 422, "invalid"),
        ("/predict/batch", b'{"texts": ["a", " "]}', 422, "invalid"),
        ("/predict/batch", b'{"texts": ["a", 1]}', 422, "invalid"),
        ("/predict", json.dumps({"text": "sekret" * 10_001}).encode(), 413, "body_too_large"),
    ],
)
async def test_bad_bodies(client: httpx.AsyncClient, path: str, body: bytes, status: int, kind: str) -> None:
    response = await client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert check_problem(response, status, kind)["detail"]


async def test_a_null_character_is_text(client: httpx.AsyncClient) -> None:
    assert (await client.post("/predict", json={"text": "a\0b"})).status_code == 200


async def test_the_detail_names_field_and_expectation(client: httpx.AsyncClient) -> None:
    long = await client.post("/predict", json={"text": "s" * 50_001})
    assert check_problem(long, 422, "invalid")["detail"] == "text: String should have at most 50000 characters"
    missing = await client.post("/predict/batch", json={})
    assert check_problem(missing, 422, "invalid")["detail"] == "texts: Field required"
    expected = "expected a text with at least one visible character, found only white space"
    blank = await client.post("/predict", json={"text": " "})
    assert check_problem(blank, 422, "invalid")["detail"] == f"text: {expected}"
    one_of_many = await client.post("/predict/batch", json={"texts": ["a", "b", "<br />"]})
    assert check_problem(one_of_many, 422, "invalid")["detail"] == f"texts.2: {expected}"
    many = await client.post("/predict/batch", json={"texts": ["sekret"] * 5_000})
    expected = "expected at most 3 texts and the schema's fields, found many more values"
    assert check_problem(many, 422, "invalid")["detail"] == expected


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/sekret", "application/x-www-form-urlencoded"])
async def test_a_body_must_be_declared_as_json(client: httpx.AsyncClient, media_type: str | None) -> None:
    headers = {"Content-Type": media_type} if media_type else {}
    response = await client.post("/predict", content=b'{"text": "sekret"}', headers=headers)
    check_problem(response, 415, "unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "br, gzip", "sekret"])
async def test_a_content_coding_is_refused_by_its_name(client: httpx.AsyncClient, coding: str) -> None:
    content, headers = gzip.compress(b'{"text": "good"}'), {"Content-Type": "application/json"}
    response = await client.post("/predict", content=content, headers={**headers, "Content-Encoding": coding})
    assert "Content-Encoding" in check_problem(response, 415, "unsupported_media_type")["detail"]
    assert response.headers["accept-encoding"] == "identity"
    plain = await client.post("/predict", json={"text": "good"}, headers={"Content-Encoding": "Identity"})
    assert plain.status_code == 200


async def test_of_a_repeated_name_the_last_counts(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    twice = await client.post("/predict", content=b'{"text": "awful", "text": "good"}', headers=headers)
    once = await client.post("/predict", json={"text": "good"})
    assert twice.json() == once.json()


async def test_no_body_repeats_the_path_or_the_request_id(client: httpx.AsyncClient) -> None:
    headers = {"X-Request-ID": "sekret"}
    assert "instance" not in check_problem(await client.get("/sekret", headers=headers), 404, "not_found")
    check_problem(await client.post("/predict?sekret", json={"text": ""}, headers=headers), 422, "invalid")
    response = await client.post("/model", headers=headers)
    assert check_problem(response, 405, "method_not_allowed")["instance"] == "/model"
    assert response.headers["x-request-id"] == "sekret"


async def test_a_charset_does_no_harm(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/JSON; charset=utf-8"}
    assert (await client.post("/predict", content=b'{"text": "good"}', headers=headers)).status_code == 200


async def test_a_chunked_body_is_counted(client: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b'{"text": "'
        while True:
            yield b"sekret" * 1000

    response = await client.post("/predict", content=endless(), headers={"Content-Type": "application/json"})
    check_problem(response, 413, "body_too_large")


async def test_unknown_paths_and_methods(client: httpx.AsyncClient) -> None:
    check_problem(await client.get("/nowhere"), 404, "not_found")
    check_problem(await client.post("/predict/", json={"text": "sekret"}), 404, "not_found")
    response = await client.get("/predict")
    check_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    for path in ("/health", "/health/ready", "/model", "/metrics", "/docs", "/openapi.json"):
        response = await client.post(path)
        check_problem(response, 405, "method_not_allowed")
        assert response.headers["allow"] == "GET, HEAD"


PREDICT: dict[str, Any] = {
    "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
    "path": "/predict", "query_string": b"", "headers": [(b"content-type", b"application/json")],
}  # fmt: skip


async def test_a_client_that_leaves_while_it_sends_is_no_fault_of_ours(tiny_classifier: Classifier) -> None:
    app = make_app(tiny_classifier)
    received: list[Message] = [
        {"type": "http.request", "body": b'{"text": "sekr', "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return received.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async with client_of(app) as client:
        await app({**PREDICT}, receive, send)
        metrics = (await client.get("/metrics")).text
    assert sent == []
    assert 'ovation_requests_total{protocol="native",route="/predict",status="499"} 1.0' in metrics
    assert 'ovation_requests_total{protocol="native",route="/predict",status="500"} 0.0' in metrics


async def test_a_request_is_cancelled_when_its_caller_leaves_while_it_is_tokenized(tiny_classifier: Classifier) -> None:
    held, sent = Held(tiny_classifier), list[Message]()
    held.gate.set()

    async def receive() -> Message:
        # Takes effect at the first pause: a text as long as this one is tokenized in slices.
        request.cancel(CALLER_LEFT)
        return {"type": "http.request", "body": json.dumps({"text": "fine " * 10_000}).encode()}

    async def send(message: Message) -> None:
        sent.append(message)

    app = make_app(held)
    async with client_of(app) as client:
        request = asyncio.create_task(app({**PREDICT}, receive, send))
        await request
        metrics = (await client.get("/metrics")).text
    assert (sent, held.judged) == ([], [])
    assert 'ovation_requests_total{protocol="native",route="/predict",status="499"} 1.0' in metrics


async def test_a_batch_of_many_texts_lets_others_in_between(tiny_classifier: Classifier) -> None:
    turns, encoded_at = 0, []

    class Watched(Held):
        @property
        def tokenizer(self) -> Tokenizer:
            encoded_at.append(turns)
            return tiny_classifier.tokenizer

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    watched = Watched(tiny_classifier)
    watched.gate.set()
    async with client_of(make_app(watched)) as client:
        turning = asyncio.create_task(turn())
        texts = ["The film was fine. " * 800] * 8  # 15,200 characters each
        assert (await client.post("/predict/batch", json={"texts": texts})).status_code == 200
        turning.cancel()
    assert len(encoded_at) == 8
    assert encoded_at == sorted(set(encoded_at))


@pytest.mark.parametrize("texts", [["The film was fine. " * 800] * 256, ["fine " * 50_000]])
async def test_a_request_whose_time_is_over_is_not_tokenized_further(
    tiny_classifier: Classifier, texts: list[str]
) -> None:
    held = Held(tiny_classifier)
    held.gate.set()
    async with client_of(make_app(held, max_characters=250_000)) as client:
        late = await client.post("/predict/batch", json={"texts": texts}, headers={"X-Request-Timeout-Ms": "1"})
        check_problem(late, 504, "timeout")
        metrics = (await client.get("/metrics")).text
    assert "ovation_tokenize_seconds_count 0.0" in metrics
    assert held.judged == []


@pytest.mark.parametrize(("sent", "kept"), [("abc-1.2_3", True), ("x" * 129, False), ("a b", False), ("", False)])
async def test_request_ids(client: httpx.AsyncClient, sent: str, kept: bool) -> None:
    response = await client.get("/model", headers={"X-Request-ID": sent})
    assert (response.headers["x-request-id"] == sent) == kept
    assert response.headers["x-request-id"]


async def test_evidence_that_the_bundle_does_not_give(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    held.manifest = tiny_classifier.manifest.model_copy(update={"evidence": False, "bias": None})
    async with client_of(make_app(held)) as client:
        response = await client.post("/predict", json={"text": "good", "evidence": True})
        assert "gives no evidence" in check_problem(response, 422, "no_evidence")["detail"]


async def test_a_full_queue_refuses_whole_requests(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    async with client_of(make_app(held, max_texts=2, max_waiting_texts=2, max_body_bytes=1000)) as client:
        running = asyncio.create_task(client.post("/predict", json={"text": "good"}))
        await asyncio.to_thread(held.entered.acquire)  # taken from the queue, held in the thread
        waiting = asyncio.create_task(client.post("/predict", json={"text": "good good"}))
        while b"ovation_waiting_texts 1.0" not in (await client.get("/metrics")).content:
            await asyncio.sleep(0)
        refused = await client.post("/predict/batch", json={"texts": ["sekret", "sekret"]})
        assert "room for 2 texts or sentences (2 tokens)" in check_problem(refused, 429, "overloaded")["detail"]
        assert refused.headers["retry-after"] == "1"
        # However busy: what is too large will be tomorrow, too.
        check_problem(await client.post("/predict", json={"text": "x" * 2000}), 413, "body_too_large")
        held.gate.set()
        assert [(await task).status_code for task in (running, waiting)] == [200, 200]
        assert held.judged == [1, 2]  # nothing of the refused request was run


async def test_a_late_answer_is_504_and_what_waited_behind_is_not_run(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    async with client_of(make_app(held, timeout_seconds=0.5)) as client:
        late = [asyncio.create_task(client.post("/predict", json={"text": "one"}))]
        await asyncio.to_thread(held.entered.acquire)
        late.append(asyncio.create_task(client.post("/predict", json={"text": "two words"})))
        for response in await asyncio.gather(*late):
            check_problem(response, 504, "timeout")
        held.gate.set()
    assert held.judged == [1]


async def test_a_fault_is_500_for_its_request_alone(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    held.gate.set()
    held.error = RuntimeError("sekret")
    async with client_of(make_app(held)) as client:
        check_problem(await client.post("/predict", json={"text": "good"}), 500, "internal")
        held.error = None
        assert (await client.post("/predict", json={"text": "good"})).status_code == 200


async def test_health_follows_the_lifespan(tiny_classifier: Classifier) -> None:
    app = make_app(tiny_classifier)
    paths = {"/health": "ready", "/health/ready": "ready", "/health/startup": "started"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for path in paths:
            check_problem(await client.get(path), 503, "not_ready")
        assert (await client.get("/health/live")).json() == {"status": "live"}
        async with app.router.lifespan_context(app):
            for path, status in paths.items():
                assert (await client.get(path)).json() == {"status": status}
        check_problem(await client.get("/health"), 503, "not_ready")
        check_problem(await client.post("/predict", json={"text": "good"}), 503, "not_ready")


async def test_the_model_tells_what_runs(client: httpx.AsyncClient, tiny_classifier: Classifier) -> None:
    found = schemas.Model.model_validate((await client.get("/model")).json())
    assert (found.model, found.provider) == (tiny_classifier.name, "cpu")
    assert found.limits.max_texts == 3
    assert "bit-identical" in found.exactness


# What the connection answers to a request before it has a route.
OF_THE_PROTOCOL = {"400", "408", "429", "431", "501", "505"}


async def test_openapi_tells_every_status_limit_and_example(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    for path in ("/predict", "/predict/batch"):
        headers = {one["name"]: one["schema"] for one in document["paths"][path]["post"]["parameters"]}
        assert headers["X-Request-ID"] == {"type": "string"}  # one that does not match is replaced, not refused
        assert re.fullmatch(MILLISECONDS.pattern.decode(), str(headers["X-Request-Timeout-Ms"]["maximum"]))
        responses = document["paths"][path]["post"]["responses"]
        assert set(responses) == OF_THE_PROTOCOL | {"200", "403", "413", "415", "422", "500", "503", "504"}
        for status, response in responses.items():
            assert response["headers"]["X-Request-ID"]["schema"]["pattern"] == f"^{REQUEST_ID.pattern}$"
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))
            if status != "200":
                assert list(response["content"]) == ["application/problem+json"]
                assert response["content"]["application/problem+json"]["examples"]
                schema = response["content"]["application/problem+json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/ProblemDetails"}
    for operations in document["paths"].values():
        assert all(operation["responses"].keys() >= OF_THE_PROTOCOL for operation in operations.values())
    assert document["paths"]["/metrics"]["get"]["operationId"] == "metrics_metrics_get"  # which generated clients call
    components = document["components"]["schemas"]
    assert components["PredictRequest"]["properties"]["text"]["maxLength"] == 50_000
    not_blank = re.compile(components["PredictRequest"]["properties"]["text"]["pattern"])
    assert [chr(code) for code in range(0x110000) if not not_blank.search(chr(code))] == [
        chr(code) for code in range(0x110000) if is_blank(chr(code))
    ]
    assert components["ProblemDetails"]["properties"]["error_type"]
    assert components["PredictBatchRequest"]["properties"]["texts"]["maxItems"] == 3
    limits = {name: components["PredictRequest"]["properties"]["text"][name] for name in ("maxLength", "pattern")}
    assert components["PredictBatchRequest"]["else"]["properties"]["texts"]["items"] == {"minLength": 1, **limits}
    for name in ("PredictRequest", "PredictBatchRequest", "Prediction", "Predictions"):
        assert components[name]["example"]
    assert (await client.get("/docs")).status_code == 200


async def test_metrics_are_there_from_the_start_and_add_up(
    client: httpx.AsyncClient, tiny_classifier: Classifier
) -> None:
    async def read() -> dict[tuple[str, ...], float]:
        families = text_string_to_metric_families((await client.get("/metrics")).text)
        return {
            (s.name, *[value for label, value in s.labels.items() if label != "protocol"]): s.value
            for family in families
            for s in family.samples
        }

    before = await read()
    assert before["ovation_requests_total", "/predict", "200"] == 0
    assert before["ovation_requests_total", "/predict", "504"] == 0
    assert before["ovation_compute_seconds_bucket", "5e-05"] == 0
    texts = ["good", "sekret", "", "The film was wonderful."]
    for text in texts:
        await client.post("/predict", json={"text": text})
    await client.get("/nowhere")
    after = await read()
    by_status = {key[2]: value for key, value in after.items() if key[:2] == ("ovation_requests_total", "/predict")}
    assert (by_status["200"], by_status["422"], sum(by_status.values())) == (3, 1, 4)
    assert after["ovation_request_seconds_count", "/predict"] == 4
    assert after["ovation_requests_total", "other", "404"] == 1
    for name in ("queue_seconds", "batch_rows", "compute_seconds"):
        assert after[f"ovation_{name}_count",] == 3
    for name in ("score", "text_tokens", "text_unknown_share"):
        assert after[f"ovation_{name}_count", tiny_classifier.name] == 3
    assert after["ovation_batch_tokens_sum",] == 1 + 1 + 5
    assert sum(value for key, value in after.items() if key[0] == "ovation_predictions_total") == 3
    assert not any("/nowhere" in key for key in after)
