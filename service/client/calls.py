"""Decides what to send, when to send it again and when to give up, without input or output.

Each call is a generator of steps: it yields a `Send` and is sent its `Reply` (or is thrown `Unreachable` or
`TimedOut`), or yields a `Pause`. `blocking` and `asynchronous` take the steps. A request is repeated only where
nothing of it was answered; of a stream that ended early only the lines that were not.
"""

import json
import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal, NamedTuple, TypeVar

from service.client.errors import ApiError, DeadlineExceeded, UnexpectedAnswer, Unreachable
from service.client.groups import Group, encode
from service.client.results import Failure, Model, Prediction, Problem

Offsets = Literal["code_points", "utf16", "utf8"]
Outcome = Prediction | Failure

# What another attempt may answer; 502 is a proxy's, whose service has just ended or not begun.
_TRANSIENT = frozenset({408, 429, 502, 503, 504})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0  # seconds, where no Retry-After says otherwise; doubled each time
_MOST_MILLISECONDS = 999_999_999


class Send(NamedTuple):
    """A request to send, and the seconds in which its answer must be whole."""

    method: str
    path: str
    content: bytes
    headers: Mapping[str, str]
    seconds: float


class Pause(NamedTuple):
    """Seconds to wait."""

    seconds: float


class Reply(NamedTuple):
    """An answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    is_whole: bool  # False where the connection was cut before the end of the content


class TimedOut(Exception):
    """A shell throws it where a request had no answer in its seconds."""


Returned = TypeVar("Returned")
Steps = Generator[Send | Pause, Reply | None, Returned]


@dataclass(frozen=True)
class Asked:
    """What a call wants to know of each text, and within how many seconds of each request."""

    evidence: bool
    sentences: bool
    offsets: Offsets
    seconds: float

    def fields(self) -> bytes:
        """The fields of the body that follow the text; empty for those that have their default."""
        chosen: dict[str, Any] = {}
        if self.evidence:
            chosen["evidence"] = True
        if self.sentences:
            chosen["sentences"] = True
        if self.offsets != "code_points":
            chosen["offsets"] = self.offsets
        return b"".join(b",%b:%b" % (json.dumps(n).encode(), json.dumps(v).encode()) for n, v in chosen.items())


@dataclass
class _Attempts:
    """Counts the attempts of one request and its time. Raises what ends them."""

    seconds: float
    retries: int
    began: float = field(default_factory=monotonic)
    failed: int = 0
    problem: Problem | None = None

    def left(self) -> float:
        """Seconds; raises DeadlineExceeded where there are none."""
        left = self.began + self.seconds - monotonic()
        if left <= 0:
            raise DeadlineExceeded(self.seconds, self.problem)
        return left

    def again(self, error: Exception, retry_after: float | None = None) -> Pause:
        """How long to wait before the next attempt. Raises `error` after the last, DeadlineExceeded beyond the time."""
        if isinstance(error, ApiError):
            self.problem = error.problem
        self.failed += 1
        if self.failed > self.retries:
            raise error
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (self.failed - 1))
        if retry_after is not None:
            pause = retry_after
        pause *= 1 + random.random() / 4  # so that many callers do not come back at once
        if pause >= self.left():
            raise DeadlineExceeded(self.seconds, self.problem) from error
        return Pause(pause)


class Calls:
    """The calls of one client; `retries` are the attempts after the first. Raises ValueError for a malformed key."""

    def __init__(self, api_key: str | None, retries: int, agent: str) -> None:
        self._retries = retries
        self._headers = {"User-Agent": agent, "Accept": "application/json"}
        if api_key is not None:
            key = api_key.strip()  # a mounted secret often ends with a line break
            if not (key and key.isascii() and key.isprintable()) or " " in key:
                raise ValueError("expected an api_key of visible ASCII characters, found others")
            self._headers["Authorization"] = f"Bearer {key}"

    def model(self, seconds: float) -> Steps[Model]:
        """`GET /model`. Raises OvationError."""
        content = yield from self._answer("GET", "/model", b"", seconds)
        return _parsed(Model.of, _read(content))

    def one(self, text: str, asked: Asked) -> Steps[Prediction]:
        """`POST /predict`. Raises OvationError, TypeError."""
        encoded = encode(text, 0)
        if isinstance(encoded, Failure):
            raise ApiError(encoded.problem)
        body = b'{"text":%b%b}' % (encoded, asked.fields())
        content = yield from self._answer("POST", "/predict", body, asked.seconds)
        return _parsed(_prediction, _read(content))

    def batch(self, group: Group, asked: Asked) -> Steps[list[Outcome]]:
        """`POST /predict/batch`: what became of each text of the group. Raises OvationError."""
        texts = [text for text in group.texts if isinstance(text, bytes)]
        answers = iter((yield from self._halved(texts, asked)))
        return [
            text if isinstance(text, Failure) else _placed(next(answers), group.first + place)
            for place, text in enumerate(group.texts)
        ]

    def lines(self, group: Group, asked: Asked) -> Steps[list[Outcome]]:
        """`POST /predict/stream`: what became of each text of the group. Raises OvationError."""
        outcomes: dict[int, Outcome] = {
            place: text for place, text in enumerate(group.texts) if isinstance(text, Failure)
        }
        attempts = _Attempts(asked.seconds, self._retries)
        while len(outcomes) < len(group.texts):
            sent = {place: text for place, text in enumerate(group.texts) if place not in outcomes}
            body = b"".join(
                b'{"id":%d,"text":%b%b}\n' % (place, text, asked.fields())
                for place, text in sent.items()
                if isinstance(text, bytes)
            )
            before = len(outcomes)
            error, retry_after = yield from self._stream(body, group.first, outcomes, attempts)
            if len(outcomes) > before:
                attempts.failed = 0
            if len(outcomes) < len(group.texts):
                yield attempts.again(error, retry_after)
        return [outcomes[place] for place in range(len(group.texts))]

    def _stream(
        self, body: bytes, first: int, outcomes: dict[int, Outcome], attempts: _Attempts
    ) -> Steps[tuple[Exception, float | None]]:
        """One attempt: adds to `outcomes`, and returns why some may be missing and the seconds to wait."""
        try:
            reply = yield from self._send("POST", "/predict/stream", body, attempts, "application/x-ndjson")
        except Unreachable as error:
            return error, None
        if reply.status != 200:
            problem = Problem.of_answer(reply.status, reply.headers, reply.content)
            if reply.status not in _TRANSIENT:
                raise ApiError(problem)
            return ApiError(problem), problem.retry_after
        missing: Exception = Unreachable("expected an answer to each line, found the connection cut")
        retry_after = None
        for line in _lines(reply.content):
            if "problem" in line:
                problem = Problem.of(line["problem"])
                if problem.status in _TRANSIENT:
                    missing, retry_after = ApiError(problem), problem.retry_after
                elif problem.error_type == "no_evidence":
                    raise ApiError(problem)
                elif "id" in line:
                    outcomes[line["id"]] = Failure(first + line["id"], problem)
            elif "done" not in line:
                outcomes[line["id"]] = _parsed(_prediction, line)
        return missing, retry_after

    def _halved(self, texts: Sequence[bytes], asked: Asked) -> Steps[list[Prediction | Problem]]:
        """Sends `texts` together; where they are too much for one request, half of them, and then the others."""
        if not texts:
            return []
        body = b'{"texts":[%b],"on_error":"item"%b}' % (b",".join(texts), asked.fields())
        try:
            content = yield from self._answer("POST", "/predict/batch", body, asked.seconds)
        except ApiError as error:
            if error.status not in (413, 422) or error.problem.error_type == "no_evidence":
                raise
            if len(texts) == 1:
                return [error.problem]
            half = len(texts) // 2
            first = yield from self._halved(texts[:half], asked)
            return first + (yield from self._halved(texts[half:], asked))
        answers = _parsed(_answers, _read(content))
        if len(answers) != len(texts):
            raise UnexpectedAnswer(f"expected {len(texts)} predictions, found {len(answers)}")
        return answers

    def _answer(self, method: str, path: str, content: bytes, seconds: float) -> Steps[bytes]:
        """The body of a success. Raises OvationError once there is no use in asking again."""
        attempts = _Attempts(seconds, self._retries)
        while True:
            retry_after = None
            try:
                reply = yield from self._send(method, path, content, attempts, "application/json")
                if not reply.is_whole:
                    raise Unreachable("expected a whole answer, found the connection cut")
                if reply.status == 200:
                    return reply.content
                problem = Problem.of_answer(reply.status, reply.headers, reply.content)
                if reply.status not in _TRANSIENT:
                    raise ApiError(problem)
                error: Exception = ApiError(problem)
                retry_after = problem.retry_after
            except Unreachable as unreachable:
                error = unreachable
            yield attempts.again(error, retry_after)

    def _send(self, method: str, path: str, content: bytes, attempts: _Attempts, media_type: str) -> Steps[Reply]:
        """One attempt. Raises Unreachable, DeadlineExceeded."""
        left = attempts.left()
        milliseconds = max(1, min(int(left * 1000), _MOST_MILLISECONDS))
        headers = {**self._headers, "X-Request-Timeout-Ms": str(milliseconds)}
        if content:
            headers["Content-Type"] = media_type
        try:
            reply = yield Send(method, path, content, headers, left)
        except TimedOut:
            raise DeadlineExceeded(attempts.seconds, attempts.problem) from None
        assert reply is not None
        return reply


def _prediction(answer: Any) -> Prediction:
    return Prediction.of(answer, answer["model"])


def _answers(body: Any) -> list[Prediction | Problem]:
    model = body["model"]
    return [
        Problem.of(answer["problem"]) if "problem" in answer else Prediction.of(answer, model)
        for answer in body["predictions"]
    ]


def _placed(answer: Prediction | Problem, index: int) -> Outcome:
    return Failure(index, answer) if isinstance(answer, Problem) else answer


def _lines(content: bytes) -> Iterator[dict[str, Any]]:
    """The whole lines of a stream's answer; one that was cut is no answer. Raises UnexpectedAnswer."""
    for line in content.split(b"\n")[:-1]:
        yield _parsed(dict, _read(line))


def _read(content: bytes) -> Any:
    return _parsed(json.loads, content)


def _parsed(parse: Callable[[Any], Returned], value: Any) -> Returned:
    """What `parse` makes of `value`. Raises UnexpectedAnswer."""
    try:
        return parse(value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnexpectedAnswer(f"expected an answer of Ovation, found another ({type(error).__name__})") from None
