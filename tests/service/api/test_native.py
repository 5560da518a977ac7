"""`/predict` and `/predict/batch`: sentences, offsets, and texts that fail alone."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.api import schemas
from service.model.classifier import Classifier
from service.model.sentences import sentences
from tests.support.server import Held, client_of, make_app

pytestmark = pytest.mark.anyio

REVIEW = (
    "The film was wonderful.<br /><br />I thought, at first, that the music was dull... Her performance was a joy to "
    "watch 👍🏽 (mostly)! The ending, was it not, was awful? Mr. İlker’s café 🙂 — superb. <br><br />/> boring"
)
TEXTS = [
    REVIEW,
    "good",
    " Surrounded by white space. \n",
    "a <br<br />/>",
    "First. <br<br />/>",
    "好。坏。 𝒜𝓃𝒹 👩‍👩‍👧‍👦!",
    "?! 1. 2. e.g. i.e.",
    *["Every scene was brilliant and moving. " * count for count in (2, 200)],
    "The music was dull, I thought, " * 700 + ". Awful.",  # a sentence that is tokenized in slices
]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client(tiny_classifier: Classifier) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(tiny_classifier, max_characters=50_000)) as found:
        yield found


async def ask(client: httpx.AsyncClient, path: str, **body: Any) -> Any:
    response = await client.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def refused(client: httpx.AsyncClient, path: str, **body: Any) -> str:
    response = await client.post(path, json=body)
    assert (response.status_code, response.json()["error_type"]) == (422, "invalid")
    detail: str = response.json()["detail"]
    return detail


@pytest.mark.parametrize("evidence", [False, True])
async def test_a_sentence_is_answered_as_it_is_alone(client: httpx.AsyncClient, evidence: bool) -> None:
    together = await ask(client, "/predict/batch", texts=TEXTS, sentences=True, evidence=evidence)
    for text, found in zip(TEXTS, together["predictions"], strict=True):
        one = await ask(client, "/predict", text=text, sentences=True, evidence=evidence)
        schemas.Prediction.model_validate(one)
        assert {name: one[name] for name in found} == found
        plain = await ask(client, "/predict", text=text, evidence=evidence)
        assert {name: one[name] for name in plain} == plain
        for sentence in found["sentences"]:
            alone = await ask(client, "/predict", text=text[sentence["start"] : sentence["end"]])
            names = ("label", "score", "uncertain")
            assert [sentence[name] for name in names] == [alone[name] for name in names]


async def test_the_sentences_are_those_of_the_splitter(client: httpx.AsyncClient) -> None:
    for text in TEXTS:
        found = await ask(client, "/predict", text=text, sentences=True)
        spans = [(sentence["start"], sentence["end"]) for sentence in found["sentences"]]
        # Broken HTML is a line break once the break inside it is taken out: nothing that could be answered.
        assert spans == [span for span in sentences(text) if text[slice(*span)] != "<br<br />/>"]


async def test_mixed_is_where_certain_sentences_disagree(tiny_classifier: Classifier) -> None:
    parts = ["Wonderful, superb!", "Awful, dull!", "Qwxz."]
    texts = [f"{one} {other}" for one, other in itertools.permutations(parts, 2)]
    seen = set()
    for threshold in (0.0, 0.5, 0.6, 1.1):
        async with client_of(make_app(_Doubting(tiny_classifier, threshold))) as client:
            for text in texts:
                found = await ask(client, "/predict", text=text, sentences=True)
                labels = {one["label"] for one in found["sentences"] if not one["uncertain"]}
                assert found["mixed"] is (len(labels) > 1)
                seen.add(found["mixed"])
    assert seen == {True, False}


class _Doubting(Held):
    """Flags what is below `threshold`."""

    def __init__(self, real: Classifier, threshold: float) -> None:
        super().__init__(real)
        self.gate.set()
        self._threshold = threshold

    def predict(self, encoded: Any, options: object = None) -> Any:
        return [one._replace(uncertain=one.score < self._threshold) for one in super().predict(encoded)]


async def test_a_text_of_one_sentence_is_run_once(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    held.gate.set()
    async with client_of(make_app(held)) as client:
        found = await ask(client, "/predict", text="The film was wonderful.", sentences=True)
        assert held.judged == [5]
        assert [(one["start"], one["end"], one["score"]) for one in found["sentences"]] == [(0, 23, found["score"])]
        assert found["mixed"] is False
        await ask(client, "/predict", text="Dull. A joy to watch.", sentences=True)
        assert sorted(held.judged) == [2, 5, 5, 7]


async def test_too_many_sentences_are_refused_with_both_numbers(client: httpx.AsyncClient) -> None:
    assert len((await ask(client, "/predict", text="Good film. " * 200, sentences=True))["sentences"]) == 200
    expected = "text: expected at most 200 sentences in a text, found 201"
    assert expected in await refused(client, "/predict", text="Good film. " * 201, sentences=True)
    assert await ask(client, "/predict", text="Good film. " * 201)
    texts = ["Good film. " * 128] * 4
    assert len((await ask(client, "/predict/batch", texts=texts, sentences=True))["predictions"]) == 4
    expected = "texts: expected at most 512 sentences in a request, found 513"
    assert expected in await refused(client, "/predict/batch", texts=[*texts, "More."], sentences=True)
    expected = "texts.1: expected at most 200 sentences in a text, found 4545"
    assert expected in await refused(client, "/predict/batch", texts=["a", "Good film. " * 4545], sentences=True)


async def test_each_sentence_counts_as_a_text(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    async with client_of(make_app(held, max_texts=4, max_waiting_texts=4)) as client:
        running = asyncio.create_task(client.post("/predict", json={"text": "good"}))
        await asyncio.to_thread(held.entered.acquire)
        waiting = asyncio.create_task(client.post("/predict", json={"text": "Dull. Fine. ", "sentences": True}))
        while b"ovation_waiting_texts 3.0" not in (await client.get("/metrics")).content:
            await asyncio.sleep(0)
        response = await client.post("/predict/batch", json={"texts": ["Dull.", "Fine."]})
        assert (response.status_code, response.headers["retry-after"]) == (429, "1")
        assert "expected room for 2 texts or sentences (4 tokens), found 3 of 4 places" in response.json()["detail"]
        response = await client.post("/predict", json={"text": "Dull. Fine.", "sentences": True})
        assert "expected room for 3 texts or sentences (8 tokens), found 3 of 4 places" in response.json()["detail"]
        last = asyncio.create_task(client.post("/predict", json={"text": "good"}))
        while b"ovation_waiting_texts 4.0" not in (await client.get("/metrics")).content:
            await asyncio.sleep(0)
        response = await client.post("/predict/batch", json={"texts": ["Dull.", "Fine."]})
        assert "expected room for at least one text, found 4 of 4 places" in response.json()["detail"]
        held.gate.set()
        assert [(await task).status_code for task in (running, waiting, last)] == [200, 200, 200]


async def test_what_texts_look_like_is_counted_without_their_sentences(
    client: httpx.AsyncClient, tiny_classifier: Classifier
) -> None:
    await ask(client, "/predict", text="Dull. Awful. A joy.", sentences=True)
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    values = {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}
    assert values["ovation_sentences_total",] == 3
    assert values["ovation_queue_seconds_count",] == 4
    for name in ("score", "text_tokens", "text_unknown_share"):
        assert values[f"ovation_{name}_count", tiny_classifier.name] == 1
    assert sum(value for key, value in values.items() if key[0] == "ovation_predictions_total") == 1


@pytest.mark.parametrize("text", ["e.g. " * 9_500 + "Good.\n" * 300, "Good.\n" * 8_000])
async def test_others_have_their_turn_while_sentences_are_found(client: httpx.AsyncClient, text: str) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.create_task(turn())
    await refused(client, "/predict", text=text, sentences=True)  # before anything is tokenized or queued
    turning.cancel()
    assert turns > 30  # a request that is refused at once takes some five


# Texts that fail alone


async def test_a_bad_text_fails_alone_where_that_is_asked_for(client: httpx.AsyncClient) -> None:
    texts = ["good", " ", "x" * 50_001, "Good film. " * 201, "awful 🙂. Dull.", "", "<br />"]
    options = {"sentences": True, "evidence": True, "offsets": "utf16"}
    found = await ask(client, "/predict/batch", texts=texts, on_error="item", **options)
    schemas.Predictions.model_validate(found)
    good = await ask(client, "/predict/batch", texts=[texts[0], texts[4]], **options)
    assert [found["predictions"][index] for index in (0, 4)] == good["predictions"]
    blank = "expected a text with at least one visible character, found only white space"
    expected = {
        1: blank,
        2: "expected at most 50000 characters, found 50001",
        3: "expected at most 200 sentences in a text, found 201; send it in parts",
        5: blank,
        6: blank,
    }
    for index, detail in expected.items():
        [(name, problem)] = found["predictions"][index].items()
        assert name == "problem"
        assert (problem["status"], problem["error_type"], problem["detail"]) == (422, "invalid", detail)
    metrics = (await client.get("/metrics")).text
    assert f'ovation_failed_items_total{{error_type="invalid"}} {float(len(expected))}' in metrics
    assert "ovation_stream_lines_total 0.0" in metrics


@pytest.mark.parametrize("how", [{}, {"on_error": "request"}])
async def test_otherwise_it_fails_the_request(client: httpx.AsyncClient, how: dict[str, str]) -> None:
    found = await refused(client, "/predict/batch", texts=["good", "x" * 50_001], **how)
    assert found == "texts.1: expected at most 50000 characters, found 50001"
    found = await refused(client, "/predict/batch", texts=["good", ""], **how)
    assert found == "texts.1: expected a text with at least one visible character, found only white space"


async def test_where_all_are_bad_nothing_is_run(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    held.gate.set()
    async with client_of(make_app(held)) as client:
        response = await client.post("/predict/batch", json={"texts": [" ", "<br />"], "on_error": "item"})
        assert response.status_code == 200
        assert [list(one) for one in response.json()["predictions"]] == [["problem"], ["problem"]]
        assert response.headers["server-timing"].startswith("queue;dur=0.000, ")
        log = (await client.get("/metrics")).text
    assert held.judged == []
    assert 'ovation_requests_total{protocol="native",route="/predict/batch",status="200"} 1.0' in log


async def test_words_that_are_none_of_the_options(client: httpx.AsyncClient) -> None:
    expected = "offsets: Input should be 'code_points', 'utf16' or 'utf8'"
    assert await refused(client, "/predict", text="good", offsets="bytes") == expected
    expected = "on_error: Input should be 'request' or 'item'"
    assert await refused(client, "/predict/batch", texts=["good"], on_error="ignore") == expected
    assert "on_error" not in await refused(client, "/predict", text="good", on_error="item")
