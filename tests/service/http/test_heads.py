"""Heads over real sockets: what is no request of HTTP/1.1, what is too much of one, and offers to upgrade."""

import json
import re
import time

import pytest
from structlog.testing import capture_logs

from service.http.connection import HEAD_BYTES, HEAD_FIELDS
from service.model.classifier import Classifier
from tests.support.connection import BODY, Answer, Connection, get, head, sample, until
from tests.support.server import make_app, serving

MANY = 64 * 2**20  # bytes: far more than the kernel's buffers and the limit together


def check_refusal(answer: Answer, status: int, kind: str) -> None:
    """A problem body with an id, after which the connection is closed."""
    assert answer.status == status
    problem = json.loads(answer.body)
    assert (problem["status"], problem["error_type"]) == (status, kind)
    assert "instance" not in problem  # there was no request
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("connection") == "close"
    request_id = answer.header("x-request-id")
    assert request_id is not None
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    assert problem["request_id"] == request_id
    assert answer.header("date") is not None


@pytest.mark.parametrize(
    ("request_", "status", "kind"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "malformed"),  # TLS
        (b"hello\r\n\r\n", 400, "malformed"),
        (b"GET /hea\x00lth HTTP/1.1\r\nHost: test\r\n\r\n", 400, "malformed"),
        (b"GET /h\xe9alth HTTP/1.1\r\nHost: test\r\n\r\n", 400, "malformed"),
        (b"FETCH /health HTTP/1.1\r\nHost: test\r\n\r\n", 400, "malformed"),
        (b"GET /health HTTP/1.1\r\nHost test\r\n\r\n", 400, "malformed"),
        (b"GET /health HTTP/1.1\r\nHo st: test\r\n\r\n", 400, "malformed"),
        (b"GET /health HTTP/1.1\r\nHost : test\r\n\r\n", 400, "malformed"),
        (b"GET /health HTTP/1.1\r\nHost: te\x00st\r\n\r\n", 400, "malformed"),
        (b"GET /health HTTP/1.1\r\nHost: test\nX: y\r\n\r\n", 400, "malformed"),
        (b"GET /health HTTP/1.1\r\nHost: test\r\n folded: y\r\n\r\n", 400, "malformed"),
        (b"GET /health HTTP/1.1\r\n\r\n", 400, "malformed"),
        (get("/health", "host: test"), 400, "malformed"),
        (head("Content-Length: 31") + BODY, 400, "malformed"),
        (head("Content-Length: -1", length=None), 400, "malformed"),
        (head("Content-Length: +30", length=None) + BODY, 400, "malformed"),
        (head("Content-Length: 3_0", length=None) + BODY, 400, "malformed"),
        (head("Content-Length: 99999999999999999999999", length=None), 400, "malformed"),
        (head("Content-Length: 30, 30", length=None) + BODY, 400, "malformed"),
        (head("Transfer-Encoding: chunked") + b"0\r\n\r\n", 400, "malformed"),
        (head("Transfer-Encoding: identity", length=None), 501, "not_implemented"),
        (head("Transfer-Encoding: gzip, chunked", length=None) + b"0\r\n\r\n", 501, "not_implemented"),
        (head("Transfer-Encoding: gzip", "Transfer-Encoding: chunked", length=None), 501, "not_implemented"),
        (b"GET /health HTTP/2.0\r\nHost: test\r\n\r\n", 505, "version"),
        (b"GET /health HTTP/1.2\r\nHost: test\r\n\r\n", 505, "version"),
        (b"GET /health HTTP/0.9\r\nHost: test\r\n\r\n", 505, "version"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version"),
        (b"GET /health\r\nHost: test\r\n\r\n", 505, "version"),
    ],
)
def test_what_is_no_request_is_refused_like_one(url: str, request_: bytes, status: int, kind: str) -> None:
    before = sample(url, "ovation_requests_total", route="other", status=status)
    refused = sample(url, "ovation_requests_total", route="other")
    with capture_logs() as lines, Connection(url) as connection:
        connection.send(request_)
        answer = connection.answer()
        check_refusal(answer, status, kind)
        assert connection.ended()
        until(url, before + 1, "ovation_requests_total", route="other", status=status)
        assert sample(url, "ovation_requests_total", route="other") == refused + 1
    [line] = [line for line in lines if line.get("request_id") == answer.header("x-request-id")]
    assert (line["event"], line["route"], line["status"]) == ("request", "other", status)


@pytest.mark.parametrize("path", ["/v2", "/v2?a", "/v2/models/m/infer"])
@pytest.mark.parametrize(
    ("fields", "body", "status", "media_type"),
    [
        ("Transfer-Encoding: gzip", b"", 501, "application/json"),
        ("Transfer-Encoding: chunked", b"nonsense\r\n", 400, "application/json"),
        ("X: y" + HEAD_BYTES * "y", b"", 431, "application/problem+json"),
    ],
)
def test_under_v2_it_is_bare_json_where_the_path_is_known(
    url: str, path: str, fields: str, body: bytes, status: int, media_type: str
) -> None:
    with Connection(url) as connection:
        connection.send(head(fields, path=path, length=None) + body)
        answer = connection.answer()
    assert (answer.status, answer.header("content-type")) == (status, media_type)
    with Connection(url) as connection:  # and the path of one request says nothing of the next
        connection.send(get(path))
        assert connection.answer().header("content-type") == "application/json"
        connection.send(b"hello\r\n\r\n")
        answer = connection.answer()
    assert (answer.status, answer.header("content-type")) == (400, "application/problem+json")


