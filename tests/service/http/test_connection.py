"""Connections over real sockets: refusals before the body is read, bodies after them, callers who leave."""

import contextlib
import json
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from service.model.classifier import Classifier
from tests.support.connection import BODY, Connection, get, head, sample, until
from tests.support.process import service
from tests.support.server import Held, make_app, serving

KEEP_ALIVE = 1.0  # seconds


@dataclass
class Full:
    """A service whose one thread is held and whose queue is full."""

    url: str
    held: Held
    stack: contextlib.ExitStack
    lines: list[EventDict] = field(default_factory=list)

    def connect(self) -> Connection:
        """A connection, closed when the test has ended."""
        connection = Connection(self.url)
        self.stack.callback(connection.close)
        return connection

    def counted(self, name: str, **labels: object) -> float:
        """One sample of /metrics."""
        return sample(self.url, name, **labels)


@pytest.fixture
def full(tiny_classifier: Classifier) -> Iterator[Full]:
    """Refuses whatever comes until `held.gate` is set."""
    held, stack = Held(tiny_classifier), contextlib.ExitStack()
    app = make_app(
        held, max_texts=1, max_waiting_texts=1, timeout_seconds=60, hang_seconds=60, keep_alive_seconds=KEEP_ALIVE
    )
    found = Full("", held, stack)
    with capture_logs() as found.lines, serving(app) as found.url, stack:
        stack.callback(held.gate.set)
        for waiting in (0, 1):
            found.connect().send(head() + BODY)
            while found.counted("ovation_tokenize_seconds_count") <= waiting:
                time.sleep(0.01)
            while found.counted("ovation_waiting_texts") != waiting:
                time.sleep(0.01)
        found.lines.clear()
        yield found


def test_a_full_service_refuses_before_the_body_comes(full: Full) -> None:
    connection = full.connect()
    connection.send(head("X-Request-ID: mine-1"))
    answer = connection.answer()
    assert answer.status == 429
    headers, body = dict(answer.headers), json.loads(answer.body)
    assert int(headers["retry-after"]) >= 1
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == "mine-1"
    assert (body["status"], body["error_type"], body["instance"]) == (429, "overloaded", "/predict")


def test_it_is_counted_and_logged_as_any_request(full: Full) -> None:
    connection = full.connect()
    for path in ("/predict", "/predict", "/predict/batch"):
        connection.send(head("X-Request-ID: a b", path=path) + BODY)  # no id that is harmless
        assert connection.answer().status == 429
    assert full.counted("ovation_requests_total", route="/predict", status="429") == 2
    assert full.counted("ovation_requests_total", route="/predict/batch", status="429") == 1
    assert full.counted("ovation_request_seconds_count", route="/predict") == 2
    assert full.counted("ovation_requests_shed_total") == 3
    lines = [line for line in full.lines if line.get("status") == 429]
    assert [(line["event"], line["method"], line["route"], line["tokens"]) for line in lines] == [
        ("request", "POST", "/predict", None), ("request", "POST", "/predict", None),
        ("request", "POST", "/predict/batch", None),
    ]  # fmt: skip
    assert all(0 <= line["seconds"] < 1 for line in lines)
    ids = {line["request_id"] for line in lines}
    assert len(ids) == 3
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


def test_a_body_that_comes_after_the_answer_is_passed_over(full: Full) -> None:
    connection = full.connect()
    for _ in range(3):
        connection.send(head(length=300_000))
        assert connection.answer().status == 429
        for _ in range(3):
            connection.send(b"POST /predict HTTP/1.1\r\n\r\n".ljust(100_000))
    assert full.counted("ovation_requests_total", route="/predict", status="429") == 3  # the bodies are no requests
    full.held.gate.set()
    until(full.url, 0, "ovation_waiting_texts")
    connection.send(head() + BODY)
    assert connection.answer().status == 200


def test_pipelined_requests_are_answered_in_their_order(full: Full) -> None:
    connection = full.connect()
    requests = [head(f"X-Request-ID: {number}", length=len(BODY)) + BODY for number in range(5)]
    requests[2] = head("X-Request-ID: 2", method="GET", path="/health/live", length=None)
    connection.send(b"".join(requests))
    answers = [connection.answer() for _ in requests]
    assert [answer.header("x-request-id") for answer in answers] == list("01234")
    assert [answer.status for answer in answers] == [429, 429, 200, 429, 429]


