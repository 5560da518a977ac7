"""Limits over real sockets: of time, of connections, and of bytes held for all callers."""

import asyncio
import contextlib
import gc
import json
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.http import connection as limits
from service.http import held as held_bytes
from service.http.connections import RESERVE
from service.model.classifier import Classifier
from tests.support.connection import BODY, Answer, Connection, chunked, get, head, sample, until
from tests.support.process import service
from tests.support.server import Held, make_app, serving

SOON = 0.5  # seconds, in place of the deadlines of 10 and 20
REQUEST = head() + BODY


def ask(url: str, request: bytes = REQUEST) -> Answer:
    """One request on a connection of its own."""
    with Connection(url) as connection:
        connection.send(request)
        return connection.answer()


# Time


@pytest.mark.parametrize("before", [b"", REQUEST], ids=["first", "second"])
@pytest.mark.parametrize("part", [b"GET ", b"GET /health/live HTTP/1.1\r\nHost: test\r\n"])
def test_a_slow_head_is_refused(
    tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch, before: bytes, part: bytes
) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", SOON)
    with serving(make_app(tiny_classifier)) as url, Connection(url) as connection:
        if before:
            connection.send(before)
            assert connection.answer().status == 200
        connection.send(part)
        connection.trickle(b"a")
        answer = connection.answer()
        assert (answer.status, json.loads(answer.body)["error_type"]) == (408, "slow_head")
        assert connection.ended()
        assert sample(url, "ovation_requests_total", route="other", status="408") == 1


