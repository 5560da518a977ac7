"""One thread that runs batches, one at a time, and is watched: a batch that hangs is interrupted, then given up."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from time import perf_counter
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_Item = TypeVar("_Item", contravariant=True)
_Result = TypeVar("_Result", covariant=True)

INTERRUPT_SECONDS = 1.0  # what a hung batch gets to end after it was interrupted


class Slot(Protocol[_Item, _Result]):
    """What a worker calls: one result an item, in order."""

    def __call__(self, items: Sequence[_Item], /) -> Sequence[_Result]:
        """Runs one batch."""

    def interrupt(self) -> None:
        """Makes the batch in progress fail soon; called from another thread."""


class Worker(Generic[Item, Result]):
    """Runs `slot` in a thread of its own. All methods are called in the event loop, and both callbacks run there.

    `on_end` is called at the end of each batch with a result or an error for each item; `on_lost` with the reason once
    the thread has died, or runs a batch for `hang_seconds` and does not end a second after it was interrupted.
    """

    def __init__(
        self,
        slot: Slot[Item, Result],
        hang_seconds: float,
        on_end: "Callable[[Worker[Item, Result], Sequence[Result | Exception], float], None]",
        on_lost: "Callable[[Worker[Item, Result], str], None]",
        ended: threading.Event,
    ) -> None:
        self._slot, self._hang_seconds, self._on_end, self._on_lost = slot, hang_seconds, on_end, on_lost
        self._ended_event = ended
        self._inbox: SimpleQueue[Sequence[Item] | None] = SimpleQueue()  # None ends the thread
        self._thread: threading.Thread | None = None
        self._timer: asyncio.TimerHandle | None = None  # while a batch runs
        self._interrupted = False
        self.began = 0.0  # perf_counter seconds, of the last batch

    def run(self, items: Sequence[Item]) -> None:
        """Begins a batch; the one before has ended. Where the thread does not start, each item gets the error."""
        loop = asyncio.get_running_loop()
        self.began, self._interrupted = perf_counter(), False
        if self._thread is None:
            # A daemon: a thread that hangs in native code must not keep the process from ending.
            thread = threading.Thread(target=self._work, args=(loop,), name="slot", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system allows no more threads; the next batch tries again
                loop.call_soon(self._ended, [error] * len(items), perf_counter())
                return
            self._thread = thread
        self._timer = loop.call_later(self._hang_seconds, self._interrupt)
        self._inbox.put(items)

    def close(self) -> None:
        """Ends the thread; one that still runs a batch is left behind, and no longer watched."""
        self._inbox.put(None)
        self.stop_watching()
        if self._thread is not None and self._timer is None:
            self._thread.join()  # ends at once: the inbox holds nothing else

    def stop_watching(self) -> None:
        """Cancels the timer of the batch in progress: it is no longer interrupted or given up."""
        if self._timer is not None:
            self._timer.cancel()

    def _ended(self, results: Sequence[Result | Exception], ended: float) -> None:
        self.stop_watching()
        self._timer = None
        self._on_end(self, results, ended)

    def _interrupt(self) -> None:
        self._interrupted = True
        self._slot.interrupt()
        self._timer = asyncio.get_running_loop().call_later(INTERRUPT_SECONDS, self._give_up)

    def _give_up(self) -> None:
        expected = f"a batch hung: expected it to end within {self._hang_seconds} s"
        self._on_lost(self, f"{expected}, found it running after {perf_counter() - self.began:.1f} s")

    # In the thread.

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while (items := self._inbox.get()) is not None:
                loop.call_soon_threadsafe(self._ended, self._results(items), perf_counter())
                del items  # which would keep a model that was replaced, until the next batch
                self._ended_event.set()
        except BaseException as error:  # the thread ends: the requests in its batch must fail
            reason = f"an inference thread died of {type(error).__name__}"
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                loop.call_soon_threadsafe(self._on_lost, self, reason)

    def _results(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        """Where the batch fails, each item is tried once alone, so that only the culprit fails."""
        try:
            return self._checked(items)
        except Exception as error:
            if len(items) == 1 or self._interrupted:
                return [_carried(error)] * len(items)
        results: list[Result | Exception] = []
        for item in items:
            try:
                results += self._checked([item])
            except Exception as error:
                results.append(_carried(error))
        return results

    def _checked(self, items: Sequence[Item]) -> Sequence[Result]:
        results = self._slot(items)
        if len(results) != len(items):
            raise RuntimeError(f"expected {len(items)} results of a batch, found {len(results)}")
        return results


def _carried(error: Exception) -> Exception:
    """`error`, or a RuntimeError in place of StopIteration, which no future can hold."""
    return RuntimeError(f"a batch raised {error!r}") if isinstance(error, StopIteration) else error
