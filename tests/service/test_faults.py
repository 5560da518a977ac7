"""What a real service answers, refuses and loses while things go wrong: every request is counted.

Answered: 200. Refused: told so (429, 500, 503, or no connection at all). Lost: the connection broke before an answer.
"""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import faults, soak
from tests.support.faulty_service import HANGS, HELD, RAISES, SLOW, text
from tests.support.process import Service, service
from tests.support.tally import Tally, clients, hammer


async def series(client: httpx.AsyncClient) -> dict[tuple[str, ...], float]:
    """All samples of /metrics."""
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    return {
        (s.name, *[value for label, value in s.labels.items() if label != "protocol"]): s.value
        for family in families
        for s in family.samples
    }


async def hold(client: httpx.AsyncClient, tally: Tally) -> asyncio.Task[int]:
    """Asks a held text, and waits until it runs."""
    task = asyncio.create_task(tally.ask(client, HELD))
    while (found := await series(client))["ovation_tokenize_seconds_count",] < 1 or found["ovation_waiting_texts",]:
        await asyncio.sleep(0.01)
    return task


async def until_busy(client: httpx.AsyncClient, waiting: int) -> None:
    """Until so many texts wait behind those that run, and no more."""
    while (await series(client))["ovation_waiting_texts",] != waiting:
        await asyncio.sleep(0.01)


def test_only_the_raising_text_fails(tiny_bundle_path: Path) -> None:
    async def run(found: Service) -> tuple[list[int], Tally]:
        tally = Tally()
        async with clients(found.url) as client:
            held = await hold(client, tally)  # so that the others are batched
            asked = [asyncio.create_task(tally.ask(client, n)) for n in (16, RAISES, 18) * 10]
            await until_busy(client, 30)
            found.gate.touch()
            return [*await asyncio.gather(*asked), await held], tally

    with service(tiny_bundle_path) as found:
        statuses, tally = asyncio.run(run(found))
    assert statuses == [200, 500, 200] * 10 + [200]
    assert str(tally) == "answered 21, refused {500: 10}, lost 0"


def test_a_hung_session_answers_everybody_and_ends_with_70(tiny_bundle_path: Path) -> None:
    async def run(url: str) -> Tally:
        tally = Tally()
        async with clients(url) as client:
            assert await tally.ask(client, 5) == 200
            await asyncio.gather(tally.ask(client, HANGS), *(tally.ask(client, 5) for _ in range(20)))
        return tally

    began = time.perf_counter()
    with service(tiny_bundle_path, hang_seconds=0.5) as found:
        tally = asyncio.run(run(found.url))
        code, out = found.end()
    assert time.perf_counter() - began < 20
    assert code == 70
    assert tally.lost_since == []
    assert sum(tally.refused.values()) + tally.answered == 22
    assert tally.refused[500] >= 1  # the hung batch: those in it
    assert set(tally.refused) <= {500, 503}
    [last] = [line for line in map(json.loads, out.splitlines()) if line["level"] == "critical"]
    assert "a batch hung: expected it to end within 0.5 s" in last["reason"]


def test_cancelled_clients_are_not_run_and_nobody_notices(tiny_bundle_path: Path) -> None:
    async def run(found: Service) -> tuple[Tally, dict[tuple[str, ...], float]]:
        tally = Tally()
        async with clients(found.url) as client:
            staying = [await hold(client, tally)]
            leaving = [asyncio.create_task(client.post("/predict", json={"text": text(7)})) for _ in range(20)]
            staying += [asyncio.create_task(tally.ask(client, 8)) for _ in range(20)]
            await until_busy(client, 40)
            for task in leaving:
                task.cancel()
            await asyncio.wait(leaving)
            await until_busy(client, 20)  # those that left are gone from the queue at once
            found.gate.touch()
            await asyncio.gather(*staying)
            return tally, await series(client)

    with service(tiny_bundle_path) as found:
        tally, after = asyncio.run(run(found))
    assert str(tally) == "answered 21, refused {}, lost 0"
    assert after["ovation_texts_dropped_total", "cancelled"] == 20
    assert after["ovation_batch_rows_sum",] == 21  # those that left were not run
    assert after["ovation_requests_total", "/predict", "499"] == 20


def test_deadlines(tiny_bundle_path: Path) -> None:
    async def run(found: Service) -> tuple[list[int], dict[tuple[str, ...], float]]:
        tally = Tally()
        async with clients(found.url) as client:
            held = await hold(client, tally)
            late = await asyncio.gather(*(tally.ask(client, 5, deadline_ms=100) for _ in range(5)))
            bad = await client.post("/predict", json={"text": "fine"}, headers={"X-Request-Timeout-Ms": "soon"})
            found.gate.touch()
            return [*late, bad.status_code, await held], await series(client)

    with service(tiny_bundle_path) as found:
        statuses, after = asyncio.run(run(found))
    assert statuses == [504] * 5 + [400, 200]
    assert after["ovation_texts_dropped_total", "late"] == 5
    assert after["ovation_batch_rows_sum",] == 1  # what was late was not run


