"""The models of one worker: the one that answers, one that is being put in its place, one in the shadow.

A change has two steps, so that all workers make it or none: each prepares (loads, verifies and warms up aside, in a
thread, while texts are answered as before), and only then does each commit. Texts that were tokenized before go on with
the model that they were tokenized for, and every answer names its model.
"""

import asyncio
import contextlib
import ctypes
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import perf_counter
from typing import NamedTuple, Protocol

from service.engine.admission import Closed, Overloaded
from service.engine.batcher import Hung
from service.engine.encoding import BadText, Late, TooManyTogether, encode
from service.engine.engine import Engine
from service.model.bundles import Bundles, ChangeRefused, Files, Order
from service.model.classifier import Asked, Classifier, Prediction

_MOST_SHADOWS = 8  # requests whose texts the shadow has not answered yet; others are passed over
_SHADOW_SECONDS = 10.0


# From a change until the memory of the model before goes back to the system: the last batches end meanwhile.
_TIDY_SECONDS = 1.0


class Change(NamedTuple):
    """What became of an order, for whoever asks."""

    kind: str
    succeeded: bool
    at: datetime


class Observer(Protocol):
    """Is told of changes and of what the shadow finds."""

    def served(self, classifier: Classifier, before: Classifier) -> None:
        """`classifier` answers from now on, in the place of `before`."""

    def changed(self, change: Change, reason: str | None) -> None:
        """An order was carried out, or was not, for a `reason`."""

    def compared(self, live: Sequence[Prediction], shadow: Sequence[Prediction]) -> None:
        """Both models have answered the same texts."""

    def passed_over(self, texts: int) -> None:
        """Texts that the shadow should have answered were left out: it is busy, or cannot read them."""


class Models:
    """Changes the model of `engine`; `load` makes a classifier of files, and takes a second or more."""

    def __init__(self, engine: Engine, load: Callable[[Files], Classifier], observer: Observer) -> None:
        self._engine, self._load, self._observer = engine, load, observer
        # Always the same thread: glibc gives each its own arena, and would keep free memory in all of them.
        self._thread = ThreadPoolExecutor(1, "model")
        self._candidate: Classifier | None = None
        self._share = 0.0  # for the shadow; 0 for a candidate that is to answer
        self.shadow: Classifier | None = None
        self.last: Change | None = None
        self._tasks = set[asyncio.Task[None]]()

    async def prepare(self, order: Order, files: Files | None) -> None:
        """Loads what `order` needs. Raises what `load` does: BundleError, ProviderError, MemoryError."""
        self._candidate, self._share = None, order.share
        if files is not None:
            self._candidate = await asyncio.get_running_loop().run_in_executor(self._thread, self._load, files)

    def commit(self, order: Order) -> None:
        """Puts what was prepared in its place."""
        candidate, self._candidate = self._candidate, None
        if order.kind in ("shadow", "no_shadow"):
            self.shadow = candidate
            self._engine.on_answered = None if candidate is None else self._on_answered
        else:
            assert candidate is not None
            before, self._engine.classifier = self._engine.classifier, candidate
            self._observer.served(candidate, before)
        self.ended(order, None)
        asyncio.get_running_loop().call_later(_TIDY_SECONDS, _give_back_memory)

    def abort(self) -> None:
        """Drops what was prepared: another worker could not."""
        self._candidate = None
        _give_back_memory()

    def ended(self, order: Order, reason: str | None) -> None:
        """Remembers and tells what became of an order; `reason` says why it failed."""
        self.last = Change(order.kind, reason is None, datetime.now(UTC))
        self._observer.changed(self.last, reason)

    def _on_answered(self, texts: Sequence[str], predictions: Sequence[Prediction]) -> None:
        """Has the shadow answer a share of what was answered, where nothing else waits."""
        if self.shadow is None or random.random() >= self._share:
            return
        if len(self._tasks) >= _MOST_SHADOWS or self._engine.batcher.admission.texts:
            self._observer.passed_over(len(texts))
            return
        task = asyncio.create_task(self._compare(self.shadow, texts, predictions))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(self, shadow: Classifier, texts: Sequence[str], live: Sequence[Prediction]) -> None:
        try:
            async with asyncio.timeout(_SHADOW_SECONDS):
                items = await encode(shadow, texts, perf_counter() + _SHADOW_SECONDS)
                answers = await self._engine.batcher.submit([Asked(shadow, encoded) for encoded in items.encoded])
        except (BadText, TooManyTogether, Late, Overloaded, Closed, Hung, TimeoutError, RuntimeError):
            self._observer.passed_over(len(texts))
        else:
            self._observer.compared(live, [answer.result for answer in answers])


def _give_back_memory() -> None:
    """Gives free memory to the system, where the C library is glibc, which would keep it."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


class Orders(Protocol):
    """Whoever carries out what an operator asks for."""

    async def carry_out(self, order: Order) -> None:
        """Raises ChangeRefused: the model that is served stays."""


class OwnOrders:
    """Carries out orders in a service of one worker."""

    def __init__(self, models: Models, bundles: Bundles) -> None:
        self._models, self._bundles = models, bundles
        self._lock = asyncio.Lock()

    async def carry_out(self, order: Order) -> None:
        """Raises ChangeRefused: the model that is served stays."""
        if self._lock.locked():
            raise ChangeRefused("expected no other change at the same time, found one")
        async with self._lock:
            try:
                files = await asyncio.to_thread(self._bundles.plan, order)
                await self._models.prepare(order, files)
            except Exception as error:  # whatever it is, the model that is served goes on
                self._models.ended(order, str(error) or type(error).__name__)
                raise ChangeRefused(str(error) or type(error).__name__) from error
            self._models.commit(order)
            self._bundles.done(order, files)
