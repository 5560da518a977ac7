"""Alarms ring when they are due, in order, and not once they are called off."""

import asyncio
import tracemalloc
from time import perf_counter

from hypothesis import given, settings
from hypothesis import strategies as st

from service.http.alarms import Alarms


@settings(max_examples=20, deadline=None)
@given(delays=st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=20))
def test_every_alarm_rings_once_and_never_early_unless_called_off(delays: list[tuple[int, bool]]) -> None:
    async def run() -> list[int]:
        alarms, rung, early = Alarms(), list[int](), list[int]()
        all_due = asyncio.Event()

        def ring(index: int, when: float) -> None:
            rung.append(index)
            if perf_counter() < when:
                early.append(index)

        numbers = []
        for index, (delay, _) in enumerate(delays):
            when = perf_counter() + delay / 1e3
            numbers.append(alarms.set(when, lambda index=index, when=when: ring(index, when)))  # type: ignore[misc]
        for number, (_, call_off) in zip(numbers, delays, strict=True):
            assert not call_off or alarms.call_off(number)
        alarms.set(perf_counter() + 0.031, all_due.set)
        await asyncio.wait_for(all_due.wait(), 5)
        assert early == []
        assert not any(alarms.call_off(number) for number in numbers)
        return rung

    assert sorted(asyncio.run(run())) == [index for index, (_, call_off) in enumerate(delays) if not call_off]


def test_those_that_are_called_off_do_not_pile_up() -> None:
    asyncio.run(_set_and_call_off())


async def _set_and_call_off() -> None:
    tracemalloc.start()
    alarms = Alarms()
    for _ in range(20_000):
        alarms.call_off(alarms.set(perf_counter() + 3600, tracemalloc.stop))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 100_000


def test_a_callback_may_call_off_another_that_is_due() -> None:
    asyncio.run(_call_off_another())


async def _call_off_another() -> None:
    alarms, rung, done = Alarms(), list[str](), asyncio.Event()
    now = perf_counter()
    second = 0

    def first() -> None:
        rung.append("first")
        assert alarms.call_off(second)

    alarms.set(now, first)
    second = alarms.set(now, lambda: rung.append("second"))
    alarms.set(now, done.set)
    await asyncio.wait_for(done.wait(), 5)
    assert rung == ["first"]
