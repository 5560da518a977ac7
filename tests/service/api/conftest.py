"""The app, and what `/predict` answers, for the tests of the wires."""

from collections.abc import AsyncIterator

import httpx
import pytest

from service.model.classifier import Classifier
from tests.support.server import client_of, make_app

TEXTS = ["The film was wonderful.", "İt wasn’t dull — café 🙂!", "awful", "qwxz zzyzx"]
MAX_CHARACTERS, MAX_TEXTS, MAX_BODY_BYTES = 5_000, 8, 60_000


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def client(tiny_classifier: Classifier) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app, which has low limits."""
    limits = {"max_characters": MAX_CHARACTERS, "max_texts": MAX_TEXTS, "max_body_bytes": MAX_BODY_BYTES}
    async with client_of(make_app(tiny_classifier, **limits)) as found:
        yield found


async def native(client: httpx.AsyncClient, text: str) -> dict[str, float]:
    """The probabilities that `/predict` answers."""
    answer = await client.post("/predict", json={"text": text})
    assert answer.status_code == 200
    probabilities: dict[str, float] = answer.json()["probabilities"]
    return probabilities


def ranked(probabilities: dict[str, float]) -> list[dict[str, object]]:
    """Labels and scores, best first."""
    pairs = sorted(probabilities.items(), key=lambda pair: pair[1], reverse=True)
    return [{"label": label, "score": score} for label, score in pairs]


def check_refused(
    response: httpx.Response, status: int, kind: str, media_type: str = "application/problem+json"
) -> str:
    """The reason, which repeats nothing that was sent."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == media_type
    assert response.headers["x-request-id"]
    body = response.json()
    assert (body["error_type"], body["error"]) == (kind, body["detail"])
    assert "sekret" not in response.text
    detail: str = body["detail"]
    return detail
