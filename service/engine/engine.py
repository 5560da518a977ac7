"""What the routes work with: texts in, timed answers out, and whether the service can give any."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request

from service.engine.batcher import Answer, Batcher, Ticket
from service.http.connection import CALLER, Caller
from service.http.problems import Problem
from service.model.classifier import Classifier, EvidenceUnavailable, Prediction
from service.model.tokenizer import Encoded, tokens
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from service.telemetry.tracing import Trace

# Longer texts are tokenized in slices, so that nobody else waits for the whole of one.
_SLICE_CHARACTERS = 16_384
_SLICE_TOKENS = 4_096
# A success this recent says that texts are answered; else a probe sends one of its own.
_FRESH_SECONDS = 10.0
_CANARY_SECONDS = 1.0
_CANARY = "An absolute joy from start to finish."
# How fast the estimate of a request's tokens by its bytes follows what comes.
_FOLLOW = 0.01


class Judge:
    """Tokenizes, admits, waits. `draining` is set at SIGTERM, `dead` when an inference thread is lost."""

    def __init__(self, classifier: Classifier, batcher: Batcher[Encoded, Prediction], metrics: Metrics) -> None:
        self.classifier, self.batcher, self.metrics = classifier, batcher, metrics
        self.started = self.draining = self.dead = False
        self._tokens_per_byte = 0.2
        self._coming = self._coming_bytes = 0  # requests that are expected within this turn of the event loop
        self._canary: asyncio.Task[None] | None = None

    async def __call__(self, request: Request, texts: Sequence[str], evidence: bool) -> list[Answer[Prediction]]:
        """Tokenizes on the event loop, then waits for the batcher. Raises BlankText, and what `problems` knows."""
        if evidence and not self.classifier.manifest.evidence:
            raise EvidenceUnavailable(self.classifier.name)
        state = request.state
        began = perf_counter()
        encoded = await self._encode_all(texts, evidence)
        admitted = perf_counter()
        state.tokenize_seconds = admitted - began
        state.tokens = sum([text.tokens for text in encoded])
        self.metrics.observe_tokenized(admitted - began)
        self._learn(state.body_bytes, sum([len(text.token_ids) for text in encoded]))
        trace: Trace | None = request.scope["state"].get("trace")
        caller: Caller = request.scope["state"].get(CALLER) or Caller()  # which another protocol says nothing of
        if caller.left:
            raise ClientDisconnect
        ticket = self.batcher.admit(encoded, state.deadline - admitted, trace)
        if trace is not None:
            trace.admitted, trace.texts = ticket.since, len(encoded)
        answers = state.answers = await self._wait(ticket, caller)
        return answers

    def shed(self, body_bytes: int, seconds_left: float) -> None:
        """Raises Overloaded or Closed where a request with so long a body would be refused even if it had half the
        tokens that its bytes suggest: known before it is read."""
        tokens = int(body_bytes * self._tokens_per_byte / 2)
        self.batcher.check(1, tokens, seconds_left, self._coming, int(self._coming_bytes * self._tokens_per_byte))

    def expect(self, body_bytes: int) -> None:
        """A request was let through that is not here yet: until the event loop has come to it, `shed` counts it as
        waiting. Hundreds may be asked about in one turn, all of which would find the same room."""
        if not self._coming:
            asyncio.get_running_loop().call_soon(self._have_come)
        self._coming += 1
        self._coming_bytes += body_bytes

    def _have_come(self) -> None:
        self._coming = self._coming_bytes = 0

    async def check_ready(self) -> None:
        """Raises Problem unless texts are answered: one was lately, or one of ours is now, through the real queue."""
        if not self.started or self.draining or self.dead:
            raise Problem("not_ready", "the service is starting or stopping", {"Retry-After": "1"})
        if perf_counter() - self.batcher.last_success < _FRESH_SECONDS:
            return
        if self._canary is None or self._canary.done():  # one for all who ask meanwhile
            self._canary = asyncio.create_task(self._send_canary())
        await asyncio.shield(self._canary)

    async def _send_canary(self) -> None:
        try:
            async with asyncio.timeout(_CANARY_SECONDS):
                await self.batcher.submit([self.classifier.tokenizer.encode(_CANARY)])
        except Exception as error:
            detail = f"expected an answer to a text of our own within {_CANARY_SECONDS} s, found {type(error).__name__}"
            raise Problem("not_ready", detail, {"Retry-After": "1"}) from None

    async def _wait(self, ticket: Ticket[Encoded, Prediction], caller: Caller) -> list[Answer[Prediction]]:
        """Waits for the answers, and for no longer than the caller does."""

        def leave() -> None:
            if not ticket.answers.done():
                ticket.answers.set_exception(ClientDisconnect())

        caller.on_leaving = leave
        reason = "failed"
        try:
            return await ticket.answers
        except ClientDisconnect:
            reason = "cancelled"
            raise
        except asyncio.CancelledError:
            reason = "late"
            raise
        finally:
            caller.on_leaving = None
            if ticket.missing:
                self.metrics.observe_dropped(reason, self.batcher.leave(ticket))

    def _learn(self, body_bytes: int, count: int) -> None:
        self._tokens_per_byte += _FOLLOW * (count / max(1, body_bytes) - self._tokens_per_byte)

    async def _encode_all(self, texts: Sequence[str], evidence: bool) -> list[Encoded]:
        if sum(map(len, texts)) <= _SLICE_CHARACTERS:
            return [self.classifier.tokenizer.encode(text, evidence) for text in texts]
        encoded, since_pause = list[Encoded](), 0
        for text in texts:
            since_pause += len(text)
            if since_pause > _SLICE_CHARACTERS:  # many short texts are as long as a long one
                await asyncio.sleep(0)
                since_pause = len(text)
            encoded.append(await self._encode(text, evidence))
        return encoded

    async def _encode(self, text: str, evidence: bool) -> Encoded:
        tokenizer = self.classifier.tokenizer
        if len(text) <= _SLICE_CHARACTERS:
            return tokenizer.encode(text, spans=evidence)
        found, stream = list[tuple[str, int, int]](), tokens(text, tokenizer.rules)
        while part := list(islice(stream, _SLICE_TOKENS)):
            found += part
            await asyncio.sleep(0)
        return tokenizer.encode_tokens(text, found, spans=evidence)
