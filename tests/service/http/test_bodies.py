"""Bodies over real sockets: chunks, trailers, late and unwanted ones, and Expect."""

import json

import pytest

from service.http import connection as limits
from service.http.chunked import BadChunk, ChunkedReader
from service.model.classifier import Classifier
from tests.support.connection import BODY, Connection, chunked, get, head, sample, until
from tests.support.server import make_app, serving

CHUNKED = "Transfer-Encoding: chunked"
TRAILERS = b"Content-Type: text/plain\r\nX-Request-ID: from-a-trailer\r\nX-Request-Timeout-Ms: soon\r\n"
MANY = 64 * 2**20


@pytest.mark.parametrize("size", [1, 7, 30])
@pytest.mark.parametrize("step", [1, 10_000], ids=["byte by byte", "at once"])
def test_chunks_and_trailers_however_they_are_cut(url: str, size: int, step: int) -> None:
    request = head("X-Request-ID: from-the-head", CHUNKED, length=None) + chunked(BODY, size, TRAILERS)
    with Connection(url) as connection:
        for _ in range(2):
            connection.send(*(request[at : at + step] for at in range(0, len(request), step)))
            answer = connection.answer()
            assert (answer.status, answer.header("x-request-id")) == (200, "from-the-head")


def test_trailers_are_no_headers_of_the_next_request(url: str) -> None:
    with Connection(url) as connection:
        connection.send(head(CHUNKED, length=None) + chunked(BODY, 30, TRAILERS) + head() + BODY)
        assert [connection.answer().status for _ in range(2)] == [200, 200]


def test_every_cut_gives_the_same_body() -> None:
    coded = b'5;name=value\r\nhello\r\n00b \t; quoted="a;b"\r\n, dear all\r\r\n3\r\nend\r\n'
    coded += b"000\r\nA: b\r\nC: d\r\n\r\nrest"
    for first in range(len(coded)):
        for second in range(first, len(coded), 7):
            reader, pending, body, ended = ChunkedReader(), bytearray(), b"", False
            for part in (coded[:first], coded[first:second], coded[second:]):
                pending += part
                if not ended:
                    more, ended = reader.read(pending)
                    body += more
            assert (body, ended, bytes(pending)) == (b"hello, dear all\rend", True, b"rest")


