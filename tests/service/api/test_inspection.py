"""`POST /inspect`: the numbers of the LSTM, and their limits."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.model import bundle, cell
from service.model.classifier import Classifier
from tests.service.api.conftest import check_refused
from tests.support.server import Held, client_of, make_app
from training.release import onnx_graph

pytestmark = pytest.mark.anyio

MODEL = Path(__file__).parents[3] / "models" / "reviews-bilstm"
TEXTS = ["Never boring 🙂, never slow.", "The film was wonderful. " * 40, "qwxz"]


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return Classifier(bundle.read(MODEL), "cpu")


async def inspect(client: httpx.AsyncClient, **body: Any) -> dict[str, Any]:
    answer = await client.post("/inspect", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("direction", ["forward", "backward"])
async def test_the_numbers_are_those_of_the_cell(
    tiny_classifier: Classifier, shipped: Classifier, direction: str
) -> None:
    for classifier in (tiny_classifier, shipped):
        network = onnx_graph.read(classifier.bundle.model)
        async with client_of(make_app(classifier)) as client:
            for text in TEXTS:
                found = await inspect(client, text=text, direction=direction)
                encoded = classifier.tokenizer.encode(text, spans=True)
                trace = cell.traces(encoded.token_ids, network)[direction == "backward"]
                assert encoded.spans is not None
                assert [[one["start"], one["end"]] for one in found["tokens"]] == encoded.spans[:100].tolist()
                for name, expected in vars(trace).items():
                    assert np.allclose(found[name], expected[:100], rtol=0, atol=1e-4), name
                assert (found["read"], found["model"]) == (len(encoded.token_ids), classifier.name)


async def test_offsets_count_what_is_asked_for(client: httpx.AsyncClient) -> None:
    text = "🙂 ok"
    for unit, start, end in (("code_points", 2, 4), ("utf16", 3, 5), ("utf8", 5, 7)):
        assert (await inspect(client, text=text, offsets=unit))["tokens"][1] == {"start": start, "end": end}


async def test_the_limits_of_a_text_hold(client: httpx.AsyncClient) -> None:
    for body in (
        {"text": " "},
        {"text": "x" * 5_001},
        {"text": "a", "direction": "sideways"},
        {"text": "a", "sekret": 1},
    ):
        check_refused(await client.post("/inspect", json=body), 422, "invalid")


async def test_it_is_charged_to_the_queue(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    async with client_of(make_app(held, max_texts=1, max_waiting_texts=1)) as client:
        tasks = []
        for waiting in (0.0, 1.0):  # one runs, one waits
            tasks.append(asyncio.create_task(client.post("/predict", json={"text": "good"})))
            if not waiting:
                await asyncio.to_thread(held.entered.acquire)
            while f"ovation_waiting_texts {waiting}".encode() not in (await client.get("/metrics")).content:
                await asyncio.sleep(0)
        response = await client.post("/inspect", json={"text": "good"})
        check_refused(response, 429, "overloaded")
        assert response.headers["retry-after"]
        held.gate.set()
        assert [(await task).status_code for task in tasks] == [200, 200]
        assert (await client.post("/inspect", json={"text": "good"})).status_code == 200
        assert b"ovation_waiting_texts 0.0" in (await client.get("/metrics")).content


async def test_a_text_that_is_inspected_counts_as_twenty(tiny_classifier: Classifier) -> None:
    """Many at once are worked off one after another, or refused where the queue has no room for their tokens."""
    async with client_of(make_app(tiny_classifier, max_waiting_tokens=60_000)) as client:
        text = "good film " * 100  # 200 tokens, charged as 4,000
        answers = await asyncio.gather(*(client.post("/inspect", json={"text": text}) for _ in range(40)))
        assert {answer.status_code for answer in answers} == {200, 429}
        assert b"ovation_waiting_texts 0.0" in (await client.get("/metrics")).content


async def test_its_time_is_bounded(client: httpx.AsyncClient) -> None:
    text = "good film " * 400
    answers = await asyncio.gather(
        *(client.post("/inspect", json={"text": text}, headers={"X-Request-Timeout-Ms": "30"}) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} <= {200, 408, 429, 504}
    assert (await client.post("/inspect", json={"text": "good"})).status_code == 200


async def test_off_is_off(tiny_classifier: Classifier) -> None:
    async with client_of(make_app(tiny_classifier, inspect="off")) as client:
        check_refused(await client.post("/inspect", json={"text": "good"}), 404, "not_found")
        assert (await client.get("/model")).json()["inspect"] is False
        assert "/inspect" not in (await client.get("/openapi.json")).json()["paths"]


async def test_a_graph_of_others_is_refused(tiny_classifier: Classifier) -> None:
    model = tiny_classifier.bundle.model.replace(b"embedding", b"embellish")
    other = Classifier(replace(tiny_classifier.bundle, model=model), "cpu")
    async with client_of(make_app(other)) as client:
        check_refused(await client.post("/inspect", json={"text": "good"}), 422, "no_inspection")
        assert (await client.post("/predict", json={"text": "good"})).status_code == 200
