"""Connections over real sockets: refusals before the body is read, bodies after them, callers who leave."""

import contextlib
import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from service.model.classifier import Classifier
from tests.service.test_faults import service
from tests.support.server import Held, make_app, serving

BODY = b'{"text": "as good as it gets"}'


@dataclass
class Full:
    """A service whose one thread is held and whose queue is full."""

    url: str
    held: Held
    stack: contextlib.ExitStack
    lines: list[EventDict] = field(default_factory=list)

    def connect(self) -> "Connection":
        """A connection, closed when the test has ended."""
        connection = Connection(self.url)
        self.stack.callback(connection.close)
        return connection

    def counted(self, name: str, labels: str = "") -> float:
        """One sample of /metrics."""
        found = re.search(rf"^{name}{re.escape(labels)} (\S+)$", httpx.get(f"{self.url}/metrics").text, re.MULTILINE)
        assert found, name
        return float(found[1])

    def until(self, name: str, value: float) -> None:
        """Waits for a sample of /metrics to be `value`."""
        end = time.monotonic() + 20
        while self.counted(name) != value:
            assert time.monotonic() < end, f"{name} did not become {value}"
            time.sleep(0.01)


@dataclass
class Answer:
    """What a server sent back."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes


class Connection:
    """A socket to the service that speaks HTTP as the test wants it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=20)
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        """Sends at once."""
        self._socket.sendall(data)

    def answer(self, of_head: bool = False) -> Answer:
        """The next answer."""
        status = self._file.readline().decode().rstrip()
        headers = list[tuple[str, str]]()
        while line := self._file.readline().decode().rstrip():
            name, _, value = line.partition(": ")
            headers.append((name, value))
        length = 0 if of_head else int(dict(headers).get("content-length", 0))
        return Answer(status, headers, self._file.read(length))

    def close(self) -> None:
        """Leaves."""
        self._file.close()
        self._socket.close()

    def ended(self) -> bool:
        """Whether the service closed it, with nothing before."""
        return self._file.read(1) == b""


def head(
    *lines: str, method: str = "POST", path: str = "/predict", version: str = "1.1", length: int | None = 30
) -> bytes:
    """The head of a request."""
    assert len(BODY) == 30
    found = [f"{method} {path} HTTP/{version}", "Host: test", "Content-Type: application/json", *lines]
    if length is not None:
        found.append(f"Content-Length: {length}")
    return "\r\n".join([*found, "", ""]).encode()


@pytest.fixture
def full(tiny_classifier: Classifier) -> Iterator[Full]:
    """Refuses whatever comes until `held.gate` is set."""
    held, stack = Held(tiny_classifier), contextlib.ExitStack()
    app = make_app(held, max_texts=1, max_waiting_texts=1, timeout_seconds=60, hang_seconds=60)
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
    assert answer.status == "HTTP/1.1 429 Too Many Requests"
    headers, body = dict(answer.headers), json.loads(answer.body)
    assert int(headers["retry-after"]) >= 1
    assert headers["content-type"] == "application/problem+json"
    assert headers["x-request-id"] == "mine-1"
    assert (body["status"], body["error_type"], body["instance"]) == (429, "overloaded", "/predict")


def test_it_is_counted_and_logged_as_any_request(full: Full) -> None:
    connection = full.connect()
    for path in ("/predict", "/predict", "/predict/batch"):
        connection.send(head("X-Request-ID: a b", path=path) + BODY)  # no id that is harmless
        assert connection.answer().status.startswith("HTTP/1.1 429")
    assert full.counted("ovation_requests_total", '{route="/predict",status="429"}') == 2
    assert full.counted("ovation_requests_total", '{route="/predict/batch",status="429"}') == 1
    assert full.counted("ovation_request_seconds_count", '{route="/predict"}') == 2
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
        assert connection.answer().status.startswith("HTTP/1.1 429")
        for _ in range(3):
            connection.send(b"POST /predict HTTP/1.1\r\n\r\n".ljust(100_000))
    assert full.counted("ovation_requests_total", '{route="/predict",status="429"}') == 3  # the bodies are no requests
    full.held.gate.set()
    full.until("ovation_waiting_texts", 0)
    connection.send(head() + BODY)
    assert connection.answer().status == "HTTP/1.1 200 OK"


