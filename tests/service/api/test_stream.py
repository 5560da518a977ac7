"""`POST /predict/stream` over real sockets: lines in, lines out, while both go on; and what ends or hinders that."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from service.api import schemas, stream
from service.model.bundle import Bundle
from service.model.classifier import Classifier, Prediction
from service.model.tokenizer import Encoded, Tokenizer
from tests.conftest import made_up_reviews
from tests.service.http.test_clients import needs
from tests.support.connection import BODY, Connection, head, sample, until
from tests.support.faulty_service import HELD, RAISES, text
from tests.support.process import service
from tests.support.server import Held, client_of, make_app, serving
from tests.support.stream import NDJSON, Caller, ask, done, line

LINES = [line(review, id=number) for number, (review, _) in enumerate(made_up_reviews())]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def url(tiny_classifier: Classifier) -> Iterator[str]:
    """A service with default limits."""
    with serving(make_app(tiny_classifier)) as found:
        yield found


@pytest.fixture
def held(tiny_classifier: Classifier) -> Iterator[Held]:
    """A classifier that answers once its gate is set, as it is at the end."""
    found = Held(tiny_classifier)
    yield found
    found.gate.set()


def problems(lines: Sequence[dict[str, Any]]) -> list[tuple[int, int, str]]:
    """Line, status and kind of each problem."""
    found = [(each["line"], each["problem"]) for each in lines if "problem" in each]
    return [(number, problem["status"], problem["error_type"]) for number, problem in found]


# What a line may be


def test_lines_are_answered_as_predict_answers_them(url: str) -> None:
    evidence = line("as good as it gets", id="with evidence", evidence=True)
    *lines, last = ask(url, b"".join([*LINES, evidence, line("no id")]))
    assert last == done(len(LINES) + 2)
    assert [each.get("id") for each in lines] == [*range(len(LINES)), "with evidence", None]
    with httpx.Client(base_url=url) as client:
        for sent, answered in zip([*LINES, evidence, line("no id")], lines, strict=True):
            body = json.loads(sent)
            body.pop("id", None)
            answered.pop("id", None)
            assert client.post("/predict", json=body).json() == answered  # to the last bit


@pytest.mark.parametrize(
    ("bad", "status", "kind"),
    [
        (b"nonsense", 400, "malformed"),
        (b'{"text": "\xff"}', 400, "malformed"),
        (b'{"text": "one"} {"text": "two"}', 400, "malformed"),
        (b'{"text": "one"', 400, "malformed"),
        (b'{"text": NaN}', 400, "malformed"),
        (b'"text"', 422, "invalid"),
        (b"{}", 422, "invalid"),
        (b'{"text": 1}', 422, "invalid"),
        (b'{"text": ""}', 422, "invalid"),
        (b'{"text": " <br /> "}', 422, "invalid"),
        (b'{"text": "fine", "more": 1}', 422, "invalid"),
        (b'{"text": "fine", "evidence": "yes"}', 422, "invalid"),
        (b'{"text": "fine", "id": 1.5}', 422, "invalid"),
        (b'{"text": "fine", "id": true}', 422, "invalid"),
        (b'{"text": "fine", "id": "%b"}' % (257 * b"a"), 422, "invalid"),
        (b'{"text": "%b"}' % (100_001 * b"a"), 422, "invalid"),
        (b"[%b1]" % (20_000 * b"1,"), 422, "invalid"),
        (b'{"text": "%b"}' % (4 * 2**20 * b"a"), 413, "body_too_large"),
    ],
)
def test_a_bad_line_fails_alone(url: str, bad: bytes, status: int, kind: str) -> None:
    first, second, third, last = ask(url, line("fine", id=1) + bad + b"\n" + line("fine", id=3))
    assert (first["id"], third["id"], last) == (1, 3, done(2, 1))
    assert problems([second]) == [(2, status, kind)]
    schemas.StreamProblem.model_validate(second)
    assert "retry_after" not in second["problem"]
    assert second["problem"]["instance"] == "/predict/stream"
    assert second["problem"]["error"] == second["problem"]["detail"]
    assert bad.decode("latin-1") not in json.dumps(second)
    assert 32 * "a" not in json.dumps(second)


def test_what_is_blank_depends_on_the_rules_of_the_bundle(tiny_bundle: Bundle) -> None:
    manifest = tiny_bundle.manifest.model_copy(update={"rules": "words-and-marks"})
    tokenizer = Tokenizer(tiny_bundle.tokenizer.vocabulary, 400, "head-and-tail", "words-and-marks")
    older = replace(tiny_bundle, manifest=manifest, tokenizer=tokenizer)
    with serving(make_app(Classifier(older))) as url:
        alone = httpx.post(f"{url}/predict", json={"text": "&nbsp;"})
        found, _ = ask(url, line("&nbsp;"))
    assert alone.status_code == 200  # by its rules, which know no entities
    assert found == alone.json()


def test_a_bad_line_keeps_its_id_where_it_can_be_read(url: str) -> None:
    body = b'{"id": "a", "txt": 1}\n{"id": -7, "text": " "}\n{"id": 1.5, "text": 1}\n{"id": "c", "text"\n'
    lines = ask(url, body)
    assert [each.get("id") for each in lines[:-1]] == ["a", -7, None, None]


@pytest.mark.parametrize("bad", [b"1.5", b"true", b"[]", b'"%b"' % (257 * b"a"), b"9223372036854775808"])
def test_a_bad_id_is_told_in_one_sentence(url: str, bad: bytes) -> None:
    [found, _] = ask(url, b'{"text": "fine", "id": %b}' % bad)
    expected = "id: expected a string of at most 256 characters or an integer of 64 bits, found another value"
    assert found["problem"]["detail"] == expected


def test_a_whole_number_is_an_id_however_it_is_written(url: str) -> None:
    [found, last] = ask(url, b'{"text": "fine", "id": -46.0}')
    assert (found["id"], last) == (-46, done(1))


def test_blank_lines_are_numbered_and_passed_over(url: str) -> None:
    lines = ask(url, b"\xef\xbb\xbf" + line("one") + b"\r\n \t\n\n" + line("two")[:-1] + b"\r\n" + b"bad\n\n\n")
    assert problems(lines) == [(6, 400, "malformed")]
    assert lines[-1] == done(2, 1)
    assert ask(url, 100_000 * b"\n" + b"bad")[0]["line"] == 100_001
    assert ask(url, b"") == ask(url, b"\n \n") == [done(0)]


@pytest.mark.parametrize("last", [b"", b"\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_lines_may_be_cut_anywhere(url: str, size: int, last: bytes) -> None:
    body = b"".join(LINES[:20]).rstrip() + last
    with Caller(url) as caller:
        caller.send(*(body[at : at + size] for at in range(0, len(body), size)))
        caller.end()
        lines = caller.lines()
    assert [each["id"] for each in lines[:-1]] == list(range(20))
    assert lines[-1] == done(20)


def test_a_body_declared_as_json_is_one_line(url: str) -> None:
    body = json.dumps({"text": "as good\nas it gets", "id": "one"}, indent=1).encode()
    answered, last = ask(url, body, media_type="application/json")
    assert (answered["id"], last) == ("one", done(1))
    assert problems(ask(url, LINES[0] + LINES[1], media_type="application/json")) == [(1, 400, "malformed")]


def test_a_line_that_is_too_long_costs_only_itself(tiny_classifier: Classifier) -> None:
    with serving(make_app(tiny_classifier, max_body_bytes=1000, max_held_bytes=600_000)) as url, Caller(url) as caller:
        caller.send(line("before"), b'{"text": "')
        assert "label" in caller.line()
        caller.send(*(1000 * b"a" for _ in range(3000)))  # five times what may be held
        caller.send(b'"}\n' + line("after") + line(1000 * "b"))
        caller.end()
        lines = caller.lines()
    assert problems(lines) == [(2, 413, "body_too_large"), (4, 413, "body_too_large")]
    assert lines[-1] == done(2, 2)


# Both directions at once


def test_the_answer_begins_before_the_request_ends(url: str) -> None:
    with Caller(url) as caller:
        assert caller.answer.status == 200  # before any line
        assert caller.answer.headers["Content-Type"] == NDJSON
        for number in range(5):
            caller.send(line("one by one", id=number))
            assert caller.line()["id"] == number
        caller.end()
        assert caller.lines() == [done(5)]


def test_the_next_request_on_the_connection_is_answered(url: str) -> None:
    with Caller(url) as first:
        first.send(*LINES)
        first.end()
        assert first.lines()[-1] == done(len(LINES))
        second = Caller(url, length=len(LINES[0]), before=first)
        second.send(LINES[0])
        assert second.lines()[-1] == done(1)


def test_http_1_0_has_the_end_of_the_connection_for_the_end(url: str) -> None:
    with Caller(url, length=len(LINES[0]), version="1.0") as caller:
        caller.send(LINES[0])
        assert caller.answer.headers["Transfer-Encoding"] is None
        assert caller.lines()[-1] == done(1)
        assert caller.socket.recv(1) == b""


def test_a_caller_may_wait_to_be_told_to_go_on(url: str) -> None:
    with Caller(url, "Expect: 100-continue") as caller:
        assert caller.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        caller.send(line("go on"))
        caller.end()
        assert caller.lines()[-1] == done(1)


def test_a_caller_may_send_all_before_taking_any(url: str) -> None:
    count = 10_000  # some 2.5 MB of answers, of which the kernel takes little
    with Caller(url, lazy=True) as caller:
        for _ in range(count // 100):
            caller.send(b"".join(LINES[:100]))
        caller.end()
        lines = caller.lines()
    assert lines[-1] == done(count)
    assert [each["id"] for each in lines[:-1]] == count // 100 * list(range(100))


def test_a_caller_who_takes_nothing_is_not_read_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ANSWER_BYTES", 100_000)
    part = b"".join(10 * [line("fine").rstrip() + 10_000 * b" " + b"\n"])  # few texts in many bytes
    with Caller(url, lazy=True) as caller:
        count = caller.send_until_full(part, 10_000)
        assert count < 10_000
        lines = []
        taker = threading.Thread(target=lambda: lines.extend(caller.lines()))
        taker.start()
        caller.send_rest()
        caller.end()
        taker.join()
    assert lines[-1] == done(10 * (count + 1))


# Limits


@pytest.fixture
def full(held: Held) -> Iterator[str]:
    """A service whose one thread is held and whose queue is full."""
    app = make_app(held, max_texts=1, max_waiting_texts=1, hang_seconds=60, timeout_seconds=60)
    with serving(app) as url, contextlib.ExitStack() as stack:
        stack.callback(held.gate.set)
        for waiting in (0, 1):
            connection = stack.enter_context(Connection(url))
            connection.send(head() + BODY)
            until(url, waiting + 1, "ovation_tokenize_seconds_count")
            until(url, waiting, "ovation_waiting_texts")
        assert httpx.post(f"{url}/predict", json={"text": "refused"}).status_code == 429
        yield url


def test_a_full_queue_makes_the_stream_wait(full: str, held: Held) -> None:
    with Caller(full) as caller:
        caller.send(*LINES[:10])
        caller.end()
        assert caller.answer.status == 200
        held.gate.set()
        assert caller.lines()[-1] == done(10)


def test_no_room_in_time_is_told(full: str, held: Held) -> None:
    with Caller(full, "X-Request-Timeout-Ms: 1000") as caller:  # with less, a busy machine would be late in reading it
        caller.send(line("where there is no room"))
        refused = caller.line()
        assert problems([refused]) == [(1, 429, "overloaded")]
        assert schemas.StreamProblem.model_validate(refused).problem.retry_after == 1
        held.gate.set()
        until(full, 2, "ovation_compute_seconds_count")
        caller.send(line("and now there is"))
        caller.end()
        assert caller.lines()[-1] == done(1, 1)


def test_streams_leave_room_for_others(held: Held) -> None:
    app = make_app(held, max_texts=1, max_waiting_texts=16, hang_seconds=60, timeout_seconds=60)
    with serving(app) as url, contextlib.ExitStack() as stack:
        callers = [stack.enter_context(Caller(url)) for _ in range(20)]
        for caller in callers:
            caller.send(b"".join(LINES))
            caller.end()
        until(url, 2, "ovation_tokenize_seconds_count")  # of all streams together no more is worked on
        answers: list[int] = []

        def ask_one() -> None:
            answers.append(httpx.post(f"{url}/predict", json={"text": "one"}, timeout=60).status_code)

        threads = [threading.Thread(target=ask_one) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(url, 10, "ovation_tokenize_seconds_count")
        held.gate.set()
        for thread in threads:
            thread.join()
        assert answers == 8 * [200]
        for caller in callers:
            assert caller.lines()[-1] == done(len(LINES))


def test_a_deadline_is_that_of_a_line(held: Held) -> None:
    with serving(make_app(held, hang_seconds=60)) as url, Caller(url, "X-Request-Timeout-Ms: 100") as caller:
        caller.send(line("late", id="a"))
        late = caller.line()
        assert (late["id"], problems([late])) == ("a", [(1, 504, "timeout")])
        until(url, 1, "ovation_tokenize_seconds_count")
        held.gate.set()
        until(url, 1, "ovation_compute_seconds_count")
        caller.send(line("in time"))
        assert "label" in caller.line()
        caller.end()
        assert caller.lines() == [done(1, 1)]


@pytest.mark.parametrize(
    ("sent", "settings"),
    [(b"", {"keep_alive_seconds": 0.2}), (b'{"text": ', {"timeout_seconds": 0.2})],
)
def test_silence_is_told_and_ends_the_stream(
    tiny_classifier: Classifier, sent: bytes, settings: dict[str, Any]
) -> None:
    with serving(make_app(tiny_classifier, **settings)) as url, Caller(url) as caller:
        caller.send(line("fine") + sent if sent else line("fine"))
        assert "label" in caller.line()
        *lines, last = caller.lines()
        assert problems(lines) == [(2, 408, "slow_body")]
        assert last == done(1, 1)


def test_there_are_only_so_many_streams(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MOST_STREAMS", 2)
    with Caller(url) as first, Caller(url) as second:
        assert (first.answer.status, second.answer.status) == (200, 200)
        with Caller(url) as third:
            assert third.answer.status == 429
            assert third.answer.headers["Retry-After"] == "1"
        first.end()
        assert first.lines() == [done(0)]
        assert ask(url, LINES[0])[-1] == done(1)


@pytest.mark.parametrize(
    ("fields", "media_type", "status"),
    [
        ([], "text/plain", 415),
        ([], "application/json-seq", 415),
        (["Content-Encoding: gzip"], NDJSON, 415),
        (["X-Request-Timeout-Ms: soon"], NDJSON, 400),
    ],
)
def test_a_bad_head_is_no_stream(url: str, fields: list[str], media_type: str, status: int) -> None:
    with Caller(url, *fields, media_type=media_type) as caller:
        assert caller.answer.status == status
        assert caller.answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.anyio
async def test_without_a_connection_of_our_own(tiny_classifier: Classifier) -> None:
    async with client_of(make_app(tiny_classifier)) as client:
        content = (await client.get("/openapi.json")).json()["paths"]["/predict/stream"]["post"]["responses"]["200"]
        assert "retry_after" in content["content"][NDJSON]["x-line"]["$defs"]["LineProblem"]["properties"]
        answer = await client.post("/predict/stream", content=LINES[0], headers={"Content-Type": NDJSON})
        assert [json.loads(each) for each in answer.text.splitlines()][-1] == done(1)
        assert (await client.get("/predict/stream")).status_code == 405


# Ends


class Choosy(Held):
    """Raises where one of the texts has so many tokens."""

    def predict(self, encoded: Sequence[Encoded], options: object = None) -> list[Prediction]:
        if any(one.tokens == RAISES for one in encoded):
            raise RuntimeError("as it was asked to")
        return self._real.predict(encoded)


def test_a_text_that_raises_fails_alone(tiny_classifier: Classifier) -> None:
    with serving(make_app(Choosy(tiny_classifier))) as url:
        lines = ask(url, b"".join([line("one", id=1), line(text(RAISES), id=2), line("as good", id=3)]))
    assert [each.get("id") for each in lines] == [1, 2, 3, None]
    assert problems(lines) == [(2, 500, "internal")]


@pytest.mark.parametrize("sent", [LINES, [b'{"text": "' + 90_000 * b"a"]])
def test_a_caller_who_leaves_frees_everything(held: Held, sent: list[bytes]) -> None:
    with serving(make_app(held, max_held_bytes=200_000, hang_seconds=60, timeout_seconds=60)) as url:
        for _ in range(5):
            caller = Caller(url)
            caller.send(b"".join(sent))
            caller.leave()
            until(url, 1, "ovation_connections")  # that which asks
        until(url, 0, "ovation_waiting_texts")
        held.gate.set()
        assert httpx.post(f"{url}/predict", json={"text": 30_000 * "good "}).status_code == 422  # read, and too long
        assert ask(url, b"".join(LINES))[-1] == done(len(LINES))


def test_sigterm_ends_a_stream_with_its_reason(tiny_bundle_path: Path) -> None:
    with service(tiny_bundle_path) as running, Caller(running.url) as caller:
        caller.send(line(text(HELD), id="read") + line("this, too", id="too") + b'{"text": "not whole')
        until(running.url, 1, "ovation_tokenize_seconds_count")
        running.process.send_signal(signal.SIGTERM)
        while '"event":"draining"' not in running.log.read_text():
            pass
        running.gate.touch()
        read, too, *lines, last = caller.lines()
        assert (read["id"], too["id"]) == ("read", "too")
        assert problems(lines) == [(3, 503, "not_ready")]
        assert last == done(2, 1)
        assert caller.socket.recv(1) == b""
        assert running.end()[0] == 0


def test_lines_without_an_answer_when_the_service_ends_are_told(tiny_bundle_path: Path) -> None:
    with service(tiny_bundle_path, grace_seconds=0) as running, Caller(running.url) as caller:
        caller.send(line("one"))
        assert "label" in caller.line()
        caller.send(b"".join([line(text(HELD)), *(200 * [line("waits")])]))
        until(running.url, 3, "ovation_tokenize_seconds_count")
        running.process.send_signal(signal.SIGTERM)
        *lines, last = caller.lines()
        assert {kind for _, _, kind in problems(lines)} == {"not_ready"}
        assert last == done(1, len(lines))
        running.gate.touch()
        assert running.end()[0] == 0


# What is counted


def test_it_is_counted_and_logged(tiny_classifier: Classifier) -> None:
    with capture_logs() as logged, serving(make_app(tiny_classifier)) as url:
        ask(url, b"".join([*LINES, b"bad\n"]), "X-Request-ID: mine")
        until(url, 1, "ovation_requests_total", route="/predict/stream", status="200")
        assert sample(url, "ovation_queue_seconds_count") == len(LINES)
        assert sum(sample(url, "ovation_predictions_total", label=label) for label in ("negative", "positive")) == 180
    [logged_line] = [each for each in logged if each.get("request_id") == "mine"]
    assert (logged_line["lines"], logged_line["answered"], logged_line["failed"]) == (181, 180, 1)
    tokens = sum(tiny_classifier.tokenizer.encode(json.loads(each)["text"]).tokens for each in LINES)
    assert (logged_line["route"], logged_line["tokens"]) == ("/predict/stream", tokens)


def test_lines_that_fail_are_counted_by_their_kind(tiny_classifier: Classifier) -> None:
    with serving(make_app(Choosy(tiny_classifier), max_body_bytes=1000)) as url:
        kinds = re.findall(r'^ovation_failed_items_total\{error_type="(\w+)"\} 0.0$', metrics(url), re.MULTILINE)
        assert (sample(url, "ovation_stream_lines_total"), len(kinds)) == (0, 9)  # all are there from the start
        with Caller(url) as caller:
            caller.send(line("fine"), b"bad\n", line(" "), line(text(RAISES)), line(1000 * "a"), line("fine"))
            caller.end()
            lines = caller.lines()
        assert {kind for _, _, kind in problems(lines)} <= set(kinds)
        for kind in kinds:
            counted = sample(url, "ovation_failed_items_total", error_type=kind)
            assert counted == [found for _, _, found in problems(lines)].count(kind)
        assert sample(url, "ovation_stream_lines_total") == lines[-1]["done"]["lines"] == 6
        assert lines[-1] == done(2, 4)


def metrics(url: str) -> str:
    """What /metrics tells."""
    return httpx.get(f"{url}/metrics").text


def test_the_log_counts_the_tokens_of_sentences_as_for_predict(tiny_classifier: Classifier) -> None:
    asked = {"text": "Dull. A joy to watch.", "sentences": True}
    with capture_logs() as logged, serving(make_app(tiny_classifier)) as url:
        ask(url, json.dumps(asked).encode())
        assert httpx.post(f"{url}/predict", json=asked).status_code == 200
        until(url, 1, "ovation_requests_total", route="/predict", status="200")
    tokens = {each["route"]: each["tokens"] for each in logged if each["event"] == "request" and each["tokens"]}
    assert tokens == {"/predict": 14, "/predict/stream": 14}  # 7 of the text, 2 and 5 of its sentences


# Other people's clients, as docs/api.md shows them

PAGE = Path(__file__).parents[3] / "docs" / "api.md"
EXAMPLES = [
    (language, code)
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    if language in ("python", "js", "sh") and ("reviews.ndjson" in code or "-T -" in code)
]
PROGRAMS = {"python": [sys.executable], "js": ["node", "--input-type=module"], "sh": ["sh"]}


@pytest.mark.parametrize(("language", "code"), EXAMPLES)
def test_the_clients_of_the_docs(url: str, tmp_path: Path, language: str, code: str) -> None:
    needs(PROGRAMS[language][0] if language != "sh" else "curl")
    (tmp_path / "reviews.ndjson").write_bytes(b"".join(LINES))
    with (tmp_path / "reviews.ndjson").open("rb") as lines:
        code = code.replace("http://127.0.0.1:8000", url)
        command = [*PROGRAMS[language], *(["-c", code] if language != "js" else ["--eval", code])]
        ran = subprocess.run(
            command, cwd=tmp_path, stdin=lines, capture_output=True, text=True, timeout=60, check=False
        )
    assert ran.returncode == 0, ran.stderr
    *answers, last = map(json.loads, ran.stdout.splitlines())
    assert [answer["id"] for answer in answers] == list(range(len(LINES)))
    assert last == done(len(LINES))