def test_a_request_behind_an_open_one_waits_for_it(full: Full) -> None:
    connection = full.connect()
    connection.send(head(length=None, method="GET", path="/model") + head("X-Request-ID: second") + BODY)
    assert connection.answer().status == 200
    assert connection.answer().header("x-request-id") == "second"


@pytest.mark.parametrize(
    ("request_", "status", "ends"),
    [
        (head("Connection: close") + BODY, 429, True),
        (head(version="1.0") + BODY, 429, True),
        (head("Connection: keep-alive", version="1.0") + BODY, 429, True),
        (head("Connection: keep-alive, Upgrade", "Upgrade: h2c") + BODY, 429, False),
        (head("Transfer-Encoding: chunked", length=None) + b"1e\r\n" + BODY + b"\r\n0\r\n\r\n", 429, False),
        (head("X-Request-Timeout-Ms: soon") + BODY, 400, False),
        (head(path="/predict?now=1") + BODY, 429, False),
        (head(path="/nowhere") + BODY, 404, False),
        (head(method="PUT") + BODY, 405, False),
        (head(length=5 * 2**20), 413, False),
        (head("Content-Length: 31") + BODY, 400, True),
        (b"POST /predict HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400, True),
    ],
)  # fmt: skip
def test_what_is_unusual_is_answered_as_ever(full: Full, request_: bytes, status: int, ends: bool) -> None:
    connection = full.connect()
    connection.send(request_)
    answer = connection.answer()
    assert answer.status == status
    assert (answer.header("connection") == "close") == ends
    if ends:
        assert connection.ended()
    elif status != 413 and b"Upgrade" not in request_:
        connection.send(head() + BODY)
        assert connection.answer().status == 429


def test_head_gets_no_body(full: Full) -> None:
    connection = full.connect()
    connection.send(head(method="HEAD", length=None) + head() + BODY)
    assert connection.answer(of_head=True).status == 405
    assert json.loads(connection.answer().body)["error_type"] == "overloaded"


def test_those_let_through_in_one_turn_find_no_more_room_than_there_is(tiny_classifier: Classifier) -> None:
    held, stack = Held(tiny_classifier), contextlib.ExitStack()
    app = make_app(held, max_texts=1, max_waiting_texts=4, timeout_seconds=60, hang_seconds=60)
    with serving(app) as url, stack:
        stack.callback(held.gate.set)
        found = Full(url, held, stack)
        connections = [found.connect() for _ in range(20)]
        connections[0].send(head() + BODY)
        assert held.entered.acquire(timeout=20)
        for connection in connections[1:]:
            connection.send(head() + BODY)
        while found.counted("ovation_requests_shed_total") < 15:
            time.sleep(0.01)
        held.gate.set()
        statuses = [connection.answer().status for connection in connections]
        assert found.counted("ovation_requests_shed_total") == 15
    assert (statuses.count(200), statuses.count(429)) == (5, 15)


def test_a_connection_that_was_refused_is_closed_when_nothing_more_comes(full: Full) -> None:
    connection = full.connect()
    connection.send(head())
    assert connection.answer().status == 429
    connection.send(BODY)
    assert connection.ended()


def test_a_busy_service_does_not_close_on_a_request_that_has_come(tiny_bundle_path: Path) -> None:
    with service(tiny_bundle_path, keep_alive_seconds=KEEP_ALIVE) as found, Connection(found.url) as connection:
        for stopped in (True, False):
            connection.send(get("/health/live"))
            if not stopped:
                found.process.send_signal(signal.SIGCONT)
            assert connection.answer().status == 200
            if stopped:
                found.process.send_signal(signal.SIGSTOP)
                time.sleep(KEEP_ALIVE + 0.5)  # a stopped process tells nobody that its time is over


def test_a_pipelined_request_may_take_longer_than_an_idle_connection_stays(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    with serving(make_app(held, keep_alive_seconds=0.2)) as url, Connection(url) as connection:
        connection.send(get("/health/live") + head() + BODY)
        assert connection.answer().status == 200
        assert not connection.readable(1)  # still open, without an answer
        held.gate.set()
        assert connection.answer().status == 200
        assert connection.ended()


def test_a_thousand_pipelined_requests(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier)) as url, Connection(url) as connection:
        connection.send(b"".join(get("/health/live", f"X-Request-ID: {number}") for number in range(1000)))
        answers = [connection.answer() for _ in range(1000)]
        assert [answer.header("x-request-id") for answer in answers] == [str(number) for number in range(1000)]
        assert {answer.status for answer in answers} == {200}


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_http_1_0_ends_with_its_answer(tiny_classifier: Classifier, version: str) -> None:
    with serving(make_app(tiny_classifier)) as url, Connection(url) as connection:
        connection.send(head("Connection: keep-alive", version=version) + BODY)
        answer = connection.answer()
        assert answer.status == 200
        assert answer.header("connection") == ("close" if version == "1.0" else None)
        assert version == "1.1" or connection.ended()


def test_a_caller_who_waits_on_a_half_closed_connection_is_answered(tiny_classifier: Classifier) -> None:
    held = Held(tiny_classifier)
    with serving(make_app(held)) as url, Connection(url) as connection:
        connection.send(head() + BODY)
        connection.end_sending()
        assert held.entered.acquire(timeout=20)
        assert connection.answer().status == 100  # by which the service sees who is still there
        held.gate.set()
        answer = connection.final_answer()
        assert (answer.status, answer.header("connection")) == (200, "close")
        assert connection.ended()


@pytest.mark.parametrize("request_", [get("/health/live"), get("/openapi.json"), head() + BODY])
@pytest.mark.parametrize("count", [1, 3])
def test_half_closed_at_once(tiny_classifier: Classifier, request_: bytes, count: int) -> None:
    with serving(make_app(tiny_classifier)) as url, Connection(url) as connection:
        connection.send(count * request_)
        connection.end_sending()
        assert [connection.final_answer().status for _ in range(count)] == count * [200]
        assert connection.ended()


def test_half_closed_within_a_body_is_left(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier)) as url:
        with Connection(url) as connection:
            connection.send(head() + BODY[:10])
            connection.end_sending()
            assert connection.ended()
        until(url, 1, "ovation_requests_total", route="/predict", status="499")


