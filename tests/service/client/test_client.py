"""The Python client, both shells, against the real service and against scripted answers."""

import asyncio
import itertools
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest

from service.client import (
    ApiError,
    AsyncClient,
    Client,
    DeadlineExceeded,
    Failure,
    OvationError,
    Prediction,
    UnexpectedAnswer,
    Unreachable,
)
from service.model.classifier import Classifier
from tests.support.server import make_app, serving

ROOT = Path(__file__).parents[3]
TEXTS = ["The film was wonderful.", "İt wasn’t dull — café 🙂! Never.", " ", "awful", "lone \ud800 surrogate"]
MAX_TEXTS = 8

Outcome = Prediction | Failure
Many = Literal["predict_many", "stream"]


class Caller:
    """One of the two clients, called alike."""

    def __init__(self, name: str) -> None:
        self.name = name

    def one(self, url: str, call: str, *arguments: Any, options: dict[str, Any] | None = None, **asked: Any) -> Any:
        """What `predict` or `model` returns."""
        if self.name == "Client":
            with Client(url, **options or {}) as client:
                return getattr(client, call)(*arguments, **asked)

        async def ask() -> Any:
            async with AsyncClient(url, **options or {}) as client:
                return await getattr(client, call)(*arguments, **asked)

        return asyncio.run(ask())

    def many(
        self, url: str, call: Many, texts: Iterable[str], options: dict[str, Any] | None = None, **asked: Any
    ) -> list[Outcome]:
        """What `predict_many` or `stream` yields."""
        if self.name == "Client":
            with Client(url, **options or {}) as client:
                return list(getattr(client, call)(texts, **asked))

        async def ask() -> list[Outcome]:
            async with AsyncClient(url, **options or {}) as client:
                return [outcome async for outcome in getattr(client, call)(texts, **asked)]

        return asyncio.run(ask())


@pytest.fixture(params=["Client", "AsyncClient"])
def caller(request: pytest.FixtureRequest) -> Caller:
    return Caller(request.param)


@pytest.fixture(params=["predict_many", "stream"])
def call(request: pytest.FixtureRequest) -> Many:
    found: Many = request.param
    return found


@pytest.fixture(scope="module")
def url(tiny_classifier: Classifier) -> Iterator[str]:
    with serving(make_app(tiny_classifier, max_texts=MAX_TEXTS, max_characters=1000)) as found:
        yield found


# Against the service


def check(outcome: Outcome, text: str, classifier: Classifier) -> None:
    """The outcome is the classifier's own answer, bit for bit."""
    assert isinstance(outcome, Prediction), outcome
    [expected] = classifier([text])
    assert outcome.probabilities == expected.probabilities
    assert (outcome.label, outcome.score, outcome.uncertain) == (expected.label, expected.score, expected.uncertain)
    assert (outcome.tokens, outcome.truncated) == (expected.tokens, expected.truncated)
    assert outcome.model == classifier.name


def test_one_text(caller: Caller, url: str, tiny_classifier: Classifier) -> None:
    answer = caller.one(url, "predict", TEXTS[0], evidence=True, sentences=True)
    check(answer, TEXTS[0], tiny_classifier)
    [expected] = tiny_classifier([TEXTS[0]], evidence=True)
    assert expected.evidence
    assert answer.evidence.bias == expected.evidence.bias
    assert [(t.start, t.end, t.weight) for t in answer.evidence.tokens] == expected.evidence.tokens
    assert [(s.start, s.end) for s in answer.sentences] == [(0, len(TEXTS[0]))]
    assert answer.mixed is False
    assert caller.one(url, "predict", TEXTS[0]).evidence is None


def test_many_texts_have_their_order_and_bad_ones_fail_alone(
    caller: Caller, call: Many, url: str, tiny_classifier: Classifier
) -> None:
    texts = list(itertools.islice(itertools.cycle(TEXTS), 7 * len(TEXTS) + 1))
    outcomes = caller.many(url, call, texts)
    assert len(outcomes) == len(texts)
    for index, (text, outcome) in enumerate(zip(texts, outcomes, strict=True)):
        if text in (TEXTS[2], TEXTS[4]):
            assert isinstance(outcome, Failure)
            assert (outcome.index, outcome.problem.status, outcome.problem.error_type) == (index, 422, "invalid")
            assert "expected" in outcome.problem.detail
        else:
            check(outcome, text, tiny_classifier)


