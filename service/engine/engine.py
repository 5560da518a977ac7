"""Texts in, answers out: tokenizes, admits, waits. Every wire calls `Engine.predict` and nothing below it."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from time import perf_counter
from typing import NamedTuple, Protocol

from service.engine.batcher import Batcher, Ran
from service.model.classifier import Classifier, EvidenceUnavailable, Prediction
from service.model.tokenizer import BlankText, Encoded, tokens

# Longer texts are tokenized in slices, so that other requests do not wait for the whole of one.
_SLICE_CHARACTERS = 16_384
_SLICE_TOKENS = 4_096


class BlankAt(ValueError):
    """One of the texts is blank; `index` says which."""

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


class Late(Exception):
    """The deadline passed before all texts were answered."""


class Timings(NamedTuple):
    """What the texts of a request took, in seconds."""

    tokenize: float  # of all texts
    queue: list[float]  # [text] from admission until its batch began
    compute: list[float]  # [text] of its whole batch


class Answers(NamedTuple):
    """The predictions for the texts of one request, in order, with the name of the model that made them."""

    predictions: list[Prediction]
    timings: Timings
    model: str


class Observer(Protocol):
    """Is told of the engine's work, to count, log or trace it."""

    def tokenized(self, tag: object, tokens: int, seconds: float) -> None:
        """The texts of one request were tokenized."""

    def admitted(self, tag: object, texts: int) -> None:
        """The texts of one request were put into the queue."""

    def batch(self, ran: Ran) -> None:
        """A batch ended."""

    def dropped(self, reason: str, texts: int) -> None:
        """Texts left the queue unrun. `reason`: "cancelled" or "late"; "failed" with another text, or at shutdown."""


class Engine:
    """Answers texts with the `classifier`, through the `batcher`."""

    def __init__(self, classifier: Classifier, batcher: Batcher[Encoded, Prediction], observer: Observer) -> None:
        self.classifier, self.batcher = classifier, batcher
        self._observer = observer

    async def predict(
        self, texts: Sequence[str], deadline: float, evidence: bool = False, tag: object = None
    ) -> Answers:
        """Tokenizes on the event loop, then waits for the batcher, both until `deadline` (perf_counter seconds).

        `tag` is handed to the observer with each batch that runs one of the texts. A caller that is cancelled leaves
        the queue. Raises BlankAt, EvidenceUnavailable, Overloaded, Closed, Hung, Late, or what a batch raised.
        """
        classifier = self.classifier
        if evidence and not classifier.manifest.evidence:
            raise EvidenceUnavailable(classifier.name)
        began = perf_counter()
        encoded = await self._encode_all(texts, evidence, deadline)
        admitted = perf_counter()
        self._observer.tokenized(tag, sum([text.tokens for text in encoded]), admitted - began)
        if admitted >= deadline:
            raise Late
        ticket = self.batcher.admit(encoded, deadline - admitted, tag)
        self._observer.admitted(tag, len(texts))
        timer = asyncio.get_running_loop().call_later(deadline - admitted, ticket.fail, Late())
        reason = "failed"
        try:
            answers = await ticket.answers
        except Late:
            reason = "late"
            raise
        except asyncio.CancelledError:
            reason = "cancelled"
            raise
        finally:
            timer.cancel()
            if ticket.missing:
                self._observer.dropped(reason, self.batcher.leave(ticket))
        queue, compute = [one.queue_seconds for one in answers], [one.compute_seconds for one in answers]
        timings = Timings(admitted - began, queue, compute)
        return Answers([one.result for one in answers], timings, classifier.name)

    async def _encode_all(self, texts: Sequence[str], evidence: bool, deadline: float) -> list[Encoded]:
        pauses = sum(map(len, texts)) > _SLICE_CHARACTERS
        encoded, since_pause = list[Encoded](), 0
        for index, text in enumerate(texts):
            since_pause += len(text)
            if pauses and since_pause > _SLICE_CHARACTERS:  # many short texts are as long as a long one
                await _pause(deadline)
                since_pause = len(text)
            try:
                encoded.append(
                    self.classifier.tokenizer.encode(text, evidence)
                    if len(text) <= _SLICE_CHARACTERS
                    else await self._encode_long(text, evidence, deadline)
                )
            except BlankText as error:
                raise BlankAt(index, str(error)) from None
        return encoded

    async def _encode_long(self, text: str, evidence: bool, deadline: float) -> Encoded:
        """Encodes one long text, with a pause for other requests after every slice."""
        tokenizer = self.classifier.tokenizer
        collected, stream = list[tuple[str, int, int]](), tokens(text, tokenizer.rules)
        while part := list(islice(stream, _SLICE_TOKENS)):
            collected += part
            await _pause(deadline)
        return tokenizer.encode_tokens(text, collected, spans=evidence)


async def _pause(deadline: float) -> None:
    """Lets other requests run. Raises Late if the deadline has passed, since nobody waits for the remaining tokens."""
    await asyncio.sleep(0)
    if perf_counter() >= deadline:
        raise Late
