"""Many waiting callers -> few calls of one blocking function; it knows nothing of models.

Each slot is a thread that takes the next group itself when it has ended the last: an idle service adds no delay, and
what piles up while the slots are busy is what they choose from. The event loop admits, and hears of each ended batch.
"""

import asyncio
import contextlib
import math
import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import attrgetter
from time import perf_counter
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from service.model.grouping import Grouping

Item = TypeVar("Item")
Result = TypeVar("Result")
_Item = TypeVar("_Item", contravariant=True)
_Result = TypeVar("_Result", covariant=True)

_TOKENS = attrgetter("tokens")

_FORGET = 0.98  # of the measured rate at each batch: it follows the last fifty or so
_INTERRUPT_SECONDS = 1.0  # what a hung batch gets to end after it was interrupted
_POLL_SECONDS = 0.005  # between two looks at threads that end
_NICENESS = 3  # above the loop's: a slot's thread weighs half of it where both want one core
_LAST_SECONDS = 0.25  # what the batches of the other slots get to end when one is lost
# While others wait, the loop is woken for results at most this often: fewer turns between loop and network, which share
# their caches. `python -m benchmarks tuning` compares; there it was within the noise.
HOLD_SECONDS = 0.005


class Overloaded(Exception):
    """There is no room for the whole request, or not enough time; `retry_seconds` says when to come back."""

    def __init__(self, reason: str, retry_seconds: float) -> None:
        super().__init__(reason)
        self.retry_seconds = max(1, math.ceil(retry_seconds))


class Closed(Exception):
    """The batcher takes no more items, or gave up those that waited."""


class Hung(Exception):
    """The batch did not end in time."""


class Slot(Protocol[_Item, _Result]):
    """What a thread calls: one result an item, in order."""

    def __call__(self, items: Sequence[_Item], /) -> Sequence[_Result]:
        """Runs one batch."""

    def interrupt(self) -> None:
        """Makes the batch in progress fail soon; called from another thread."""


class Answer(NamedTuple, Generic[Result]):
    """A result and what it took."""

    result: Result
    queue_seconds: float  # from admission until the batch began
    compute_seconds: float  # of the whole batch


@dataclass(slots=True, eq=False)
class Ticket(Generic[Item, Result]):
    """A request that was admitted; `answers` ends with an answer for each item, in order, or with the first error."""

    answers: asyncio.Future[list[Answer[Result]]]
    since: float  # perf_counter seconds
    waiters: "list[_Waiter[Item, Result]]"  # until it ends: a cycle would be the garbage collector's, pauses and all
    found: list[Answer[Result] | None]
    missing: int
    caller: object  # as given to `admit`


@dataclass(slots=True, eq=False)
class _Waiter(Generic[Item, Result]):
    ticket: Ticket[Item, Result]
    index: int
    item: Item
    tokens: int


@dataclass(slots=True, eq=False)
class _Worker(Generic[Item, Result]):
    """A slot, its thread, and what it is at."""

    slot: Slot[Item, Result]
    batch: list[_Waiter[Item, Result]] = field(default_factory=list)
    began: float = 0.0  # perf_counter seconds
    idled: bool = True  # whether it had nothing to do just before
    interrupted: float | None = None  # when; perf_counter seconds
    given_up: bool = False


class _Done(NamedTuple, Generic[Item, Result]):
    """A batch that ended."""

    batch: list[_Waiter[Item, Result]]
    results: Sequence[Result | Exception]
    began: float  # perf_counter seconds
    ended: float
    idled: bool  # whether its slot had nothing to do just before