def test_overload_is_refused_at_once_and_whole(tiny_bundle_path: Path) -> None:
    async def run(found: Service) -> tuple[Tally, float]:
        tally = Tally()
        async with clients(found.url) as client:
            asked = [await hold(client, tally), *(asyncio.create_task(tally.ask(client, 8)) for _ in range(8))]
            await until_busy(client, 8)
            began = time.perf_counter()
            refusals = [client.post("/predict", json={"text": text(8)}) for _ in range(20)]
            for answer in await asyncio.gather(*refusals):
                assert answer.status_code == 429
                assert int(answer.headers["retry-after"]) >= 1
                assert answer.json()["error_type"] == "overloaded"
            seconds = time.perf_counter() - began
            found.gate.touch()
            await asyncio.gather(*asked)
            after = await series(client)
        assert after["ovation_requests_shed_total",] == 20  # before their bodies were read
        assert after["ovation_batch_rows_sum",] == 9
        return tally, seconds

    with service(tiny_bundle_path, max_texts=2, max_waiting_texts=8) as found:
        tally, seconds = asyncio.run(run(found))
    assert str(tally) == "answered 9, refused {}, lost 0"
    assert seconds < 5  # while what was admitted is still held


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_under_load_loses_nothing_behind_a_balancer(tiny_bundle_path: Path, workers: int) -> None:
    async def run(found: Service) -> Tally:
        tally, stop = Tally(), asyncio.Event()
        load = asyncio.create_task(hammer(found.url, tally, stop))
        async with clients(found.url) as client:
            while tally.answered < 100:
                await asyncio.sleep(0.01)
            found.process.send_signal(signal.SIGTERM)
            # What a balancer does: asks whether it is ready, and sends no more when it is not.
            while (await client.get("/health/ready")).status_code == 200:
                await asyncio.sleep(0.01)
            at = tally.answered
            while tally.answered < at + 50:  # not ready any more, and still answering
                await asyncio.sleep(0.01)
            stop.set()
            await load
        return tally

    with service(tiny_bundle_path, workers=workers, pre_stop_seconds=3) as found:
        tally = asyncio.run(run(found))
        code, log = found.end()
    assert code == 0
    assert log.count("Finished server process") == workers  # the last line of each, so none is missing before
    assert tally.answered >= 150
    assert (tally.lost_since, tally.refused) == ([], {})


def test_what_the_grace_does_not_suffice_for_is_answered_503(tiny_bundle_path: Path) -> None:
    async def run(found: Service) -> Tally:
        tally = Tally()
        async with clients(found.url) as client:
            held = await hold(client, tally)
            asked = [asyncio.create_task(tally.ask(client, SLOW)) for _ in range(60)]  # eight batches
            await until_busy(client, 60)
            found.gate.touch()
            found.process.send_signal(signal.SIGTERM)
            await asyncio.gather(held, *asked)
        return tally

    with service(tiny_bundle_path, grace_seconds=1) as found:
        tally = asyncio.run(run(found))
        code, _ = found.end()
    assert code == 0
    assert tally.lost_since == []
    assert tally.answered >= 8
    assert tally.refused == {503: 61 - tally.answered}
    assert tally.refused[503] > 0


def test_ctrl_c_reaches_every_process_and_still_loses_nothing(tiny_bundle_path: Path) -> None:
    async def run(found: Service) -> Tally:
        tally = Tally()
        async with clients(found.url) as client:
            held = [asyncio.create_task(tally.ask(client, HELD)) for _ in range(4)]
            while (await series(client))["ovation_tokenize_seconds_count",] < 4:
                await asyncio.sleep(0.01)
            workers = found.workers()
            for pid in (*workers, found.process.pid):  # as a terminal does
                os.kill(pid, signal.SIGINT)
            while found.log.read_text().count('"event":"draining"') < len(workers):
                await asyncio.sleep(0.01)
            for pid in workers:  # as uvicorn's supervisor does a moment later
                os.kill(pid, signal.SIGTERM)
            found.gate.touch()
            await asyncio.gather(*held)
        return tally

    with service(tiny_bundle_path, workers=2) as found:
        tally = asyncio.run(run(found))
        found.end()
    assert str(tally) == "answered 4, refused {}, lost 0"


