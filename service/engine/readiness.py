"""Whether this worker answers texts: what its probes ask."""

import asyncio
from time import perf_counter

from service.engine.engine import Engine
from service.model.classifier import Asked

# A success this recent says that texts are answered; otherwise the probe sends a text of its own.
_FRESH_SECONDS = 10.0
_OWN_TEXT_SECONDS = 1.0


class NotReady(Exception):
    """The worker gives no answers now."""


class Readiness:
    """Where the worker stands: `started`, then `draining` from SIGTERM on; `lost` once an inference thread is lost."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.started = self.draining = self.lost = False
        self._probe: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Raises NotReady unless a text was answered in the last 10 s, or a golden text, sent to the queue now, is."""
        if not self.started or self.draining or self.lost:
            raise NotReady("the service is starting or stopping")
        if perf_counter() - self.engine.batcher.last_success < _FRESH_SECONDS:
            return
        if self._probe is None or self._probe.done():  # shared by all checks that come meanwhile
            self._probe = asyncio.create_task(self._send())
        await asyncio.shield(self._probe)

    async def _send(self) -> None:
        try:
            async with asyncio.timeout(_OWN_TEXT_SECONDS):
                classifier = self.engine.classifier
                golden = classifier.tokenizer.encode(classifier.manifest.golden[0].text)
                await self.engine.batcher.submit([Asked(classifier, golden)])
        except Exception as error:
            raise NotReady(
                f"expected an answer to a text of our own within {_OWN_TEXT_SECONDS} s, found {type(error).__name__}"
            ) from None