class Batcher(Generic[Item, Result]):
    """Runs items in `slots`, grouped by `grouping`, where `tokens` gives an item's length.

    The queue holds at most `max_items` and `max_tokens`; a request that finds nobody waiting is always admitted.
    While items wait, results may be held for `hold_seconds`.
    A batch that takes longer than `hang_seconds` is interrupted, then given up; `on_death` is then told why, once: a
    slot is lost, and the process should be replaced. `on_batch` is told of each batch that was run and its seconds;
    `on_callers` of each that held items of callers given to `admit`: they, its items' tokens, when it began and ended
    (perf_counter seconds) and how many items failed.
    """

    def __init__(
        self,
        slots: Sequence[Slot[Item, Result]],
        tokens: Callable[[Item], int],
        grouping: Grouping,
        max_items: int,
        max_tokens: int,
        hang_seconds: float = 10.0,
        hold_seconds: float = HOLD_SECONDS,
        on_batch: Callable[[list[Item], float], None] = lambda items, seconds: None,
        on_death: Callable[[str], None] = lambda reason: None,
        on_callers: Callable[[list[Any], list[int], float, float, int], None] | None = None,
    ) -> None:
        self._tokens, self._grouping = tokens, grouping
        self._max_items, self._max_tokens, self._hang_seconds = max_items, max_tokens, hang_seconds
        self._hold_seconds, self._on_batch, self._on_death = hold_seconds, on_batch, on_death
        self._on_callers = on_callers
        self._workers = [_Worker[Item, Result](slot) for slot in slots]
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: asyncio.TimerHandle | None = None
        # In order of arrival; a caller that leaves frees its places at once, wherever they are. Guarded by the lock,
        # like all that the threads share with the loop.
        self._waiting: OrderedDict[_Waiter[Item, Result], None] = OrderedDict()
        self._waiting_tokens = 0
        self._wake = threading.Condition()
        self._idle = 0
        self._admitted, self._nudging, self._collecting = 0, False, False
        self._closed = self._dead = False
        self._rate_tokens = self._rate_seconds = 0.0
        self._last_end = 0.0
        self._done = deque[_Done[Item, Result]]()  # batches that ended and the loop has not come to
        self._collected = 0.0  # when it last did; perf_counter seconds
        self.last_success = 0.0  # perf_counter seconds

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return len(self._waiting)

    @property
    def tokens_per_second(self) -> float | None:
        """What the slots together got done of late while they were busy; None before the first batch."""
        return self._rate_tokens / self._rate_seconds if self._rate_seconds else None

    def check(self, items: int, tokens: int, seconds_left: float, items_ahead: int = 0, tokens_ahead: int = 0) -> None:
        """Raises Closed, or Overloaded where a request of this size would find no room or no time, behind those that
        wait and others that are about to."""
        if self._closed:
            raise Closed("the service is stopping")
        # Read once: the slots take from them meanwhile.
        waiting, waiting_tokens = len(self._waiting) + items_ahead, self._waiting_tokens + tokens_ahead
        if not waiting:
            return
        rate = self.tokens_per_second
        excess = waiting_tokens + tokens - self._max_tokens
        if waiting + items > self._max_items or excess > 0:
            needed = max(excess, waiting_tokens / waiting * items)
            raise Overloaded(
                f"expected room for {items} more texts ({tokens} tokens), found {waiting} of "
                f"{self._max_items} places and {waiting_tokens} of {self._max_tokens} tokens taken",
                needed / rate if rate else 1,
            )
        if rate and (wait := (waiting_tokens + tokens) / rate) > seconds_left:
            raise Overloaded(
                f"expected an answer within {seconds_left:.3f} s, found {wait:.3f} s of work waiting",
                wait - seconds_left,
            )

    def admit(
        self, items: Sequence[Item], seconds_left: float = math.inf, caller: object = None
    ) -> Ticket[Item, Result]:
        """Queues all of `items`, or raises Overloaded or Closed. Whoever awaits the ticket's answers must `leave`."""
        lengths = list(map(self._tokens, items))
        total = sum(lengths)
        self.check(len(items), total, seconds_left)
        if self._loop is None:
            self._start()
        assert self._loop is not None
        count = len(items)
        answers = self._loop.create_future()
        ticket: Ticket[Item, Result] = Ticket(answers, perf_counter(), [], [None] * count, count, caller)
        ticket.waiters = [_Waiter(ticket, index, item, lengths[index]) for index, item in enumerate(items)]
        ticket.waiters.sort(key=_TOKENS)  # their order is free, so neighbours are to be of like length
        with self._wake:
            for waiter in ticket.waiters:
                self._waiting[waiter] = None
            self._waiting_tokens += total
        self._admitted += 1
        if self._idle:
            if not self._nudging:
                self._nudging = True
                self._loop.call_soon(self._nudge, self._admitted, ticket.since)
        elif not self._collecting and self._hold_seconds:
            self._collecting = True
            self._loop.call_later(self._hold_seconds, self._collect_held)
        return ticket

    def leave(self, ticket: Ticket[Item, Result]) -> int:
        """Drops what of a ticket has not begun, and says how many items; none of one that was answered."""
        if not ticket.missing:
            return 0
        ticket.answers.cancel()
        with self._wake:
            gone = [waiter for waiter in ticket.waiters if waiter in self._waiting]
            for waiter in gone:
                self._remove(waiter)
        ticket.waiters.clear()
        return len(gone)

    async def submit(self, items: Sequence[Item], seconds_left: float = math.inf) -> list[Answer[Result]]:
        """Waits for the results of `items`, in order; admitted whole or not at all.

        Raises Overloaded, Closed, Hung, or whatever the slot raised. A caller that is cancelled leaves the queue.
        """
        ticket = self.admit(items, seconds_left)
        try:
            return await ticket.answers
        finally:
            self.leave(ticket)

    def abandon(self) -> None:
        """Refuses new items and answers those that wait with Closed; batches in progress end as they do."""
        self._closed = True
        with self._wake:
            tickets = {waiter.ticket: None for waiter in self._waiting}
        for ticket in tickets:
            if not ticket.answers.done():
                ticket.answers.set_exception(Closed("the service is stopping and did not come to this"))

    async def close(self) -> None:
        """Refuses new items, runs those that wait, and ends the threads; one that hangs for nobody is left behind."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        while self._waiting or self._awaited():
            await asyncio.sleep(_POLL_SECONDS)
        end = perf_counter() + _INTERRUPT_SECONDS
        while any(thread.is_alive() for thread in self._threads) and perf_counter() < end:
            await asyncio.sleep(_POLL_SECONDS)
        await asyncio.sleep(0)  # what the threads told last
        if self._watch is not None:
            self._watch.cancel()

    def _awaited(self) -> bool:
        """Whether a batch runs that somebody waits for."""
        batches = [worker.batch for worker in self._workers]
        return any(not waiter.ticket.answers.done() for batch in batches for waiter in batch)

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last_end = perf_counter()
        for number, worker in enumerate(self._workers):
            # Daemons: one that hangs in native code must not keep the process from ending.
            thread = threading.Thread(target=self._work, args=(worker,), name=f"slot-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._look_after()

    # In the threads.

    def _work(self, worker: _Worker[Item, Result]) -> None:
        """A slot's thread: takes, runs, tells, until the batcher is closed and nobody waits."""
        assert self._loop is not None
        _step_back()
        try:
            while self._take(worker):
                batch = worker.batch
                results = self._run(worker, [waiter.item for waiter in batch])
                began, idled, ended = worker.began, worker.idled, perf_counter()
                worker.batch = []
                if worker.given_up:
                    return
                self._done.append(_Done(batch, results, began, ended, idled))
                if not self._waiting or ended - self._collected > self._hold_seconds:
                    self._loop.call_soon_threadsafe(self._collect)
        except BaseException as error:  # the thread ends: whoever waited for it must hear
            reason = f"an inference thread died of {type(error).__name__}"
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(self._die, worker, reason, error)

    def _take(self, worker: _Worker[Item, Result]) -> bool:
        """Waits for work and puts the next group into `worker.batch`; False when there will be none."""
        with self._wake:
            worker.idled = False
            while not (batch := self._choose()):
                if self._done:  # those who were to wait for a wake-up have left
                    assert self._loop is not None
                    self._loop.call_soon_threadsafe(self._collect)
                if self._closed:
                    return False
                worker.idled = True
                self._idle += 1
                self._wake.wait()
                self._idle -= 1
            worker.began, worker.interrupted, worker.batch = perf_counter(), None, batch
        return True

    def _choose(self) -> list[_Waiter[Item, Result]]:
        """Takes the group that `grouping` chooses, without those whose callers have left; empty when nobody waits."""
        while self._waiting:
            window = list(islice(self._waiting, self._grouping.window))
            head = window[0]
            window.sort(key=_TOKENS)
            group = window[self._grouping.choose([waiter.tokens for waiter in window], window.index(head))]
            for waiter in group:
                self._remove(waiter)
            if group := [waiter for waiter in group if not waiter.ticket.answers.done()]:
                return group
        return []

    def _remove(self, waiter: _Waiter[Item, Result]) -> None:
        del self._waiting[waiter]
        self._waiting_tokens -= waiter.tokens

    def _run(self, worker: _Worker[Item, Result], items: list[Item]) -> Sequence[Result | Exception]:
        """The results; where the batch fails, each item is tried once alone, so that only the culprit fails."""
        try:
            return _checked(worker.slot(items), len(items))
        except Exception as error:
            if len(items) == 1 or worker.interrupted is not None:
                return [_carried(error)] * len(items)
        found: list[Result | Exception] = []
        for item in items:
            try:
                found += _checked(worker.slot([item]), 1)
            except Exception as error:
                found.append(_carried(error))
        return found

    # In the loop.

    def _nudge(self, admitted: int, since: float) -> None:
        """Wakes idle slots once a turn of the loop has brought nothing more: who came together can run together."""
        if self._admitted != admitted and perf_counter() - since < self._hold_seconds:
            assert self._loop is not None
            self._loop.call_soon(self._nudge, self._admitted, since)
            return
        self._nudging = False
        with self._wake:
            self._wake.notify(len(self._waiting))

    def _collect(self) -> None:
        """Hands over what the slots have done."""
        while self._done:
            self._deliver(self._done.popleft())
        self._collected = perf_counter()

    def _collect_held(self) -> None:
        """Hands over what was held, and comes again while anybody waits."""
        assert self._loop is not None
        self._collect()
        if self._waiting:
            self._loop.call_later(self._hold_seconds, self._collect_held)
        else:
            self._collecting = False

    def _deliver(self, done: "_Done[Item, Result]") -> None:
        """Gives each caller its result; one that left meanwhile is passed over."""
        batch, results, began, ended, idled = done
        seconds = ended - began
        tokens = sum(waiter.tokens for waiter in batch)
        self._rate_tokens = self._rate_tokens * _FORGET + tokens
        # From the last end on, where there was no pause: what the loop and the other threads did meanwhile counts, too.
        since = max(began, self._last_end) if idled else self._last_end
        self._rate_seconds = self._rate_seconds * _FORGET + max(0.0, ended - since)
        self._last_end = ended
        failed = 0
        for waiter, result in zip(batch, results, strict=True):
            ticket = waiter.ticket
            if isinstance(result, Exception):
                failed += 1
                if not ticket.answers.done():
                    ticket.answers.set_exception(result)
                continue
            ticket.found[waiter.index] = Answer(result, began - ticket.since, seconds)
            ticket.missing -= 1
            if not ticket.missing:
                ticket.waiters.clear()
                if not ticket.answers.done():
                    ticket.answers.set_result([answer for answer in ticket.found if answer is not None])
        if failed < len(batch):
            self.last_success = ended
            self._on_batch([waiter.item for waiter in batch], seconds)
        if self._on_callers is not None:
            callers = list(dict.fromkeys(caller for waiter in batch if (caller := waiter.ticket.caller) is not None))
            if callers:
                self._on_callers(callers, [waiter.tokens for waiter in batch], began, ended, failed)

    def _look_after(self) -> None:
        """Every so often: a batch that takes too long is interrupted, and given up when that does not end it."""
        assert self._loop is not None
        self._collect()  # a batch that hangs must not keep from others what was done before it
        now = perf_counter()
        for worker in self._workers:
            with self._wake:  # so that the slot cannot take its next batch in between, which would be interrupted
                if not worker.batch or worker.given_up:
                    continue
                if worker.interrupted is None:
                    if now - worker.began > self._hang_seconds:
                        worker.interrupted = now
                        worker.slot.interrupt()
                    continue
                if now - worker.interrupted <= _INTERRUPT_SECONDS:
                    continue
                worker.given_up = True
            reason = f"a batch hung: expected it to end within {self._hang_seconds} s, found it running after"
            self._die(worker, reason, Hung(f"{reason} {now - worker.began:.1f} s"))
            return
        if not self._dead:
            self._watch = self._loop.call_later(min(1.0, self._hang_seconds / 4), self._look_after)

    def _die(self, lost: _Worker[Item, Result], reason: str, error: BaseException) -> None:
        """A slot is lost: those it ran fail, those who wait are told to come back, nobody is admitted any more."""
        assert self._loop is not None
        if self._dead:
            return
        self._dead = True
        self._collect()
        failure = error if isinstance(error, Exception) else Hung(reason)
        self._fail([lost], failure)
        self.abandon()
        self._loop.call_later(_LAST_SECONDS, self._fail, self._workers, failure)
        self._on_death(reason)

    def _fail(self, workers: Sequence[_Worker[Item, Result]], failure: Exception) -> None:
        """Answers those whose batches these run, but for what was done meanwhile."""
        self._collect()
        for worker in workers:
            for waiter in worker.batch:
                if not waiter.ticket.answers.done():
                    waiter.ticket.answers.set_exception(failure)


def _step_back() -> None:
    """Lets the loop go before this thread where both want the same core: whoever is refused hears of it at once.

    Evenly shared, a core leaves the loop behind its callers under overload, and they wait in their sockets, where
    nothing refuses them. On Linux alone a thread has a niceness of its own; it counts against all that share the core.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # where it is forbidden: as without it
            os.nice(_NICENESS)


def _checked(results: Sequence[Result], expected: int) -> Sequence[Result]:
    if len(results) != expected:
        raise RuntimeError(f"expected {expected} results of a batch, found {len(results)}")
    return results


def _carried(error: Exception) -> Exception:
    """What a future can hold in its place: anything but StopIteration."""
    return RuntimeError(f"a batch raised {error!r}") if isinstance(error, StopIteration) else error