@pytest.mark.parametrize(
    "coded",
    [
        b"zz\r\n", b"\r\n", b" 5\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n", b"5_0\r\n", b"5 5\r\nhello\r\n0\r\n\r\n", b"\xff\r\n", b"5\r\nhello!\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n", b"5\r\nhello\r0\r\n\r\n", b"5\nhello\r\n0\r\n\r\n", b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n", b"1" + 15 * b"0" + b"\r\n", b"5;" + 2000 * b"a", b"0" * 2000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 10_000], ids=["byte by byte", "at once"])
def test_bad_framing_is_400_and_ends_the_connection(url: str, coded: bytes, step: int) -> None:
    with pytest.raises(BadChunk):
        ChunkedReader().read(bytearray(coded))
    with Connection(url) as connection:
        connection.send(head(CHUNKED, length=None))
        for at in range(0, len(coded), step):
            if connection.readable(0):
                break
            connection.send(coded[at : at + step])
        answer = connection.answer()
        assert (answer.status, json.loads(answer.body)["error_type"]) == (400, "malformed")
        assert connection.ended()


@pytest.mark.parametrize("packets", [1, 2])
def test_bad_framing_behind_a_whole_chunk_is_the_only_answer(url: str, packets: int) -> None:
    left = sample(url, "ovation_requests_total", route="/predict", status=499)
    refused = sample(url, "ovation_requests_total", route="other", status=400)
    with Connection(url) as connection:
        connection.send(head(CHUNKED, length=None) + b"1e\r\n" + BODY)
        assert packets == 1 or not connection.readable(0.1)  # which separates the packets
        connection.send(b"\r\nnonsense\r\n0\r\n\r\n" + get("/health/live"))
        assert connection.answer().status == 400
        assert connection.ended()
    until(url, refused + 1, "ovation_requests_total", route="other", status=400)
    assert sample(url, "ovation_requests_total", route="/predict", status=499) == left


@pytest.mark.parametrize("line", [b"X-Filler: " + 1000 * b"a" + b"\r\n", b"X: a\r\n", b"a" * 4096])
def test_trailers_without_end_are_refused_early(url: str, line: bytes) -> None:
    with Connection(url) as connection:
        connection.send(head(CHUNKED, length=None) + b"1e\r\n" + BODY + b"\r\n0\r\n")
        assert connection.send_until_refused(line * (65_536 // len(line)), MANY) < MANY
        answer = connection.answer()
        assert (answer.status, json.loads(answer.body)["error_type"]) == (400, "malformed")


@pytest.mark.parametrize("declared", [True, False], ids=["Content-Length", "chunked"])
def test_a_body_above_the_limit_is_refused_and_passed_over(tiny_classifier: Classifier, declared: bool) -> None:
    body = b'{"text": "' + 100_000 * b"a" + b'"}'
    with serving(make_app(tiny_classifier, max_body_bytes=50_000)) as url, Connection(url) as connection:
        for _ in range(2):
            if declared:
                connection.send(head(length=len(body)) + body)
            else:
                connection.send(head(CHUNKED, length=None) + chunked(body, 1000))
            assert connection.answer().status == 413
        connection.send(head() + BODY)
        assert connection.answer().status == 200


def test_expect_is_met_where_the_body_is_wanted(url: str) -> None:
    with Connection(url) as connection:
        for _ in range(2):
            connection.send(head("Expect: 100-continue"))
            assert connection.answer().status == 100
            connection.send(BODY)
            assert connection.answer().status == 200
        connection.send(head("Expect: 100-continue", length=5 * 2**20))
        assert connection.answer().status == 413  # at once


def test_expect_with_the_body_behind_it(url: str) -> None:
    with Connection(url) as connection:
        connection.send(head("Expect: 100-continue") + BODY)
        assert connection.final_answer().status == 200


def test_a_get_with_a_body(url: str) -> None:
    with Connection(url) as connection:
        for _ in range(2):
            connection.send(head(method="GET", path="/health/live") + BODY)
            assert connection.answer().status == 200
            connection.send(head(CHUNKED, method="GET", path="/health/live", length=None), chunked(BODY, 3))
            assert connection.answer().status == 200


def test_a_thousand_slow_bodies_get_408(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier, timeout_seconds=1, max_connections=1100)) as url:
        connections = [Connection(url) for _ in range(1000)]
        for connection in connections:
            connection.send(head(), BODY[:10])
        with Connection(url) as other:
            other.send(head() + BODY)
            assert other.answer().status == 200
        assert {connection.answer().status for connection in connections} == {408}
        for connection in connections:
            connection.close()


def test_a_body_that_trickles_on_after_an_early_answer_ends(
    tiny_classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.5)
    with serving(make_app(tiny_classifier)) as url:
        for request, status in (
            (head(length=5 * 2**20), 413),
            (head("Content-Encoding: none", method="GET", path="/health/live", length=10_000), 200),
            (head(CHUNKED, method="GET", path="/health/live", length=None) + b"ffff\r\n", 200),
            (head(CHUNKED, method="GET", path="/health/live", length=None) + b"0\r\n", 200),
        ):
            with Connection(url) as connection:
                connection.send(request)
                assert connection.answer().status == status
                connection.trickle(b"a")
                assert connection.ended()
        assert sample(url, "ovation_connections_ended_total", reason="late_body") == 4
        with Connection(url) as connection:  # one that comes in time
            connection.send(head(length=5 * 2**20))
            assert connection.answer().status == 413
            connection.send(5 * 2**20 * b"a", get("/health/live"))
            assert connection.answer().status == 200