def test_a_connection_without_a_head_is_closed(tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", SOON)
    with serving(make_app(tiny_classifier)) as url, Connection(url) as connection:
        assert connection.ended()
        with Connection(url) as other:
            other.trickle(b"\r\n")
            assert other.ended()
        assert sample(url, "ovation_connections_ended_total", reason="late_head") == 2


def test_a_connection_may_idle_between_requests(tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", SOON)
    with serving(make_app(tiny_classifier)) as url, Connection(url) as connection:
        for _ in range(2):
            connection.send(REQUEST)
            assert connection.answer().status == 200
            assert not connection.readable(2 * SOON)


@pytest.mark.parametrize("closing", [(), ("Connection: close",)])
def test_an_answer_that_nobody_takes_ends_its_connection(
    tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch, closing: tuple[str, ...]
) -> None:
    monkeypatch.setattr(limits, "WRITE_SECONDS", SOON)
    with serving(make_app(tiny_classifier, timeout_seconds=60)) as url:
        with Connection(url, lazy=True) as connection:
            connection.send(_large_request(64, *closing))
            until(url, 1, "ovation_connections_ended_total", reason="unread")
            with pytest.raises(ConnectionError):
                connection.answer()
        until(url, 1, "ovation_connections")  # of the metrics


def test_an_answer_that_is_taken_slowly_is_given_whole(
    tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WRITE_SECONDS", 2.0)
    with serving(make_app(tiny_classifier, timeout_seconds=60)) as url:
        with Connection(url, lazy=True) as connection:
            for texts in (32, 128):  # when the time for the first is over, more of the second waits than of the first
                connection.send(_large_request(texts))
                answer = connection.answer(pause_seconds=0.02)
                assert len(json.loads(answer.body)["predictions"]) == texts
        assert sample(url, "ovation_connections_ended_total", reason="unread") == 0


# Connections


@contextlib.contextmanager
def held_service(classifier: Classifier, **settings: object) -> Iterator[tuple[str, Held]]:
    """A service whose one thread is held, and which nothing but the test ends."""
    held = Held(classifier)
    with serving(make_app(held, timeout_seconds=60, hang_seconds=60, **settings)) as url:
        try:
            yield url, held
        finally:
            held.gate.set()


def test_the_connection_that_idles_for_longest_makes_room(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier, max_connections=3)) as url, capture_logs() as lines:
        first, second, third = (Connection(url) for _ in range(3))
        for connection in (second, third, first):
            connection.send(REQUEST)
            assert connection.answer().status == 200
        with Connection(url) as fourth, Connection(url) as fifth:
            for connection in (first, fourth, fifth):
                connection.send(REQUEST)
                assert connection.answer().status == 200
            assert second.ended()
            assert third.ended()
        for connection in (first, second, third):
            connection.close()
        until(url, 1, "ovation_connections")
        assert sample(url, "ovation_connections_ended_total", reason="room") == 2
        assert [line["limit"] for line in lines if line["event"] == "connections at their limit"] == [3]


def test_a_flood_of_connections_makes_its_own_room(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier, max_connections=6)) as url, contextlib.ExitStack() as stack:
        asking = stack.enter_context(Connection(url))
        for _ in range(3):
            asking.send(REQUEST)
            assert asking.answer().status == 200
            silent = [stack.enter_context(Connection(url)) for _ in range(20)]
            assert all(connection.ended() for connection in silent[:15])


def test_where_none_idles_others_are_refused_and_probes_are_answered(tiny_classifier: Classifier) -> None:
    with (
        held_service(tiny_classifier, max_connections=3) as (url, held),
        capture_logs() as lines,
        contextlib.ExitStack() as stack,
    ):
        busy = [stack.enter_context(Connection(url)) for _ in range(3)]
        for connection in busy:
            connection.send(REQUEST)
        assert held.entered.acquire(timeout=20)
        while ask(url, get("/health/live")).status != 200:  # until all three are busy
            pass
        probe = stack.enter_context(Connection(url))
        for _ in range(3 * RESERVE):
            answer = ask(url)
            assert (answer.status, answer.header("connection")) == (429, "close")
            assert answer.header("retry-after") == "1"
            assert json.loads(answer.body)["error_type"] == "overloaded"
            assert ask(url, get("/health/live")).status == 200
        for path, media_type in (("/metrics", "application/problem+json"), ("/v2", "application/json")):
            answer = ask(url, get(path))
            assert (answer.status, answer.header("content-type")) == (429, media_type)
        for path in ("/v2/health/live", "/v2/health/ready", "/tei/health"):
            assert ask(url, get(path)).status != 429
        # Those that idle above the limit make room for others there, and never become more.
        idle = [stack.enter_context(Connection(url)) for _ in range(3 * RESERVE)]
        assert ask(url).status == 429
        assert ask(url, get("/health/live")).status == 200
        assert probe.ended()
        assert idle[0].ended()
        idle[-1].send(REQUEST)
        assert idle[-1].answer().status == 429
        spare = idle[-2]
        spare.send(get("/health/live"))
        assert spare.answer().status == 200
        held.gate.set()
        assert [connection.answer().status for connection in busy] == [200] * 3
        spare.send(REQUEST)  # now one of the three makes room
        assert spare.answer().status == 200
        assert [line["limit"] for line in lines if line["event"] == "connections at their limit"] == [3]
    assert [line["status"] for line in lines if line.get("route") == "other"].count(429) >= 3 * RESERVE


def test_with_few_descriptors_idle_connections_lock_nobody_out(tiny_bundle_path: Path) -> None:
    with (
        service(tiny_bundle_path, module="service", descriptors=128) as found,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(200):
            stack.enter_context(Connection(found.url))
        for _ in range(50):
            assert ask(found.url, get("/health/ready")).status == 200
            assert ask(found.url).status == 200
        lines = [json.loads(line) for line in found.log.read_text().splitlines()]
        assert len([line for line in lines if line["event"] == "connections at their limit"]) == 1
        assert sample(found.url, "ovation_connections_ended_total", reason="room") >= 100
        assert sample(found.url, "ovation_connections") < 128


def test_with_few_descriptors_slow_bodies_do_not_silence_probes(tiny_bundle_path: Path) -> None:
    with (
        service(tiny_bundle_path, module="service", descriptors=128, timeout_seconds=60) as found,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(200):
            stack.enter_context(Connection(found.url)).send(head(), BODY[:10])
        for _ in range(50):
            assert ask(found.url, get("/health/ready")).status == 200


# Bytes


def test_chunked_bodies_beyond_what_may_be_held_are_refused(tiny_classifier: Classifier) -> None:
    body = b'{"text": "' + b"fine " * 800_000 + b'"}'
    request = head("Transfer-Encoding: chunked", length=None) + chunked(body, 2**16)
    with serving(make_app(tiny_classifier, max_held_bytes=2**24)) as url, contextlib.ExitStack() as stack:
        connections = [stack.enter_context(Connection(url)) for _ in range(20)]
        for connection in connections:
            connection.send(request[:-5])  # all but the end
        for connection in connections:
            connection.send(request[-5:])
        statuses = Counter(connection.answer().status for connection in connections)
        assert set(statuses) == {422, 429}  # too many characters; no room
        assert statuses[422] >= 1
        assert statuses[429] >= 10
        small = head("Transfer-Encoding: chunked", length=None) + chunked(BODY, 5)
        for connection in connections:
            connection.send(small)
            assert connection.answer().status == 200


def test_answers_that_nobody_takes_make_room_for_others(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier, max_held_bytes=2**20)) as url, contextlib.ExitStack() as stack:
        lazy = []
        for _ in range(12):
            lazy.append(stack.enter_context(Connection(url, lazy=True)))
            lazy[-1].send(_large_request(16))
            assert lazy[-1].readable()
            assert ask(url).status == 200
            assert ask(url, _large_request(16)).status == 200
        with pytest.raises(ConnectionError):
            lazy[0].answer()
        assert lazy[-1].answer().status == 200
        ended = sample(url, "ovation_connections_ended_total", reason="room")
        assert ended >= 6
        for connection in lazy:
            connection.close()
        until(url, 1, "ovation_connections")  # of the metrics
        # What is taken is held no more: a caller who takes each answer is never ended.
        prompt = [stack.enter_context(Connection(url, lazy=True)) for _ in range(12)]
        for connection in prompt:
            connection.send(_large_request(16))
            assert connection.answer().status == 200
        assert sample(url, "ovation_connections_ended_total", reason="room") == ended


def test_unfinished_heads_and_pipelined_requests_make_room(tiny_classifier: Classifier) -> None:
    with held_service(tiny_classifier, max_held_bytes=2**20) as (url, held), contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Connection(url)) for _ in range(40)]
        for connection in slow:
            connection.send(b"GET / HTTP/1.1\r\nX: " + 60_000 * b"a")
        room_for = 2**20 // (2 * 60_000)  # a buffer that grows takes up to twice what is in it
        until(url, 40 - room_for, "ovation_connections_ended_total", reason="room")
        assert slow[0].ended()
        ahead = [stack.enter_context(Connection(url)) for _ in range(20)]
        for connection in ahead:
            connection.send(REQUEST + b"GET / HTTP/1.1\r\nX: " + 60_000 * b"a")
        until(url, 60 - room_for, "ovation_connections_ended_total", reason="room")
        held.gate.set()
        assert ahead[-1].answer().status == 200
        assert ask(url).status == 200