def test_pipelined_requests_are_answered_in_their_order(full: Full) -> None:
    connection = full.connect()
    requests = [head(f"X-Request-ID: {number}", length=len(BODY)) + BODY for number in range(5)]
    requests[2] = head("X-Request-ID: 2", method="GET", path="/health/live", length=None)
    connection.send(b"".join(requests))
    answers = [connection.answer() for _ in requests]
    assert [dict(answer.headers)["x-request-id"] for answer in answers] == list("01234")
    assert [answer.status.split()[1] for answer in answers] == ["429", "429", "200", "429", "429"]


def test_a_request_behind_an_open_one_waits_for_it(full: Full) -> None:
    connection = full.connect()
    connection.send(head(length=None, method="GET", path="/model") + head("X-Request-ID: second") + BODY)
    assert connection.answer().status == "HTTP/1.1 200 OK"
    assert dict(connection.answer().headers)["x-request-id"] == "second"


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
    assert answer.status.split()[1] == str(status)
    assert (dict(answer.headers).get("connection") == "close") == ends
    if ends:
        assert connection.ended()
    elif status != 413 and b"Upgrade" not in request_:
        connection.send(head() + BODY)
        assert connection.answer().status.startswith("HTTP/1.1 429")


def test_head_gets_no_body(full: Full) -> None:
    connection = full.connect()
    connection.send(head(method="HEAD", length=None) + head() + BODY)
    assert connection.answer(of_head=True).status == "HTTP/1.1 405 Method Not Allowed"
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
        statuses = [connection.answer().status.split()[1] for connection in connections]
        assert found.counted("ovation_requests_shed_total") == 15
    assert (statuses.count("200"), statuses.count("429")) == (5, 15)


def test_a_connection_that_was_refused_is_closed_when_nothing_more_comes(full: Full) -> None:
    connection = full.connect()
    connection.send(head())
    assert connection.answer().status.startswith("HTTP/1.1 429")
    connection.send(BODY)
    assert connection.ended()  # after uvicorn's 5 s; the socket's own patience is 30


def test_a_busy_service_does_not_close_on_a_request_that_has_come(tiny_bundle_path: Path) -> None:
    with service(tiny_bundle_path) as found, contextlib.closing(Connection(found.url)) as connection:
        for stopped in (True, False):
            connection.send(head(method="GET", path="/health/live", length=None))
            if not stopped:
                found.process.send_signal(signal.SIGCONT)
            assert connection.answer().status == "HTTP/1.1 200 OK"
            if stopped:
                found.process.send_signal(signal.SIGSTOP)
                time.sleep(5.5)  # longer than uvicorn waits for a next request


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
            assert second.answer().status == "HTTP/1.1 200 OK"
        held.gate.clear()
        first.send(head() + BODY)
        while len(held.judged) <= bool(before):
            time.sleep(0.01)
        for part in parts:
            second.send(part)
            time.sleep(0.1)
        found.until("ovation_waiting_texts", 1)
        yield Waiting(found, first, second)


@pytest.mark.parametrize("size", [30, 100_000, 300_000])  # uvicorn pauses at 64 KiB of a body
@pytest.mark.parametrize("before", [b"", head() + BODY])
def test_work_for_a_caller_who_left_is_dropped(tiny_classifier: Classifier, size: int, before: bytes) -> None:
    body = BODY.replace(b'"}', b" " * (size - len(BODY)) + b'"}')
    with waiting(tiny_classifier, before, head(length=size), body) as held:
        held.waiting.close()
        held.found.until("ovation_waiting_texts", 0)
        held.found.held.gate.set()
        assert held.running.answer().status == "HTTP/1.1 200 OK"
        assert held.found.counted("ovation_requests_total", '{route="/predict",status="499"}') == 1
        assert held.found.counted("ovation_texts_dropped_total", '{reason="cancelled"}') == 1


def test_a_caller_who_leaves_two_requests_behind_is_no_fault_of_ours(
    tiny_classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    with waiting(tiny_classifier, b"", 2 * (head() + BODY)) as held:
        held.waiting.close()
        held.found.until("ovation_waiting_texts", 0)
        held.found.held.gate.set()
        assert held.running.answer().status == "HTTP/1.1 200 OK"
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert len(held.found.held.judged) == 1
