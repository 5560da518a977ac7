"""Many timers for the price of one: of those that are set, nearly all are called off long before they are due."""

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from time import perf_counter

_SPARE = 64  # alarms that were called off and may stay in the heap, whatever their share


class Alarms:
    """Calls back in the event loop at given times; calling off costs a dictionary's entry, setting that of a heap, too.

    One timer of the loop stands for all, armed for the earliest of those that were set since it last rang.
    """

    def __init__(self) -> None:
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._order: list[tuple[float, int]] = []  # a heap of when each is due; those that were called off stay a while
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed = float("inf")  # perf_counter seconds

    def set(self, when: float, callback: Callable[[], object]) -> int:
        """Has `callback` called at `when` (perf_counter seconds); the number is for `call_off`."""
        self._last += 1
        self._callbacks[self._last] = callback
        if len(self._order) > _SPARE + 2 * len(self._callbacks):
            self._order = [due for due in self._order if due[1] in self._callbacks]
            heapify(self._order)
        heappush(self._order, (when, self._last))
        if when < self._armed:
            self._arm(when)
        return self._last

    def call_off(self, alarm: int) -> bool:
        """Whether it had not rung yet, and will not now."""
        return self._callbacks.pop(alarm, None) is not None

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = when
        self._timer = asyncio.get_running_loop().call_later(max(0.0, when - perf_counter()), self._ring)

    def _ring(self) -> None:
        self._timer, self._armed = None, float("inf")
        now = perf_counter()
        while self._order and (self._order[0][0] <= now or self._order[0][1] not in self._callbacks):
            _, alarm = heappop(self._order)
            if (callback := self._callbacks.pop(alarm, None)) is not None:
                callback()
        if self._order:
            self._arm(self._order[0][0])