def _large_request(texts: int, *lines: str) -> bytes:
    """A request whose answer is larger than the kernel's buffers: at least some 10 KB a text."""
    body = json.dumps({"texts": texts * ["good " * 1000], "evidence": True}).encode()
    return head(*lines, path="/predict/batch", length=len(body)) + body


def test_long_heads_in_progress_have_a_limit(tiny_classifier: Classifier) -> None:
    # In memory its fields are four times as long.
    long_head = head(*(100 * ["X: " + 500 * "a"]))
    with (
        held_service(tiny_classifier, max_held_bytes=6 * len(long_head)) as (url, held),
        contextlib.ExitStack() as stack,
    ):
        first, second, third = (stack.enter_context(Connection(url)) for _ in range(3))
        first.send(long_head + BODY)
        assert held.entered.acquire(timeout=20)
        second.send(long_head + BODY)
        refused = second.answer()
        assert (refused.status, refused.header("retry-after")) == (429, "1")
        assert b"long heads" in refused.body
        held.gate.set()
        assert first.answer().status == 200
        third.send(long_head + BODY)
        assert third.answer().status == 200


def test_a_head_that_came_in_pieces_does_not_wait_once_its_request_runs(
    tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, counted = held_bytes.Held.waits, threading.Event()

    def waits(*arguments: Any) -> None:
        count(*arguments)
        counted.set()

    monkeypatch.setattr(held_bytes.Held, "waits", waits)
    long_head = head(*(100 * ["X: " + 500 * "a"]))
    with (
        held_service(tiny_classifier, max_held_bytes=6 * len(long_head)) as (url, held),
        Connection(url) as first,
        Connection(url) as second,
    ):
        first.send(long_head[:40_000])
        assert counted.wait(timeout=20)  # else both parts may be read as one
        first.send(long_head[40_000:] + BODY)
        assert held.entered.acquire(timeout=20)
        second.send(long_head + BODY)
        assert second.answer().status == 429
        held.gate.set()
        assert first.answer().status == 200  # it made no room for the second


def test_nothing_of_a_connection_that_ended_waits_for_the_garbage_collector(
    tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", SOON)
    alive: weakref.WeakSet[object] = weakref.WeakSet()
    connection_made, on_headers_complete = limits.Connection.connection_made, limits.Connection.on_headers_complete

    def made(self: limits.Connection, transport: asyncio.Transport) -> None:
        connection_made(self, transport)
        alive.add(self)

    def complete(self: limits.Connection) -> None:
        on_headers_complete(self)
        if self.cycle is not None:
            alive.add(self.cycle)

    monkeypatch.setattr(limits.Connection, "connection_made", made)
    monkeypatch.setattr(limits.Connection, "on_headers_complete", complete)
    with serving(make_app(tiny_classifier, timeout_seconds=1, keep_alive_seconds=SOON)) as url:
        bad_chunks = head("Transfer-Encoding: chunked", length=None) + b"zz\r\n"
        # What a caller sends, whether it takes an answer, and whether it waits for the end of the connection.
        callers: dict[str, tuple[bytes, bool, bool]] = {
            "nothing": (b"", False, True),
            "nothing, and leaves": (b"", False, False),
            "a request, and leaves": (REQUEST, True, False),
            "a request, and idles": (REQUEST, True, True),
            "a request, and leaves before its answer": (REQUEST, False, False),
            "nonsense": (b"nonsense\r\n\r\n", True, True),
            "a path that there is not": (get("/nowhere"), True, False),
            "a bad body": (head() + 30 * b"x", True, False),
            "a slow head": (b"GET ", True, True),
            "a slow body": (head(), True, True),
            "half a body, and leaves": (head() + b"{", False, False),
            "bad chunks": (bad_chunks, True, True),
        }
        gc.collect()
        gc.disable()
        try:
            for name, (sent, takes, waits) in callers.items():
                with Connection(url) as connection:
                    connection.send(sent)
                    if takes:
                        connection.answer()
                    if waits:
                        assert connection.ended()
                until(url, 1, "ovation_connections")  # of the metrics
                end = time.monotonic() + 20
                while len(alive) > 2:  # the metrics' own, with its request
                    assert time.monotonic() < end, (name, list(alive))
                    time.sleep(0.01)
        finally:
            gc.enable()
