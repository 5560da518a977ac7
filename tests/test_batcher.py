"""The batcher with a plain function and a gate; no model, no sleep."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from service.batcher import Batcher, Closed, Overloaded

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Gate:
    """A doubling function that waits to be let through, and remembers its batches."""

    def __init__(self, open_: bool = False) -> None:
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.batches: list[list[int]] = []
        if open_:
            self.open.set()

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.release()
        assert self.open.wait(30)
        if -1 in items:
            raise ValueError("minus one")
        return [2 * item for item in items][: 1 if 99 in items else None]


def make(run: Callable[[list[int]], list[int]], size: int = 8, waiting: int = 100) -> Batcher[int, int]:
    return Batcher(run, size, waiting)


async def results(batcher: Batcher[int, int], *items: int) -> list[int]:
    return [answer.result for answer in await batcher.submit(items)]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_alone_nothing_waits() -> None:
    gate = Gate(open_=True)
    batcher = make(gate)
    [answer] = await batcher.submit([3])
    assert answer.result == 6
    assert answer.queue_seconds >= 0
    assert answer.compute_seconds >= 0
    assert gate.batches == [[3]]
    await batcher.close()


async def test_what_piles_up_is_the_next_batch() -> None:
    gate = Gate()
    batcher = make(gate)
    tasks = [asyncio.create_task(results(batcher, 0))]
    await asyncio.to_thread(gate.entered.acquire)
    tasks += [asyncio.create_task(results(batcher, item)) for item in range(1, 18)]
    await until(lambda: batcher.waiting == 17)
    gate.open.set()
    assert await asyncio.gather(*tasks) == [[2 * item] for item in range(18)]
    assert [len(batch) for batch in gate.batches] == [1, 8, 8, 1]
    await batcher.close()


async def test_a_request_larger_than_a_batch_keeps_its_order() -> None:
    batcher = make(Gate(open_=True), size=3)
    assert await results(batcher, *range(10)) == [2 * item for item in range(10)]
    await batcher.close()


async def test_admitted_whole_or_not_at_all() -> None:
    gate = Gate()
    batcher = make(gate, size=1, waiting=2)
    running = asyncio.create_task(results(batcher, 1))
    await asyncio.to_thread(gate.entered.acquire)
    waiting = asyncio.create_task(results(batcher, 2))
    await until(lambda: batcher.waiting == 1)
    with pytest.raises(Overloaded, match="expected room for 2 more, found 1 of 2 places taken"):
        await batcher.submit([3, 4])
    assert batcher.waiting == 1
    gate.open.set()
    assert [await running, await waiting] == [[2], [4]]
    assert gate.batches == [[1], [2]]
    await batcher.close()


@pytest.mark.parametrize(("culprit", "error"), [(-1, ValueError), (99, RuntimeError)])
async def test_a_failing_batch_reaches_all_its_callers_and_no_other(culprit: int, error: type[Exception]) -> None:
    gate = Gate()
    batcher = make(gate, size=2)
    first = asyncio.create_task(results(batcher, 1))
    await asyncio.to_thread(gate.entered.acquire)
    together = [asyncio.create_task(results(batcher, item)) for item in (culprit, 5)]
    after = asyncio.create_task(results(batcher, 6))
    await until(lambda: batcher.waiting == 3)
    gate.open.set()
    outcomes = await asyncio.gather(first, *together, after, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[1:3]] == [error, error]
    assert (outcomes[0], outcomes[3]) == ([2], [12])
    await batcher.close()


async def test_who_gave_up_is_not_run() -> None:
    gate = Gate()
    batcher = make(gate, size=4)
    running = asyncio.create_task(results(batcher, 1))
    await asyncio.to_thread(gate.entered.acquire)
    leaving, staying = (asyncio.create_task(results(batcher, item)) for item in (2, 3))
    await until(lambda: batcher.waiting == 2)
    leaving.cancel()
    running.cancel()  # even the one whose batch runs may leave
    gate.open.set()
    assert await staying == [6]
    assert gate.batches == [[1], [3]]
    assert leaving.cancelled() or leaving.cancelling()
    await batcher.close()


async def test_who_gave_up_frees_its_places() -> None:
    gate = Gate()
    batcher = make(gate, size=1, waiting=2)
    running = asyncio.create_task(results(batcher, 1))
    await asyncio.to_thread(gate.entered.acquire)
    leaving = asyncio.create_task(results(batcher, 2, 3))
    await until(lambda: batcher.waiting == 2)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert batcher.waiting == 0
    staying = asyncio.create_task(results(batcher, 4, 5))
    await until(lambda: batcher.waiting == 2)
    gate.open.set()
    assert [await running, await staying] == [[2], [8, 10]]
    assert gate.batches == [[1], [4], [5]]
    await batcher.close()


async def test_an_exception_that_asyncio_cannot_carry_ends_its_batch() -> None:
    def run(items: list[int]) -> list[int]:
        raise StopIteration

    batcher = make(run)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await batcher.submit([1])
    await batcher.close()


async def test_one_failed_item_fails_its_request() -> None:
    gate = Gate(open_=True)
    batcher = make(gate, size=1)
    with pytest.raises(ValueError, match="minus one"):
        await batcher.submit([-1, 1, 2])
    assert await results(batcher, 4) == [8]
    assert batcher.waiting == 0
    await batcher.close()


async def test_close_answers_those_who_wait_and_refuses_the_rest() -> None:
    gate = Gate()
    batcher = make(gate, size=1)
    tasks = [asyncio.create_task(results(batcher, item)) for item in (1, 2, 3)]
    await asyncio.to_thread(gate.entered.acquire)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Closed):
        await batcher.submit([4])
    gate.open.set()
    await closing
    assert await asyncio.gather(*tasks) == [[2], [4], [6]]
    assert not any(thread.is_alive() for thread in batcher._thread._threads)


async def test_a_cancelled_drain_ends_every_waiter() -> None:
    gate = Gate()
    batcher = make(gate, size=1)
    tasks = [asyncio.create_task(results(batcher, item)) for item in (1, 2)]
    await asyncio.to_thread(gate.entered.acquire)
    assert batcher._drain_task is not None
    batcher._drain_task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
    gate.open.set()
    await batcher.close()


async def test_batches_are_told() -> None:
    told: list[tuple[list[int], float]] = []
    batcher = Batcher(Gate(open_=True), 8, 100, lambda items, seconds: told.append((items, seconds)))
    await batcher.submit([1, 2])
    assert told[0][0] == [1, 2]
    assert told[0][1] >= 0
    await batcher.close()