def test_of_http_1_0_no_host_is_demanded(url: str) -> None:
    with Connection(url) as connection:
        connection.send(b"GET /health/live HTTP/1.0\r\n\r\n")
        assert connection.answer().status == 200


def test_a_whole_request_before_it_is_answered_first(url: str) -> None:
    with Connection(url) as connection:
        connection.send(get("/health/live") + head() + BODY + b"nonsense\r\n\r\n")
        assert connection.answer().status == 200
        assert connection.answer().status == 200
        check_refusal(connection.answer(), 400, "malformed")
        assert connection.ended()


@pytest.mark.parametrize(
    "line",
    [b"X-Filler: " + 1000 * b"a" + b"\r\n", b"X: a\r\n", b"a" * 4096, b": \r\n", b"a\n"],
    ids=["fields", "short fields", "one value", "empty fields", "bare line feeds"],
)
def test_heads_without_end_are_refused_early(url: str, line: bytes) -> None:
    with Connection(url) as connection:
        connection.send(b"GET /health HTTP/1.1\r\nX: ")
        assert connection.send_until_refused(line * (65_536 // len(line)), MANY) < MANY
        check_refusal(connection.answer(), 431, "head_too_large")


def test_a_head_that_ends_at_once_has_the_same_limit(url: str) -> None:
    with Connection(url) as connection:
        connection.send(get("/health", "X: " + HEAD_BYTES * "a"))
        check_refusal(connection.answer(), 431, "head_too_large")


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 431)])
def test_the_limits_are_what_they_are_called(url: str, more: int, status: int) -> None:
    fields = [f"X-{number}: a" for number in range(HEAD_FIELDS - 1 + more)]  # and Host
    with Connection(url) as connection:
        connection.send(get("/health/live", *fields))
        assert connection.answer().status == status
    longest = HEAD_BYTES - len(get("/health/live", "X: "))
    with Connection(url) as connection:
        connection.send(get("/health/live", "X: " + (longest + more) * "a"))
        assert connection.answer().status == status


def test_a_head_may_come_byte_by_byte(url: str) -> None:
    with Connection(url) as connection:
        for _ in range(2):
            connection.send(*(bytes([byte]) for byte in head() + BODY))
            assert connection.answer().status == 200


def test_the_longest_head_byte_by_byte_costs_little(url: str) -> None:
    request = get("/health/live", *[f"X-{number}: {300 * 'a'}" for number in range(190)])
    began = time.process_time()
    with Connection(url) as connection:
        connection.send(*(bytes([byte]) for byte in request))
        assert connection.answer().status == 200
    assert time.process_time() - began < 30  # the service is in this process; quadratic time would be minutes


def test_line_breaks_between_requests_are_passed_over(url: str) -> None:
    with Connection(url) as connection:
        connection.send(b"\r\n\r\n" + head() + BODY + b"\r\n", b"\r\n" + get("/health/live"))
        assert [connection.answer().status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("value", ["1000 ", " 1000", "1000\t", "\t 1000 \t"])
def test_blanks_around_a_value_are_none_of_it(url: str, value: str) -> None:
    with Connection(url) as connection:
        connection.send(head(f"X-Request-Timeout-Ms:{value}", "Content-Length: 30 ", length=None) + BODY)
        assert connection.answer().status == 200


OFFERS = {
    "Java": ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA"),
    "WebSocket": ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "both": ("Connection: keep-alive, Upgrade", "Upgrade: h2c, websocket"),
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("packets", [1, 2, 30])
def test_an_offer_to_upgrade_changes_nothing(url: str, offer: tuple[str, ...], packets: int) -> None:
    before = sample(url, "ovation_requests_total", route="/predict", status=200)
    with Connection(url) as connection:
        for _ in range(2):  # on a connection that stays
            connection.send(head(*offer))
            size = len(BODY) // packets
            for at in range(0, len(BODY), size):
                if packets > 1:
                    assert not connection.readable(0.01)  # which separates the packets
                connection.send(BODY[at : at + size])
            answer = connection.answer()
            assert (answer.status, answer.header("connection"), answer.header("upgrade")) == (200, None, None)
        both = head(*offer) + BODY + head(*offer, "Transfer-Encoding: chunked", length=None) + b"1e\r\n"
        connection.send(both + BODY + b"\r\n0\r\n\r\n" + get("/health/live", *offer))
        assert [connection.answer().status for _ in range(3)] == [200, 200, 200]
    assert sample(url, "ovation_requests_total", route="/predict", status=200) == before + 4


def test_the_body_behind_an_offer_is_no_request(url: str) -> None:
    body = b'{"text": "GET /smuggled HTTP/1.1\\r\\n\\r\\n"}'
    smuggled = b"POST /predict HTTP/1.1\r\n\r\n"
    before = sample(url, "ovation_requests_total", route="/predict", status=400)
    with Connection(url) as connection:
        connection.send(head(*OFFERS["Java"], length=len(body)), body)
        assert connection.answer().status == 200
        connection.send(head(*OFFERS["Java"], length=len(smuggled)), smuggled)
        assert connection.answer().status == 400  # it is no JSON
        connection.send(get("/health/live"))
        assert connection.answer().status == 200
    assert sample(url, "ovation_requests_total", route="/predict", status=400) == before + 1


def test_a_library_for_websockets_changes_nothing(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier), ws="asyncio:Protocol") as url, Connection(url) as connection:
        connection.send(head(*OFFERS["WebSocket"]) + BODY)
        assert connection.answer().status == 200
