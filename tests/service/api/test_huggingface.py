"""`/hf`, as Hugging Face's clients send to it."""

import math
from typing import Any

import httpx
import pytest

from service.model.classifier import Classifier
from tests.service.api.conftest import MAX_CHARACTERS, TEXTS, check_refused, native, ranked

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("path", ["/hf", "/hf/"])
@pytest.mark.parametrize("text", TEXTS)
async def test_the_answer_is_that_of_predict(client: httpx.AsyncClient, path: str, text: str) -> None:
    expected = ranked(await native(client, text))
    for parameters in (None, {}, {"function_to_apply": "softmax"}):
        answer = await client.post(path, json={"inputs": text, "parameters": parameters})
        assert answer.status_code == 200
        assert answer.json() == [expected]
        assert answer.headers["content-type"] == "application/json"
        assert "compute" in answer.headers["server-timing"]
    assert (await client.post(path, json={"inputs": text})).json() == [expected]


async def test_parameters(client: httpx.AsyncClient, tiny_classifier: Classifier) -> None:
    async def ask(**parameters: Any) -> Any:
        body = {"inputs": TEXTS[0], "parameters": parameters, "options": {"wait_for_model": True}}
        return (await client.post("/hf", json=body)).json()

    expected = ranked(await native(client, TEXTS[0]))
    assert await ask(top_k=1) == [expected[:1]]
    assert await ask(top_k=50) == [expected]
    assert await ask(unknown={"sekret": [1]}) == [expected]
    [logits] = tiny_classifier.run(tiny_classifier.tokenizer.batch([TEXTS[0]]))[0].tolist()
    of_label = dict(zip(tiny_classifier.manifest.labels, logits, strict=True))
    assert await ask(function_to_apply="none") == [ranked(of_label)]
    [sigmoids] = await ask(function_to_apply="sigmoid")
    for row in sigmoids:
        assert row["score"] == pytest.approx(1 / (1 + math.exp(-of_label[row["label"]])))


@pytest.mark.parametrize(
    ("body", "status", "kind", "reason"),
    [
        ({"inputs": ["sekret", "b"]}, 422, "invalid", "inputs: expected one text, found a list"),
        ({"inputs": []}, 422, "invalid", "inputs: expected one text, found a list"),
        ({"inputs": 5}, 422, "invalid", "inputs: expected a text, found another type"),
        ({"inputs": {"sekret": 1}}, 422, "invalid", "inputs: expected a text, found another type"),
        ({"inputs": None}, 422, "invalid", "inputs: expected a text, found another type"),
        ({}, 422, "invalid", "inputs: Field required"),
        ({"inputs": " <br />"}, 422, "invalid", "inputs: expected a text with at least one visible character"),
        ({"inputs": ""}, 422, "invalid", "inputs: expected a text with at least one visible character"),
        ({"inputs": "s" * (MAX_CHARACTERS + 1)}, 422, "invalid", "inputs: expected at most 5000 characters"),
        ({"inputs": "a", "parameters": {"top_k": 0}}, 422, "invalid", "parameters.top_k"),
        ({"inputs": "a", "parameters": {"top_k": True}}, 422, "invalid", "parameters.top_k"),
        ({"inputs": "a", "parameters": {"function_to_apply": "sekret"}}, 422, "invalid", "'softmax', 'sigmoid'"),
        ({"inputs": "sekret" * 10_001}, 413, "body_too_large", "expected at most 60000 bytes"),
    ],
)  # fmt: skip
async def test_refusals(client: httpx.AsyncClient, body: Any, status: int, kind: str, reason: str) -> None:
    assert reason in check_refused(await client.post("/hf", json=body), status, kind)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"inputs": "good", "sekret": NaN}', 400),
        (b'{"inputs": "good", "sekret": -Infinity}', 400),
        (b'{"inputs": "NaN and Infinity"}', 200),
        (b'{"inputs": "good", "sekret": "\\ud800"}', 400),
        (b'{"inputs": "\xff"}', 400),
        (b"[" * 16_000, 400),
        (b'{"inputs": "good", "sekret": [' + b"[]," * 9_000 + b"1]}", 422),
    ],
)
async def test_what_is_no_json_is_refused_wherever_it_stands(
    client: httpx.AsyncClient, body: bytes, status: int
) -> None:
    answer = await client.post("/hf", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status


async def test_only_json_that_is_not_compressed(client: httpx.AsyncClient) -> None:
    answer = await client.post("/hf", content=b'{"inputs": "a"}')
    check_refused(answer, 415, "unsupported_media_type")
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await client.post("/hf", content=b"sekret", headers=headers)
    check_refused(answer, 415, "unsupported_media_type")
    assert answer.headers["accept-encoding"] == "identity"


async def test_a_deadline_of_the_callers(client: httpx.AsyncClient) -> None:
    body, headers = {"inputs": "fine " * 900}, {"X-Request-Timeout-Ms": "sekret"}
    check_refused(await client.post("/hf", json=body, headers=headers), 400, "malformed")
