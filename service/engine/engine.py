"""Texts in, answers out: tokenizes, admits, waits. Every wire calls `Engine.predict` and nothing below it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple, Protocol

from service.engine.admission import Overloaded
from service.engine.batcher import Answer, Batcher, Ran
from service.engine.encoding import BadText, Items, Late, encode
from service.model.classifier import Asked, Classifier, EvidenceUnavailable, Prediction, Sentence

_LOOK_SECONDS = 0.02  # between two looks whether the queue has room


class Timings(NamedTuple):
    """What the texts of a request and their sentences took, in seconds."""

    tokenize: float  # of all
    queue: list[float]  # [text or sentence] from admission until its batch began
    compute: list[float]  # [text or sentence] of its whole batch


class Answers(NamedTuple):
    """The predictions for the texts of one request, in order, with the name of the model that made them."""

    predictions: list[Prediction]  # without those that failed
    timings: Timings
    model: str
    tokens: int  # of the texts and their sentences
    failed: Mapping[int, BadText]  # by the text's place in the request


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
    """Answers texts of at most `max_characters` with the `classifier`, through the `batcher`.

    The classifier may be replaced at any time: a request is answered by the one that there was when it began.
    `on_answered`, where there is one, is told of the texts that were answered.
    """

    def __init__(
        self,
        classifier: Classifier,
        batcher: Batcher[Asked, Prediction],
        observer: Observer,
        max_characters: int | None = None,
    ) -> None:
        self.classifier, self.batcher = classifier, batcher
        self._observer, self._max_characters = observer, max_characters
        self.on_answered: Callable[[Sequence[str], Sequence[Prediction]], None] | None = None

    async def predict(
        self,
        texts: Sequence[str],
        deadline: float,
        evidence: bool = False,
        tag: object = None,
        *,
        sentences: bool = False,
        partial: bool = False,
        waits: bool = False,
    ) -> Answers:
        """Tokenizes on the event loop, then waits for the batcher, both until `deadline` (perf_counter seconds).

        With `sentences` each sentence is predicted like a text of its own, and counts as one. With `partial` bad texts
        stand in `Answers.failed`, and the others are answered. With `waits` texts wait for room in a full queue, until
        the deadline, in place of a refusal. `tag` is handed to the observer with each batch that runs one of the texts.
        A caller that is cancelled leaves the queue. Raises BadText unless `partial`, TooManyTogether,
        EvidenceUnavailable, Overloaded, Closed, Hung, Late, or what a batch raised.
        """
        classifier = self.classifier
        if evidence and not classifier.manifest.evidence:
            raise EvidenceUnavailable(classifier.name)
        began = perf_counter()
        items = await encode(
            classifier,
            texts,
            deadline,
            evidence=evidence,
            sentences=sentences,
            partial=partial,
            max_characters=self._max_characters,
        )
        tokenize = perf_counter() - began
        tokens = sum([item.tokens for item in items.encoded])
        self._observer.tokenized(tag, tokens, tokenize)
        asked = [Asked(classifier, encoded) for encoded in items.encoded]
        answers = await self._run(asked, deadline, tag, waits) if asked else []
        timings = Timings(tokenize, [one.queue_seconds for one in answers], [one.compute_seconds for one in answers])
        results = [one.result for one in answers]
        if self.on_answered is not None:
            self.on_answered(
                [text for place, text in enumerate(texts) if place not in items.failed],
                results[: len(texts) - len(items.failed)],
            )
        return Answers(_with_sentences(results, items), timings, classifier.name, tokens, items.failed)

    async def _run(self, asked: list[Asked], deadline: float, tag: object, waits: bool) -> list[Answer[Prediction]]:
        """Queues all or none, and waits for their answers."""
        while True:
            seconds_left = deadline - perf_counter()
            if seconds_left <= 0:
                raise Late
            try:
                ticket = self.batcher.admit(asked, seconds_left, tag)
                break
            except Overloaded:
                if not waits or seconds_left < _LOOK_SECONDS:
                    raise
            await asyncio.sleep(_LOOK_SECONDS)
        self._observer.admitted(tag, len(asked))
        timer = asyncio.get_running_loop().call_later(seconds_left, ticket.fail, Late())
        reason = "failed"
        try:
            return await ticket.answers
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


def _with_sentences(results: list[Prediction], items: Items) -> list[Prediction]:
    """The predictions of the texts, with those of their sentences where there are some; `results` are of all items."""
    if items.sentences is None:
        return results
    predictions = list[Prediction]()
    for prediction, spans in zip(results[: len(items.sentences)], items.sentences, strict=True):
        of_spans = [results[span.item] for span in spans]
        sentences = [
            Sentence(span.start, span.end, one.label, one.score, one.uncertain)
            for span, one in zip(spans, of_spans, strict=True)
        ]
        predictions.append(prediction._replace(sentences=sentences))
    return predictions
