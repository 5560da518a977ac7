"""The batcher with plain functions and gates; no model, no waiting for time to pass."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.admission import Admission, Closed, Overloaded
from service.engine.batcher import Answer, Batcher, Hung, Ran
from service.model.grouping import Grouping

pytestmark = pytest.mark.anyio

# A row costs next to nothing, so that whatever waits is joined, up to the limit.
JOIN = Grouping(1, {rows: 0.99 + 0.01 * rows for rows in range(1, 9)}, max_tokens=10_000, window=64)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


class Gate:
    """A slot that doubles its items, but waits to be let through; it remembers its batches. An item is its length."""

    def __init__(self, open_: bool = False) -> None:
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.batches: list[list[int]] = []
        self.interrupted = threading.Event()
        self.heeds = True  # whether interrupting it helps
        if open_:
            self.open.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.entered.release()
        while not self.open.wait(0.001):
            if self.heeds and self.interrupted.is_set():
                raise RuntimeError("interrupted")
        if 13 in items:
            raise ValueError("thirteen")
        if 14 in items:
            raise StopIteration  # asyncio carries it in no future
        if 66 in items:
            raise SystemExit  # what ends a thread
        return [2 * item for item in items][: 1 if 99 in items else None]

    def interrupt(self) -> None:
        self.interrupted.set()


def make(
    *slots: Gate,
    rows: int = 8,
    waiting: int = 100,
    tokens: int = 10_000,
    hang_seconds: float = 30.0,
    on_batch: Callable[[Ran], None] = lambda ran: None,
    on_lost: Callable[[str], None] = lambda reason: None,
) -> Batcher[int, int]:
    grouping = replace(JOIN, steps={count: JOIN.steps[count] for count in range(1, rows + 1)})
    admission = Admission(waiting, tokens)
    return Batcher(slots, lambda item: item, grouping, admission, hang_seconds, on_batch, on_lost)


async def results(batcher: Batcher[int, int], *items: int, seconds_left: float = 60.0) -> list[int]:
    return [answer.result for answer in await batcher.submit(items, seconds_left)]


def ask(batcher: Batcher[int, int], *items: int) -> asyncio.Task[list[int]]:
    return asyncio.create_task(results(batcher, *items))


async def entered(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.entered.acquire, timeout=20)


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
    assert batcher.last_success > 0
    await batcher.close()


async def test_what_piles_up_is_the_next_batch_and_equal_lengths_go_together() -> None:
    gate = Gate()
    batcher = make(gate, rows=4)
    tasks = [ask(batcher, 1)]
    await entered(gate)
    lengths = [10, 500, 11, 490, 12, 480, 9, 470]
    tasks += [ask(batcher, length) for length in lengths]
    await until(lambda: batcher.admission.texts == 8)
    gate.open.set()
    assert await asyncio.gather(*tasks) == [[2 * length] for length in (1, *lengths)]
    assert [sorted(batch) for batch in gate.batches] == [[1], [9, 10, 11, 12], [470, 480, 490, 500]]
    await batcher.close()


async def test_the_head_of_the_queue_is_always_in_the_next_batch() -> None:
    gate = Gate()
    batcher = make(gate, rows=4)
    tasks = [ask(batcher, 1)]
    await entered(gate)
    tasks += [ask(batcher, 1000), *(ask(batcher, 10) for _ in range(40))]
    await until(lambda: batcher.admission.texts == 41)
    gate.open.set()
    await asyncio.gather(*tasks)
    assert 1000 in gate.batches[1]
    await batcher.close()


async def test_a_request_larger_than_a_batch_keeps_its_order() -> None:
    batcher = make(Gate(open_=True), rows=3)
    assert await results(batcher, *range(1, 11)) == [2 * item for item in range(1, 11)]
    await batcher.close()


async def test_every_slot_works_at_once() -> None:
    first, second = Gate(), Gate()
    batcher = make(first, second)
    tasks = []
    for item in (1, 2):
        tasks.append(ask(batcher, item))
        await until(lambda item=item: len(first.batches + second.batches) == item)  # type: ignore[misc]
    assert len(first.batches) == len(second.batches) == 1
    first.open.set()
    second.open.set()
    assert await asyncio.gather(*tasks) == [[2], [4]]
    await batcher.close()


@given(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=9), min_size=1, max_size=30), st.integers(1, 3))
def test_whatever_comes_each_gets_its_own(requests: list[list[int]], slots: int) -> None:
    async def run() -> None:
        gates = [Gate(open_=True) for _ in range(slots)]
        batcher = make(*gates, rows=4, waiting=1000)
        found = await asyncio.gather(*(results(batcher, *items) for items in requests))
        assert found == [[2 * item for item in items] for items in requests]
        batches = [batch for gate in gates for batch in gate.batches]
        assert sorted(itertools.chain(*batches)) == sorted(itertools.chain(*requests))
        assert max(map(len, batches)) <= 4
        await batcher.close()

    asyncio.run(run())


async def test_admitted_whole_or_not_at_all() -> None:
    gate = Gate()
    batcher = make(gate, rows=1, waiting=2)
    running = ask(batcher, 1)
    await entered(gate)
    waiting = ask(batcher, 2)
    await until(lambda: batcher.admission.texts == 1)
    with pytest.raises(
        Overloaded, match=r"expected room for 2 texts or sentences \(7 tokens\), found 1 of 2 places"
    ) as refusal:
        await batcher.submit([3, 4])
    assert refusal.value.retry_seconds == 1  # nothing has been measured yet
    assert batcher.admission.texts == 1
    gate.open.set()
    assert [await running, await waiting] == [[2], [4]]
    assert gate.batches == [[1], [2]]
    await batcher.close()


async def test_tokens_are_bounded_too_but_nobody_is_refused_by_an_empty_queue() -> None:
    gate = Gate()
    batcher = make(gate, rows=1, tokens=100)
    running = ask(batcher, 1)
    await entered(gate)
    long = ask(batcher, 500)  # larger than all the room, and still alone
    await until(lambda: batcher.admission.texts == 1)
    with pytest.raises(Overloaded, match="500 of 100 tokens taken"):
        await batcher.submit([1])
    gate.open.set()
    assert [await running, await long] == [[2], [1000]]
    await batcher.close()


async def test_refused_where_the_predicted_wait_exceeds_the_time_left() -> None:
    gate = Gate()
    batcher = make(gate, rows=1)
    running = ask(batcher, 100)
    await entered(gate)
    await asyncio.sleep(0.05)
    gate.open.set()
    assert await running == [200]
    assert batcher.admission.seconds(1, 100) >= 0.05
    gate.open.clear()
    tasks = [ask(batcher, 1)]
    await entered(gate)
    tasks += [ask(batcher, 1000)]
    await until(lambda: batcher.admission.texts == 1)
    wait = batcher.admission.seconds(2, 1010)
    assert wait >= 0.1
    with pytest.raises(Overloaded, match="of work waiting") as refusal:
        await batcher.submit([10], seconds_left=wait / 2)
    assert refusal.value.retry_seconds >= 1
    assert abs(refusal.value.retry_seconds - wait / 2) <= 1
    tasks.append(asyncio.create_task(results(batcher, 10, seconds_left=2 * wait)))
    await until(lambda: batcher.admission.texts == 2)
    gate.open.set()
    assert await asyncio.gather(*tasks) == [[2], [2000], [20]]
    await batcher.close()


@pytest.mark.parametrize(("culprit", "error"), [(13, ValueError), (14, RuntimeError)])
async def test_only_the_culprit_of_a_failing_batch_fails(culprit: int, error: type[Exception]) -> None:
    gate = Gate()
    batcher = make(gate)
    first = ask(batcher, 1)
    await entered(gate)
    together = [ask(batcher, item) for item in (5, culprit, 6)]
    await until(lambda: batcher.admission.texts == 3)
    gate.open.set()
    found = await asyncio.gather(first, *together, return_exceptions=True)
    assert (found[0], found[1], found[3]) == ([2], [10], [12])
    assert type(found[2]) is error
    assert sorted(gate.batches[1]) == sorted([5, culprit, 6])
    assert gate.batches[2:] == [[item] for item in gate.batches[1]]
    await batcher.close()


async def test_too_few_results_are_a_failure() -> None:
    batcher = make(Gate(open_=True))
    assert await results(batcher, 99) == [198]
    assert await results(batcher, 5, 99, 7) == [10, 198, 14]  # one by one there are as many as there should be
    await batcher.close()


async def test_a_failed_item_fails_its_whole_request() -> None:
    batcher = make(Gate(open_=True), rows=1)
    with pytest.raises(ValueError, match="thirteen"):
        await batcher.submit([13, 1, 2])
    assert await results(batcher, 4) == [8]
    assert batcher.admission.texts == 0
    await batcher.close()


async def test_who_left_is_not_run_and_nobody_notices() -> None:
    gate = Gate()
    batcher = make(gate)
    running = ask(batcher, 1)
    await entered(gate)
    leaving, staying = ask(batcher, 2), ask(batcher, 3)
    await until(lambda: batcher.admission.texts == 2)
    leaving.cancel()
    running.cancel()  # even the one whose batch runs may leave
    await asyncio.wait([leaving, running])
    gate.open.set()
    assert await staying == [6]
    assert gate.batches == [[1], [3]]
    await batcher.close()


async def test_who_left_frees_its_places_and_is_counted() -> None:
    gate = Gate()
    batcher = make(gate, rows=1, waiting=2)
    running = ask(batcher, 1)
    await entered(gate)
    ticket = batcher.admit([2, 3])
    assert batcher.admission.texts == 2
    assert batcher.leave(ticket) == 2
    assert batcher.leave(ticket) == 0
    assert batcher.admission.texts == 0
    staying = ask(batcher, 4, 5)
    await until(lambda: batcher.admission.texts == 2)
    gate.open.set()
    assert [await running, await staying] == [[2], [8, 10]]
    assert gate.batches == [[1], [4], [5]]
    await batcher.close()


async def test_items_that_the_batcher_passed_over_are_counted_as_dropped() -> None:
    gate = Gate()
    batcher = make(gate, rows=1)
    running = ask(batcher, 1)
    await entered(gate)
    ticket = batcher.admit([2, 3])
    ticket.fail(TimeoutError())  # and before its caller leaves, the thread becomes idle
    gate.open.set()
    assert await running == [2]
    await until(lambda: batcher.admission.texts == 0)
    assert batcher.leave(ticket) == 2
    assert gate.batches == [[1]]
    with pytest.raises(TimeoutError):
        await ticket.answers
    await batcher.close()


async def test_abandon_answers_those_who_wait_and_lets_the_running_end() -> None:
    gate = Gate()
    batcher = make(gate, rows=1)
    running = ask(batcher, 1)
    await entered(gate)
    waiting = [ask(batcher, item) for item in (2, 3)]
    await until(lambda: batcher.admission.texts == 2)
    batcher.abandon()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in found] == [Closed, Closed]
    with pytest.raises(Closed):
        await batcher.submit([4])
    gate.open.set()
    assert await running == [2]
    await batcher.close()
    assert gate.batches == [[1]]


async def test_close_runs_what_waits_and_refuses_the_rest() -> None:
    gate = Gate()
    batcher = make(gate, rows=1)
    tasks = [ask(batcher, item) for item in (1, 2, 3)]
    await entered(gate)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Closed):
        await batcher.submit([4])
    gate.open.set()
    await closing
    assert await asyncio.gather(*tasks) == [[2], [4], [6]]
    assert not [thread for thread in threading.enumerate() if thread.name == "slot"]


async def test_close_does_not_wait_for_a_batch_that_nobody_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.batcher.CLOSE_SECONDS", 0.05)
    gate, reasons = Gate(), list[str]()
    batcher = make(gate, on_lost=reasons.append)
    running = ask(batcher, 1)
    await entered(gate)
    running.cancel()
    await asyncio.wait([running])
    async with asyncio.timeout(10):  # a batch may run for 30 s
        await batcher.close()
    gate.open.set()
    assert reasons == []


async def test_a_hung_batch_that_heeds_is_interrupted_and_the_slot_lives_on() -> None:
    gate, deaths = Gate(), list[str]()
    batcher = make(gate, hang_seconds=0.05, on_lost=deaths.append)
    running = ask(batcher, 1, 2)
    with pytest.raises(RuntimeError, match="interrupted"):
        await running
    assert len(gate.batches) <= 2  # not tried again text by text: it would hang as often
    gate.interrupted.clear()
    gate.open.set()
    assert await results(batcher, 3) == [6]
    assert deaths == []
    await batcher.close()


async def test_a_hung_batch_that_does_not_heed_ends_everybody_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.worker.INTERRUPT_SECONDS", 0.05)
    gate, deaths = Gate(), list[str]()
    gate.heeds = False
    batcher = make(gate, rows=1, hang_seconds=0.05, on_lost=deaths.append)
    tasks = [ask(batcher, item) for item in (1, 2)]
    async with asyncio.timeout(10):
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [Hung, Closed]
    assert gate.interrupted.is_set()
    [reason] = deaths
    assert "a batch hung: expected it to end within 0.05 s" in reason
    with pytest.raises(Closed):
        await batcher.submit([3])
    await batcher.close()  # without waiting for the thread that hangs
    gate.open.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_dead_thread_ends_everybody() -> None:
    gate, deaths = Gate(), list[str]()
    batcher = make(gate, rows=1, on_lost=deaths.append)
    tasks = [ask(batcher, item) for item in (66, 2)]
    await entered(gate)
    gate.open.set()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [Hung, Closed]
    assert deaths == ["an inference thread died of SystemExit"]
    await batcher.close()


async def test_a_thread_that_does_not_start_fails_its_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    batcher = make(Gate(open_=True))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        async with asyncio.timeout(10):
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await batcher.submit([1, 2])
    assert await results(batcher, 3) == [6]
    await batcher.close()


async def test_batches_are_told() -> None:
    told: list[Ran] = []
    batcher = make(Gate(open_=True), on_batch=told.append)
    ticket = batcher.admit([1, 2], tag="mine")
    answers = await ticket.answers
    assert [type(answer) for answer in answers] == [Answer, Answer]
    [ran] = told
    assert (ran.tokens, ran.failed, ran.waiting, ran.tags) == ([1, 2], 0, 0, ["mine"])
    assert ran.ended - ran.began == answers[0].compute_seconds
    await batcher.close()


async def test_a_lost_slot_takes_nobody_with_it_who_is_nearly_done() -> None:
    lost, other = Gate(), Gate()
    reasons: list[str] = []
    batcher = make(lost, other, rows=1, on_lost=reasons.append)
    tasks = [ask(batcher, item) for item in (66, 5)]
    await entered(lost)
    await entered(other)
    dies, ends = (lost, other) if [66] in lost.batches else (other, lost)
    dies.open.set()
    await until(lambda: bool(reasons))
    ends.open.set()
    with pytest.raises(Hung):
        await tasks[0]
    assert await tasks[1] == [10]
    await batcher.close()


@pytest.mark.parametrize(
    ("requests", "first"),
    [
        ([[5], [92], [90], [91], [6], [8], [7]], [5, 90, 91, 92]),
        ([[5, 92, 90, 91, 6, 8, 7]], [5, 6, 7, 8]),
        ([[5, 92, 90], [6]], [5, 6, 90, 92]),
    ],
)
async def test_texts_of_one_request_wait_by_length(requests: list[list[int]], first: list[int]) -> None:
    gate = Gate()
    batcher = Batcher([gate], lambda item: item, replace(JOIN, window=4), Admission(100, 10_000))
    asked = [ask(batcher, 1)]
    await entered(gate)
    asked += [ask(batcher, *items) for items in requests]
    while batcher.admission.texts < sum(map(len, requests)):
        await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(*asked)
    assert gate.batches[1] == first
    await batcher.close()
