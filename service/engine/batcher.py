"""Many waiting requests -> few calls of one blocking function; knows nothing of models.

All state belongs to the event loop, which hands each idle worker a group of the waiting items as soon as the worker's
last batch has ended: so an idle service adds no delay, and what piles up while all workers are busy is what the next
group is chosen from.
"""

import asyncio
import contextlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from time import perf_counter
from typing import Generic, NamedTuple

from service.engine.admission import Admission, Closed
from service.engine.worker import Item, Result, Slot, Worker
from service.model.grouping import Grouping

PAUSE_SECONDS = 0.002
_LAST_SECONDS = 0.25  # what the batches of the other workers get to end when one is lost
CLOSE_SECONDS = 1.0  # what the batches that nobody waits for get to end in `close`
_TOKENS = attrgetter("tokens")


class Hung(Exception):
    """The batch did not end in time, or its thread died."""


class Answer(NamedTuple, Generic[Result]):
    """A result and what it took."""

    result: Result
    queue_seconds: float  # from admission until the batch began
    compute_seconds: float  # of the whole batch


class Ran(NamedTuple):
    """A batch that ended; times are perf_counter seconds."""

    tokens: list[int]  # of each item
    began: float
    ended: float
    failed: int  # items
    waiting: int  # items that no batch had taken then
    tags: list[object]  # those given to `admit` for its items, each once


@dataclass(slots=True, eq=False)
class Ticket(Generic[Item, Result]):
    """A request that was admitted; `answers` ends with an answer for each item, in order, or with the first error."""

    answers: asyncio.Future[list[Answer[Result]]]
    since: float  # perf_counter seconds
    collected: list[Answer[Result] | None]
    missing: int  # items without a result
    not_run: int  # items that no batch has run
    tag: object
    waiters: "list[_Waiter[Item, Result]]"  # emptied at the end, to break the reference cycle

    def fail(self, error: Exception) -> None:
        """Ends the wait with `error`, unless it has ended."""
        if not self.answers.done():
            self.answers.set_exception(error)


@dataclass(slots=True, eq=False)
class _Waiter(Generic[Item, Result]):
    ticket: Ticket[Item, Result]
    index: int
    item: Item
    tokens: int