def test_what_is_too_much_for_one_request_is_cut(caller: Caller, call: Many, url: str) -> None:
    wordy = "Good. " * 150
    outcomes = caller.many(url, call, [wordy] * 7 + ["x" * 1001], sentences=True)
    sentences = [outcome.sentences for outcome in outcomes if isinstance(outcome, Prediction)]
    assert [len(each) for each in sentences if each] == [150] * 7  # 512 are the most in a request
    assert isinstance(outcomes[-1], Failure)
    assert "1000 characters" in outcomes[-1].problem.detail


def test_the_model(caller: Caller, url: str, tiny_classifier: Classifier) -> None:
    model = caller.one(url, "model")
    assert (model.model, model.labels) == (tiny_classifier.name, tiny_classifier.manifest.labels)
    assert model.limits.max_texts == MAX_TEXTS
    assert model.body["name"] == tiny_classifier.manifest.name


def test_offsets_count_what_was_asked_for(caller: Caller, url: str) -> None:
    answer = caller.one(url, "predict", "🙂 good", evidence=True, offsets="utf16")
    assert [(token.start, token.end) for token in answer.evidence.tokens] == [(0, 2), (3, 7)]


def test_no_text_is_no_request(caller: Caller, call: Many, url: str) -> None:
    assert caller.many(url, call, []) == []


def test_a_call_reads_little_ahead(url: str, call: Many) -> None:
    read = itertools.count()
    with Client(url, connections=2) as client:
        outcomes = getattr(client, call)(f"Film {number}." for number in read)
        assert sum(isinstance(outcome, Prediction) for outcome in itertools.islice(outcomes, 100)) == 100
        outcomes.close()
    assert next(read) <= 100 + 5 * MAX_TEXTS


def test_an_asynchronous_iterable(url: str, call: Many) -> None:
    async def texts() -> AsyncIterator[str]:
        for number in range(20):
            await asyncio.sleep(0)
            yield f"Film {number}."

    async def ask() -> int:
        async with AsyncClient(url) as client:
            return len([outcome async for outcome in getattr(client, call)(texts())])

    assert asyncio.run(ask()) == 20


def test_what_is_no_text_is_told(caller: Caller, call: Many, url: str) -> None:
    with pytest.raises(TypeError, match="text 1: expected a str, found int"):
        caller.many(url, call, ["fine", 5])  # type: ignore[list-item]


