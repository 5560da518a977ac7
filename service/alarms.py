"""Many timers for the price of one: of those that are set, nearly all are called off long before they are due."""

import asyncio
from collections.abc import Callable
from time import perf_counter


class Alarms:
    """Calls back in the event loop at given times; setting and calling off costs a dictionary's entry.

    One timer of the loop stands for all, armed for the earliest of those that were set since it last rang.
    """

    def __init__(self) -> None:
        self._due: dict[int, tuple[float, Callable[[], object]]] = {}
        self._last = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed = float("inf")  # perf_counter seconds

    def set(self, when: float, callback: Callable[[], object]) -> int:
        """Has `callback` called at `when` (perf_counter seconds); the number is for `call_off`."""
        self._last += 1
        self._due[self._last] = when, callback
        if when < self._armed:
            self._arm(when)
        return self._last

    def call_off(self, alarm: int) -> bool:
        """Whether it had not rung yet, and will not now."""
        return self._due.pop(alarm, None) is not None

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = when
        self._timer = asyncio.get_running_loop().call_later(max(0.0, when - perf_counter()), self._ring)

    def _ring(self) -> None:
        self._timer, self._armed = None, float("inf")
        now = perf_counter()
        for alarm in [alarm for alarm, (when, _) in self._due.items() if when <= now]:
            if (due := self._due.pop(alarm, None)) is not None:  # one callback may call off another
                due[1]()
        if self._due:
            self._arm(min(when for when, _ in self._due.values()))
