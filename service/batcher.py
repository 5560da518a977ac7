"""Many waiting callers -> few calls of one blocking function; it knows nothing of models.

A drain task exists only while somebody waits: an idle service adds no delay, and what piles up while one batch runs
is the next. There is no loop to supervise, so there is none to die.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Overloaded(Exception):
    """The queue has no room for the whole request."""

    def __init__(self, waiting: int, items: int, max_waiting: int) -> None:
        super().__init__(f"expected room for {items} more, found {waiting} of {max_waiting} places taken")


class Closed(Exception):
    """The batcher takes no more items."""


@dataclass(frozen=True, slots=True)
class Answer(Generic[Result]):
    """A result and what it took."""

    result: Result
    queue_seconds: float  # from submission until the batch began
    compute_seconds: float  # of the whole batch


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter(Generic[Item, Result]):
    item: Item
    future: asyncio.Future[Answer[Result]]
    since: float  # perf_counter seconds


class Batcher(Generic[Item, Result]):
    """Calls `run` in one thread of its own with up to `max_batch_size` items at a time.

    `run` must return one result an item, in order. `on_batch` is told of each batch that was run.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Sequence[Result]],
        max_batch_size: int,
        max_waiting: int,
        on_batch: Callable[[list[Item], float], None] = lambda items, compute_seconds: None,
    ) -> None:
        self._run, self._on_batch = run, on_batch
        self._max_batch_size, self._max_waiting = max_batch_size, max_waiting
        # In order of arrival; a caller that leaves frees its places at once, wherever they are.
        self._waiting: OrderedDict[_Waiter[Item, Result], None] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batcher")
        self._drain_task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._waiting)

    async def submit(self, items: Sequence[Item]) -> list[Answer[Result]]:
        """Waits for the results of `items`, in order; admitted whole or not at all.

        Raises Overloaded, Closed, or whatever `run` raised. A caller that is cancelled leaves the queue.
        """
        if self._closed:
            raise Closed("expected an open batcher, found one that is closing")
        if len(self._waiting) + len(items) > self._max_waiting:
            raise Overloaded(len(self._waiting), len(items), self._max_waiting)
        loop, now = asyncio.get_running_loop(), perf_counter()
        waiters: list[_Waiter[Item, Result]] = [_Waiter(item, loop.create_future(), now) for item in items]
        self._waiting.update(dict.fromkeys(waiters))
        if self._drain_task is None or self._drain_task.done():
            self._drain_task = loop.create_task(self._drain())
        try:
            return await asyncio.gather(*(waiter.future for waiter in waiters))
        finally:
            for waiter in waiters:  # one failed or the caller left: the rest need not run
                waiter.future.cancel()
                self._waiting.pop(waiter, None)

    async def close(self) -> None:
        """Refuses new items, answers those that wait, and ends the thread."""
        self._closed = True
        if self._drain_task is not None:
            await asyncio.wait([self._drain_task])
        self._thread.shutdown()

    async def _drain(self) -> None:
        """Runs batches until nobody waits; ends every waiter, also when it is itself cancelled."""
        batch: list[_Waiter[Item, Result]] = []
        try:
            while batch := self._take():
                await self._answer(batch)
        finally:
            for waiter in (*batch, *self._waiting):
                waiter.future.cancel()

    async def _answer(self, batch: list[_Waiter[Item, Result]]) -> None:
        items = [waiter.item for waiter in batch]
        try:
            began, seconds, results = await asyncio.get_running_loop().run_in_executor(self._thread, self._timed, items)
            if len(results) != len(items):
                raise RuntimeError(f"expected {len(items)} results of a batch, found {len(results)}")
            self._on_batch(items, seconds)
        except Exception as error:  # whatever went wrong, every caller of this batch hears it
            for waiter in batch:
                if not waiter.future.done():
                    waiter.future.set_exception(error)
            return
        for waiter, result in zip(batch, results, strict=True):
            if not waiter.future.done():  # its caller may have left meanwhile
                waiter.future.set_result(Answer(result, began - waiter.since, seconds))

    def _take(self) -> list[_Waiter[Item, Result]]:
        """The next batch, without those whose callers have left; empty when nobody waits."""
        batch: list[_Waiter[Item, Result]] = []
        while self._waiting and len(batch) < self._max_batch_size:
            waiter, _ = self._waiting.popitem(last=False)
            if not waiter.future.done():
                batch.append(waiter)
        return batch

    def _timed(self, items: list[Item]) -> tuple[float, float, Sequence[Result]]:
        """Runs in the thread: when it began, the seconds it took, the results."""
        began = perf_counter()
        try:
            results = self._run(items)
        except StopIteration as error:  # asyncio cannot carry one: the batch would never end
            raise RuntimeError("expected results of a batch, found StopIteration") from error
        return began, perf_counter() - began, results