@dataclass
class Waiting:
    """A service that runs one request, and another that waits behind it."""

    found: Full
    running: Connection
    waiting: Connection


@contextlib.contextmanager
def waiting(classifier: Classifier, before: bytes = b"", *parts: bytes) -> Iterator[Waiting]:
    """Sends `before` on the second connection and awaits its answer; then `parts`, a breath between them."""
    held, stack = Held(classifier), contextlib.ExitStack()
    with serving(make_app(held, max_characters=400_000, timeout_seconds=60, hang_seconds=60)) as url, stack:
        stack.callback(held.gate.set)
        found = Full(url, held, stack)
        first, second = found.connect(), found.connect()
        held.gate.set()
        if before:
            second.send(before)
            assert second.answer().status == 200
        held.gate.clear()
        first.send(head() + BODY)
        while len(held.judged) <= bool(before):
            time.sleep(0.01)
        for part in parts:
            second.send(part)
            assert not second.readable(0.1)  # which separates the packets
        until(found.url, 1, "ovation_waiting_texts")
        yield Waiting(found, first, second)


@pytest.mark.parametrize("size", [30, 100_000, 300_000])  # uvicorn pauses at 64 KiB of a body
@pytest.mark.parametrize("before", [b"", head() + BODY])
def test_work_for_a_caller_who_left_is_dropped(tiny_classifier: Classifier, size: int, before: bytes) -> None:
    body = BODY.replace(b'"}', b" " * (size - len(BODY)) + b'"}')
    with waiting(tiny_classifier, before, head(length=size), body) as held:
        held.waiting.close()
        until(held.found.url, 0, "ovation_waiting_texts")
        held.found.held.gate.set()
        assert held.running.answer().status == 200
        assert held.found.counted("ovation_requests_total", route="/predict", status="499") == 1
        assert held.found.counted("ovation_texts_dropped_total", reason="cancelled") == 1


@pytest.mark.parametrize("parts", [(2 * (head() + BODY),), (head() + BODY, head() + BODY)])
@pytest.mark.parametrize("reset", [True, False])
def test_a_caller_who_leaves_two_requests_behind_is_no_fault_of_ours(
    tiny_classifier: Classifier, caplog: pytest.LogCaptureFixture, parts: tuple[bytes, ...], reset: bool
) -> None:
    with waiting(tiny_classifier, b"", *parts) as held:
        if reset:
            held.waiting.reset()
        else:
            held.waiting.close()
        until(held.found.url, 0, "ovation_waiting_texts")
        held.found.held.gate.set()
        assert held.running.answer().status == 200
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert len(held.found.held.judged) == 1
