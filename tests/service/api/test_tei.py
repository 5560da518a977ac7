"""`/tei`, as clients of Text Embeddings Inference send to it."""

from typing import Any

import httpx
import pytest

from service.model.classifier import Classifier
from tests.service.api.conftest import MAX_CHARACTERS, MAX_TEXTS, TEXTS, check_refused, native, ranked

pytestmark = pytest.mark.anyio


async def ask(client: httpx.AsyncClient, inputs: Any, **more: Any) -> httpx.Response:
    return await client.post("/tei/predict", json={"inputs": inputs, **more})


async def test_the_answers_are_those_of_predict(client: httpx.AsyncClient) -> None:
    expected = [ranked(await native(client, text)) for text in TEXTS]
    for text, rows in zip(TEXTS, expected, strict=True):
        assert (await ask(client, text)).json() == rows
        assert (await ask(client, [text])).json() == rows
    answer = await ask(client, [[text] for text in TEXTS])
    assert answer.json() == expected
    assert "compute" in answer.headers["server-timing"]
    assert (await ask(client, [[TEXTS[0]]])).json() == expected[:1]


@pytest.mark.parametrize(
    "more",
    [
        {"truncate": True},
        {"truncate": None, "truncation_direction": "left"},
        {"truncate": False, "raw_scores": False},
        {"truncation_direction": "Right", "sekret": 1},
    ],
)
async def test_options(client: httpx.AsyncClient, more: dict[str, Any]) -> None:
    assert (await ask(client, TEXTS[0], **more)).json() == ranked(await native(client, TEXTS[0]))


async def test_raw_scores_are_logits(client: httpx.AsyncClient, tiny_classifier: Classifier) -> None:
    logits = tiny_classifier.run(tiny_classifier.tokenizer.batch(TEXTS[:2]))[0].tolist()
    labels = tiny_classifier.manifest.labels
    expected = [ranked(dict(zip(labels, row, strict=True))) for row in logits]
    assert (await ask(client, [[text] for text in TEXTS[:2]], raw_scores=True)).json() == expected


async def test_a_text_that_is_not_read_whole(client: httpx.AsyncClient, tiny_classifier: Classifier) -> None:
    long = "so " * (tiny_classifier.manifest.max_tokens + 1)
    assert (await ask(client, long)).status_code == 200
    assert (await ask(client, long, truncate=True)).status_code == 200
    before = await predicted(client)
    most = tiny_classifier.manifest.max_tokens
    for inputs, place in (
        ([["fine"], [long]], "inputs.1"),
        ([[long]], "inputs.0"),
        ([long], "inputs"),
        (long, "inputs"),
    ):
        detail = check_refused(await ask(client, inputs, truncate=False), 422, "invalid")
        assert detail == f"{place}: expected at most {most} tokens or truncation, found {most + 1}"
    assert await predicted(client) == before


async def predicted(client: httpx.AsyncClient) -> list[str]:
    """The series of what was predicted."""
    names = (
        "ovation_predictions_total{",
        "ovation_score_count",
        "ovation_queue_seconds_count",
        "ovation_texts_truncated",
    )
    return [line for line in (await client.get("/metrics")).text.splitlines() if line.startswith(names)]


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        (["sekret", "sekret"], "inputs: expected one text, found several: pairs of texts are not classified"),
        ([["a"], ["sekret", "b"]], "inputs.1: expected one text, found several: pairs"),
        ([["a"], "sekret"], "inputs: expected one text, found several"),
        ([], "inputs: expected 1 to 8 texts, found none"),
        ([[]], "inputs.0: expected one text, found none"),
        ([["a"]] * (MAX_TEXTS + 1), "inputs: expected 1 to 8 texts, found more"),
        ([["a"], {"sekret": 1}], "inputs.1: expected a list of one text, found another type"),
        ([["a"], [5]], "inputs.1: expected a text, found another type"),
        ([["a"], [" "]], "inputs.1: expected a text with at least one visible character"),
        ("", "inputs: expected a text with at least one visible character"),
        (5, "inputs: expected a text, found another type"),
        (None, "inputs: expected a text, found another type"),
        ([["a"], ["s" * (MAX_CHARACTERS + 1)]], "inputs.1: expected at most 5000 characters, found 5001"),
    ],
)  # fmt: skip
async def test_refusals(client: httpx.AsyncClient, inputs: Any, reason: str) -> None:
    assert reason in check_refused(await ask(client, inputs), 422, "invalid")


async def test_info_and_health(client: httpx.AsyncClient, tiny_classifier: Classifier) -> None:
    info = (await client.get("/tei/info")).json()
    labels = tiny_classifier.manifest.labels
    assert f"{info['model_id']}@{info['model_sha']}" == tiny_classifier.name
    assert info["model_type"]["classifier"] == {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    assert (info["max_client_batch_size"], info["auto_truncate"]) == (MAX_TEXTS, True)
    health = await client.get("/tei/health")
    assert (health.status_code, health.content) == (200, b"")