class Batcher(Generic[Item, Result]):
    """Runs items in `slots`, a thread each, grouped by `grouping`, where `length` gives an item's tokens.

    `admission` bounds what waits. A batch that takes longer than `hang_seconds` is interrupted; where that does not end
    it, its worker is lost: the requests in that batch fail with Hung, the waiting ones with Closed, and `on_lost` is
    called once with the reason, since the process should be replaced. `on_batch` is called with each batch that ended.
    """

    def __init__(
        self,
        slots: Sequence[Slot[Item, Result]],
        length: Callable[[Item], int],
        grouping: Grouping,
        admission: Admission,
        hang_seconds: float = 10.0,
        on_batch: Callable[[Ran], None] = lambda ran: None,
        on_lost: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._length, self._grouping, self.admission = length, grouping, admission
        self._on_batch, self._on_lost = on_batch, on_lost
        self._batch_ended = threading.Event()  # set by a worker's thread, until the event loop knows
        self._workers = [Worker(slot, hang_seconds, self._end, self._lose, self._batch_ended) for slot in slots]
        self._idle = list(self._workers)
        self._running: dict[Worker[Item, Result], list[_Waiter[Item, Result]]] = {}
        self._waiting: OrderedDict[_Waiter[Item, Result], None] = OrderedDict()  # in order of arrival
        self._fill_is_due = self._pause_is_due = self._lost = False
        self._work_since: float | None = None  # perf_counter seconds: end of the last batch, or begin after a pause
        self._over = asyncio.Event()  # set while no item waits or runs, and once a worker is lost
        self._over.set()
        self.last_success = -math.inf  # perf_counter seconds

    def admit(self, items: Sequence[Item], seconds_left: float = math.inf, tag: object = None) -> Ticket[Item, Result]:
        """Queues all of `items`, or raises Overloaded or Closed. Whoever awaits the ticket's answers must `leave`."""
        lengths = list(map(self._length, items))
        count, total = len(items), sum(lengths)
        self.admission.check(count, total, seconds_left)
        loop = asyncio.get_running_loop()
        ticket: Ticket[Item, Result] = Ticket(
            loop.create_future(), perf_counter(), [None] * count, count, count, tag, waiters=[]
        )
        ticket.waiters = [_Waiter(ticket, index, item, lengths[index]) for index, item in enumerate(items)]
        ticket.waiters.sort(key=_TOKENS)  # they may run in any order, and like lengths side by side need less padding
        for waiter in ticket.waiters:
            self._waiting[waiter] = None
        self.admission.enter(count, total)
        self._over.clear()
        if self._idle and not self._fill_is_due:
            self._fill_is_due = True
            loop.call_soon(self._fill)  # after this turn of the loop: requests that came together can run together
        return ticket

    def leave(self, ticket: Ticket[Item, Result]) -> int:
        """Drops the items of a ticket that no batch has run, and says how many; 0 where all were answered."""
        if not ticket.missing:
            return 0
        ticket.answers.cancel()
        for waiter in ticket.waiters:
            if waiter in self._waiting:
                self._remove(waiter)
        ticket.waiters.clear()
        self._check_idle()
        dropped, ticket.not_run = ticket.not_run, 0  # `_choose` may have removed some of them before
        return dropped

    async def submit(self, items: Sequence[Item], seconds_left: float = math.inf) -> list[Answer[Result]]:
        """Waits for the results of `items`, in order. A caller that is cancelled leaves the queue.

        Raises Overloaded, Closed, Hung, or whatever the slot raised.
        """
        ticket = self.admit(items, seconds_left)
        try:
            return await ticket.answers
        finally:
            self.leave(ticket)

    def pause_after_refusal(self) -> None:
        """Has the event loop wait, after this turn, until a batch ends, for at most PAUSE_SECONDS.

        Each of thousands of refusals a second would else interrupt the batch that runs; so they are handled some at a
        time, which leaves an overloaded core 8 % more for answers (`python -m benchmarks open`).
        """
        if not self._pause_is_due:
            self._pause_is_due = True
            asyncio.get_running_loop().call_soon(self._pause)

    def _pause(self) -> None:
        self._pause_is_due = False
        if not self._idle:
            self._batch_ended.wait(PAUSE_SECONDS)

    def abandon(self) -> None:
        """Refuses new items and fails those that wait with Closed; batches in progress end as they do."""
        self.admission.closed = True
        for ticket in {waiter.ticket: None for waiter in self._waiting}:
            ticket.fail(Closed())

    async def close(self) -> None:
        """Refuses new items, runs those that wait, and ends the threads.

        A thread is left behind if nobody waits for its batch and the batch runs CLOSE_SECONDS longer.
        """
        self.admission.closed = True
        waiters = [*self._waiting, *chain.from_iterable(self._running.values())]
        if answers := {waiter.ticket.answers for waiter in waiters}:
            await asyncio.wait(answers)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), CLOSE_SECONDS)
        for worker in self._workers:
            worker.close()

    def _remove(self, waiter: _Waiter[Item, Result]) -> None:
        del self._waiting[waiter]
        self.admission.leave(1, waiter.tokens)

    def _check_idle(self) -> None:
        """If no item waits or runs, lets `close` go on and leaves the pause that begins out of the measured rate."""
        if not self._waiting and not self._running:
            self._work_since = None
            self._over.set()

    def _fill(self) -> None:
        """Gives each idle worker a group of the waiting items."""
        self._fill_is_due = False
        while self._idle and (group := self._choose()):
            worker = self._idle.pop()
            self._running[worker] = group
            worker.run([waiter.item for waiter in group])
            if self._work_since is None:
                self._work_since = worker.began
        self._check_idle()

    def _choose(self) -> list[_Waiter[Item, Result]]:
        """Takes the group that `grouping` chooses, without items whose callers have left; empty if no item waits."""
        while self._waiting:
            window = list(islice(self._waiting, self._grouping.window))
            head = window[0]
            window.sort(key=_TOKENS)
            group = window[self._grouping.choose([waiter.tokens for waiter in window], window.index(head))]
            for waiter in group:
                self._remove(waiter)
            if group := [waiter for waiter in group if not waiter.ticket.answers.done()]:
                for waiter in group:
                    waiter.ticket.not_run -= 1
                return group
        return []

    def _end(self, worker: Worker[Item, Result], results: Sequence[Result | Exception], ended: float) -> None:
        """Gives `worker`, whose batch has ended, the next one, and only then the callers their results."""
        self._batch_ended.clear()
        batch, began = self._running.pop(worker), worker.began
        assert self._work_since is not None
        # Since the end of any worker's last batch: the rate is that of all workers, the event loop's own time included.
        tokens = sum([waiter.tokens for waiter in batch])
        self.admission.measure(len(batch), tokens, max(0.0, ended - self._work_since))
        self._work_since = ended
        self._idle.append(worker)
        self._fill()
        failed = 0
        for waiter, result in zip(batch, results, strict=True):
            ticket = waiter.ticket
            if isinstance(result, Exception):
                failed += 1
                ticket.fail(result)
                continue
            ticket.collected[waiter.index] = Answer(result, began - ticket.since, ended - began)
            ticket.missing -= 1
            if not ticket.missing:
                ticket.waiters.clear()
                if not ticket.answers.done():  # else its caller has left
                    ticket.answers.set_result([answer for answer in ticket.collected if answer is not None])
        if failed < len(batch):
            self.last_success = ended
        tags = list(dict.fromkeys([waiter.ticket.tag for waiter in batch]))
        self._on_batch(Ran([waiter.tokens for waiter in batch], began, ended, failed, len(self._waiting), tags))

    def _lose(self, lost: Worker[Item, Result], reason: str) -> None:
        """Fails the requests that `lost` runs with Hung and the waiting ones with Closed, and admits no more."""
        if self._lost:
            return
        self._lost = True
        self._over.set()
        self._fail([lost], reason)
        self.abandon()
        asyncio.get_running_loop().call_later(_LAST_SECONDS, self._fail, self._workers, reason)
        self._on_lost(reason)

    def _fail(self, workers: Sequence[Worker[Item, Result]], reason: str) -> None:
        """Fails the requests in the batches that `workers` run."""
        for worker in workers:
            worker.stop_watching()
            for waiter in self._running.get(worker, ()):
                waiter.ticket.fail(Hung(reason))