def test_connections_are_kept(caller: Caller, tiny_classifier: Classifier) -> None:
    ports = set()
    app = make_app(tiny_classifier, max_texts=MAX_TEXTS)

    async def seen(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            ports.add(scope["client"])
        await app(scope, receive, send)

    with serving(seen) as url:  # type: ignore[arg-type]
        assert len(caller.many(url, "predict_many", ["fine"] * 50 * MAX_TEXTS, {"connections": 2})) == 50 * MAX_TEXTS
    assert 1 <= len(ports) <= 3


# Against scripted answers

MODEL = {
    "model": "made@up",
    "labels": ["bad", "good"],
    "max_tokens": 9,
    "evidence": True,
    "uncertain_below": 0.7,
    "limits": {"max_characters": 99, "max_texts": 3, "max_body_bytes": 10_000, "timeout_seconds": 1.0},
}
ANSWER = {
    "label": "good",
    "score": 0.75,
    "probabilities": {"bad": 0.25, "good": 0.75},
    "uncertain": False,
    "tokens": 1,
    "truncated": False,
    "unknown_share": 0.0,
}
Script = Callable[[httpx.Request], httpx.Response]


def problem(status: int, kind: str, retry_after: int | None = None) -> dict[str, Any]:
    found = {"type": f"urn:{kind}", "status": status, "detail": f"expected better, found {kind}", "error_type": kind}
    return found if retry_after is None else {**found, "retry_after": retry_after}


def refusal(status: int, kind: str, retry_after: int | None = None) -> httpx.Response:
    headers = {"X-Request-ID": "its-id"} | ({} if retry_after is None else {"Retry-After": str(retry_after)})
    return httpx.Response(status, json=problem(status, kind), headers=headers)


class Service:
    """Answers well but where `script` gives another answer; keeps the texts that it answered and the requests."""

    def __init__(self, *script: httpx.Response | Exception | Script) -> None:
        self.script = list(script)  # of the requests for predictions, in their order; then all is well
        self.requests: list[httpx.Request] = []
        self.answered: list[str] = []

    @property
    def options(self) -> dict[str, Any]:
        """For a client that asks one request at a time."""
        return {"transport": httpx.MockTransport(self), "connections": 1}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path == "/model":
            return httpx.Response(200, json=MODEL)
        if self.script:
            part = self.script.pop(0)
            if isinstance(part, Exception):
                raise part
            if isinstance(part, httpx.Response):  # a new one, since a response can be read once
                return httpx.Response(part.status_code, headers=part.headers, content=part.content)
            return part(request)
        return self.good(request)

    def good(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/predict/stream":
            return httpx.Response(200, content=b"".join(map(self.line, sent(request))) + b'{"done":{}}\n')
        body = json.loads(request.content)
        self.answered += body.get("texts", [body.get("text")])
        if request.url.path == "/predict":
            return httpx.Response(200, json={**ANSWER, "model": "made@up"})
        return httpx.Response(200, json={"model": "made@up", "predictions": [ANSWER] * len(body["texts"])})

    def line(self, asked: dict[str, Any]) -> bytes:
        self.answered.append(asked["text"])
        return json.dumps({"id": asked["id"], **ANSWER, "model": "made@up"}).encode() + b"\n"


def sent(request: httpx.Request) -> list[dict[str, Any]]:
    return [json.loads(line) for line in request.content.splitlines()]


NUMBERED = [f"text {number}" for number in range(10)]


@pytest.mark.parametrize(
    "failure",
    [
        refusal(429, "overloaded", 0),
        refusal(503, "not_ready", 0),
        httpx.Response(502, html="<h1>Bad Gateway</h1>", headers={"Retry-After": "0"}),
        httpx.ReadError("connection reset"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
    ],
    ids=lambda failure: str(getattr(failure, "status_code", type(failure).__name__)),
)
def test_what_was_refused_is_sent_again_and_what_was_answered_is_not(
    caller: Caller, call: Many, failure: httpx.Response | Exception
) -> None:
    service = Service()
    service.script = [failure, service.good, failure]
    outcomes = caller.many("http://made.up", call, NUMBERED, service.options)
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    assert len(outcomes) == len(NUMBERED)
    assert service.answered == NUMBERED  # each once


@pytest.mark.parametrize("end", ["cut", "half a line", "draining", "line refused"])
def test_of_a_broken_stream_only_the_rest_is_sent_again(caller: Caller, end: str) -> None:
    service = Service()

    def broken(request: httpx.Request) -> httpx.Response:
        first, second, third = sent(request)
        content = service.line(first)
        match end:
            case "half a line":
                content += b'{"id":1,"label":"go'
            case "draining":
                content += json.dumps({"line": 2, "problem": problem(503, "not_ready", 0)}).encode() + b"\n"
                content += b'{"done":{"lines":1,"answered":1,"failed":1}}\n'
            case "line refused":  # the queue was full for one line, and not for the next
                refused = {"line": 2, "id": second["id"], "problem": problem(429, "overloaded", 0)}
                content += json.dumps(refused).encode() + b"\n" + service.line(third) + b'{"done":{}}\n'
        return httpx.Response(200, content=content)

    service.script = [broken]
    outcomes = caller.many("http://made.up", "stream", NUMBERED, service.options)
    assert all(isinstance(outcome, Prediction) for outcome in outcomes)
    assert len(outcomes) == len(NUMBERED)
    assert sorted(service.answered) == sorted(NUMBERED)


def test_batches_have_the_size_that_the_server_allows(caller: Caller) -> None:
    service = Service()
    caller.many("http://made.up", "predict_many", [*NUMBERED, "x" * 4000, "y" * 4000], service.options)
    batches = [json.loads(request.content)["texts"] for request in service.requests[1:]]
    assert [len(batch) for batch in batches] == [3, 3, 3, 2, 1]
    assert all(len(request.content) <= 10_000 for request in service.requests)


def test_after_the_last_attempt_the_refusal_is_raised(caller: Caller) -> None:
    service = Service(*[refusal(429, "overloaded", 0)] * 9)
    with pytest.raises(ApiError, match="429, overloaded: expected better") as raised:
        caller.one("http://made.up", "predict", "text", options={**service.options, "retries": 2})
    assert len(service.requests) == 3
    found = raised.value.problem
    assert (found.error_type, found.request_id, found.retry_after) == ("overloaded", "its-id", 0)
    assert found.body == problem(429, "overloaded")


def test_what_no_attempt_can_mend_is_raised_at_once(caller: Caller) -> None:
    service = Service(refusal(401, "unauthorized"))
    with pytest.raises(ApiError, match="401") as raised:
        caller.one("http://made.up", "predict", "text", options=service.options)
    assert raised.value.status == 401
    assert len(service.requests) == 1


def test_a_pause_beyond_the_deadline_is_not_waited_for(caller: Caller) -> None:
    service = Service(refusal(429, "overloaded", 60))
    with pytest.raises(DeadlineExceeded, match="within 5 s, found none; the last refusal was 429") as raised:
        caller.one("http://made.up", "predict", "text", options=service.options, timeout=5)
    assert raised.value.problem is not None
    assert raised.value.problem.retry_after == 60


def test_the_service_is_told_of_the_deadline(caller: Caller) -> None:
    service = Service(refusal(429, "overloaded", 0))
    caller.one("http://made.up", "predict", "text", options={**service.options, "timeout": 7})
    told = [int(request.headers["X-Request-Timeout-Ms"]) for request in service.requests]
    assert 0 < told[1] <= told[0] <= 7000


def test_a_request_that_hangs_ends_at_its_deadline(caller: Caller) -> None:
    service = Service(httpx.ReadTimeout("timed out"))
    with pytest.raises(DeadlineExceeded):
        caller.one("http://made.up", "predict", "text", options=service.options)


def test_nobody_there(caller: Caller) -> None:
    service = Service(*[httpx.ConnectError("[Errno 111] Connection refused")] * 2)
    with pytest.raises(Unreachable, match="Connection refused"):
        caller.one("http://made.up", "predict", "text", options={**service.options, "retries": 0})


def test_another_program_answers(caller: Caller) -> None:
    service = Service(httpx.Response(200, html="<h1>Hello</h1>"))
    with pytest.raises(UnexpectedAnswer, match="expected an answer of Ovation"):
        caller.one("http://made.up", "predict", "text", options=service.options)
    assert issubclass(UnexpectedAnswer, OvationError)


def test_the_key_is_sent(caller: Caller) -> None:
    service = Service()
    caller.many("http://made.up", "stream", ["text"], {**service.options, "api_key": "a-key"})
    assert [request.headers["Authorization"] for request in service.requests] == ["Bearer a-key"] * 2


def test_fields_that_are_new_are_passed_over(caller: Caller) -> None:
    service = Service(httpx.Response(200, json={**ANSWER, "model": "made@up", "mood": "fine"}))
    assert caller.one("http://made.up", "predict", "text", options=service.options).label == "good"


# What it needs, and what the README shows


def test_it_loads_neither_the_service_nor_the_model() -> None:
    script = (
        "import sys\n"
        "import service.client\n"
        "unwanted = {'onnxruntime', 'torch', 'fastapi', 'starlette', 'pydantic', 'numpy', 'uvicorn'}\n"
        "print(unwanted & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"


def test_the_example_of_the_readme(url: str, tmp_path: Path) -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    [code] = [block for block in blocks if "service.client" in block]
    assert len(code.splitlines()) <= 20
    (tmp_path / "reviews.txt").write_text("The film was wonderful.\n\nThe film was awful.\n")
    code = code.replace("http://127.0.0.1:8000", url)
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert "line 2: expected a text" in lines[3]


@pytest.mark.parametrize("key", ["", "schlüssel", "a key", "two\nkeys"])
def test_a_malformed_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ValueError, match="expected an api_key of visible ASCII characters, found others") as refused:
        Client("http://127.0.0.1:9", api_key=key)
    assert not key or key not in str(refused.value)