def test_a_second_signal_stops_now(tiny_bundle_path: Path) -> None:
    async def run(found: Service) -> Tally:
        tally = Tally()
        async with clients(found.url) as client:
            asked = asyncio.create_task(tally.ask(client, HANGS))
            await asyncio.sleep(0.3)
            for _ in range(2):
                found.process.send_signal(signal.SIGTERM)
                await asyncio.sleep(0.3)
            await asked
        return tally

    began = time.perf_counter()
    with service(tiny_bundle_path, grace_seconds=60, hang_seconds=60) as found:
        tally = asyncio.run(run(found))
        found.end()
    assert time.perf_counter() - began < 15
    assert len(tally.lost_since) + tally.refused[503] == 1


def running(pid: int) -> bool:
    """Whether the process still has its sockets: it is neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_killed_worker_loses_what_it_was_running_and_is_replaced(tiny_bundle_path: Path) -> None:
    async def run(found: Service) -> tuple[Tally, float, dict[tuple[str, ...], float]]:
        tally, stop = Tally(), asyncio.Event()
        load = asyncio.create_task(hammer(found.url, tally, stop))
        while tally.answered < 200:
            await asyncio.sleep(0.01)
        before = found.workers()
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        while running(before[0]):
            await asyncio.sleep(0.001)
        gone = time.perf_counter()
        while not (len(found.workers()) == 2 and before[0] not in found.workers()):
            await asyncio.sleep(0.05)
        at = tally.answered
        while tally.answered < at + 200:
            await asyncio.sleep(0.01)
        stop.set()
        await load
        async with clients(found.url) as client:
            return tally, gone, await series(client)

    with service(tiny_bundle_path, workers=2) as found:
        tally, gone, after = asyncio.run(run(found))
        found.process.send_signal(signal.SIGTERM)
        code, _ = found.end()
    assert code == 0
    assert len(tally.lost_since) <= 16
    # The clients hear of it a moment later: until then they take its connections for good ones.
    assert all(since <= gone + 0.25 for since in tally.lost_since), "lost after the process was gone"
    assert tally.refused == {}
    # What the killed one had counted still counts, but for its last 20 ms: requests are counted some at a time. It may
    # have answered what its clients never got.
    counted = after["ovation_requests_total", "/predict", "200"]
    assert tally.answered - 100 <= counted <= tally.answered + len(tally.lost_since)


def test_a_worker_that_hangs_is_replaced(tiny_bundle_path: Path) -> None:
    async def run(found: Service) -> list[int]:
        before = found.workers()
        async with clients(found.url) as client:
            tally = Tally()
            assert await tally.ask(client, HANGS) == 500
            while set(found.workers()) == set(before) or len(found.workers()) < 2:
                await asyncio.sleep(0.05)
        async with clients(found.url) as client:
            return [await tally.ask(client, 5) for _ in range(20)]

    with service(tiny_bundle_path, workers=2, hang_seconds=0.5) as found:
        statuses = asyncio.run(run(found))
    assert statuses == [200] * 20


def test_two_workers_count_as_one(tiny_bundle_path: Path) -> None:
    async def run(found: Service) -> list[dict[tuple[str, ...], float]]:
        tally = Tally()
        async with clients(found.url) as client:
            await asyncio.gather(*(tally.ask(client, 1 + index % 12) for index in range(200)))
            while (await series(client))["ovation_requests_total", "/predict", "200"] < 200:
                await asyncio.sleep(0.01)  # the other worker counts some at a time
        assert tally.answered == 200
        answers = []
        for _ in range(10):  # a new connection each: now one worker is asked, now the other
            async with clients(found.url) as client:
                answers.append(await series(client))
        return answers

    with service(tiny_bundle_path, workers=2) as found:
        assert len(found.workers()) == 2
        answers = asyncio.run(run(found))
    for after in answers:
        assert after["ovation_requests_total", "/predict", "200"] == 200
        assert after["ovation_tokenize_seconds_count",] == 200
        assert after["ovation_request_seconds_count", "/predict"] == 200
        assert after["ovation_waiting_texts",] == 0
        assert after["ovation_requests_total", "/predict", "504"] == 0


@pytest.mark.parametrize("name", ["SIGTERM in every phase", "metrics' disk full, worker killed"])
def test_of_the_table_of_faults(tiny_bundle_path: Path, name: str) -> None:
    try:
        trial = faults.run(name, tiny_bundle_path)
    except faults.Skipped as reason:
        pytest.skip(str(reason))
    assert len(trial.tally.lost_since) <= trial.may_lose, faults.row(name, trial)


def test_a_short_soak_loses_nothing(tiny_bundle_path: Path) -> None:
    record = soak.soak(tiny_bundle_path, seconds=3)
    assert record.lost == []
    assert record.statuses[200] > 0
    assert set(record.statuses) <= {200, *soak.REFUSALS}
    assert set(record.changes) <= {"reload: 200", "rollback: 200"}
    assert all(sample.memory and min(sample.threads) >= 1 for sample in record.samples)
