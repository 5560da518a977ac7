"""Texts in, answers out, without HTTP."""

import asyncio
import math
from time import perf_counter

import pytest

from service.engine.admission import Admission, Overloaded
from service.engine.batcher import Batcher, Ran
from service.engine.encoding import encode
from service.engine.engine import Engine
from service.model import grouping
from service.model.classifier import Asked, Classifier, Prediction, Slot

pytestmark = pytest.mark.anyio

SECONDS = 20.0


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Counts:
    """An observer that counts how often texts were tokenized."""

    def __init__(self) -> None:
        self.tokenized_times = 0

    def tokenized(self, tag: object, tokens: int, seconds: float) -> None:
        self.tokenized_times += 1

    def admitted(self, tag: object, texts: int) -> None: ...

    def batch(self, ran: Ran) -> None: ...

    def dropped(self, reason: str, texts: int) -> None: ...


def make_engine(classifier: Classifier, counts: Counts, max_texts: int) -> tuple[Engine, Batcher[Asked, Prediction]]:
    batcher: Batcher[Asked, Prediction] = Batcher(
        [Slot()],
        lambda asked: len(asked.encoded.token_ids),
        grouping.for_provider("cpu", classifier.seconds),
        Admission(max_texts, 10**6),
        SECONDS,
        on_batch=lambda ran: None,
        on_lost=lambda reason: None,
    )
    return Engine(classifier, batcher, counts), batcher


async def test_texts_that_may_wait_are_tokenized_once_and_answered_when_there_is_room(
    tiny_classifier: Classifier,
) -> None:
    counts = Counts()
    engine, batcher = make_engine(tiny_classifier, counts, max_texts=4)
    deadline = perf_counter() + SECONDS
    try:
        # An empty queue takes a request of any size.
        first = asyncio.create_task(engine.predict(["good"] * 64, deadline))
        while not batcher.admission.texts:
            await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await engine.predict(["bad"], deadline)
        answers = await engine.predict(["bad"], deadline, waits=True)
        assert len(answers.predictions) == 1
        assert len((await first).predictions) == 64
    finally:
        await batcher.close()
    assert counts.tokenized_times == 3


async def test_other_tasks_have_their_turns_while_many_texts_are_split(tiny_classifier: Classifier) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    # Each has more sentences than a text may, and fewer marks than are looked at without a pause.
    items = await encode(tiny_classifier, ["Ax bo. " * 240] * 64, math.inf, sentences=True, partial=True)
    counting.cancel()
    assert len(items.failed) == 64
    assert turns >= 50
