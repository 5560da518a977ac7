"""`POST /predict/stream`: lines of JSON in, lines out in the same order; the answer begins before the request ends.

What one stream holds is bounded: the lines of three groups, and ANSWER_BYTES of answers that its caller has not taken.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, NamedTuple

import structlog
from fastapi import APIRouter, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service.api import answer, schemas
from service.engine.admission import Closed, Overloaded
from service.engine.batcher import Hung
from service.engine.encoding import BadText, Late
from service.engine.engine import Engine
from service.http.body import parse
from service.http.connection import CALLER_LEFT
from service.http.held import Held, HeldBody
from service.http.lines import Group, Lines
from service.http.problems import Problem, problem_of
from service.model.classifier import EvidenceUnavailable
from service.model.offsets import convert
from service.model.tokenizer import BlankText, is_blank
from service.telemetry.request_log import RequestLog, RequestRecord

MEDIA_TYPE = "application/x-ndjson"
ANSWER_BYTES = 4 * 2**20  # of a stream's answers wait for a caller who does not take them
MOST_STREAMS = 100  # at once: a stream has no deadline, and must not take the connections of all others
_GROUP_LINES = 32  # at most; fewer where the queue is short
_QUEUE_SHARE = 8  # a group takes at most this part of the queue's places, so that others find room
_TURNS = 2  # groups that are worked on at once, of all streams: one runs, the next waits in the queue
_LOOK_SECONDS = 0.25  # between two looks whether a stream that waits for tokens has ended
_LINGER_SECONDS = 1.0  # for what a caller still sends once the stream has ended early
# Errors that concern all texts of a group: asking for each alone would give the same.
_OF_ALL = (Closed, Overloaded, Late, Hung, EvidenceUnavailable)

Id = str | int | None

_PROBLEMS = schemas.problem_responses(
    "malformed", "forbidden_origin", "slow_head", "unsupported_media_type", "overloaded", "internal", "not_ready"
)  # before the answer begins; a line's are in the answer
_PARAMETERS = [
    answer.HEADERS[0],
    answer.HEADERS[1] | {"description": "how long a line may take; the service's own limit, where that is less"},
]


class StreamRoute(APIRoute):
    """A route that `streams` answers; FastAPI only documents it."""

    streams: ClassVar["Streams"]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI, once the path has matched. Raises Problem, Overloaded, Closed."""
        if scope["method"] != "POST":
            raise HTTPException(405, headers={"Allow": "POST"})
        await self.streams.answer(scope, receive, send)


def router(engine: Engine, limits: schemas.Limits, held: Held, log: RequestLog, silence_seconds: float) -> APIRouter:
    """The route; a caller who sends nothing for `silence_seconds` is told so, and the stream ends."""
    line = schemas.stream_line(schemas.requests(limits.max_characters, limits.max_texts)[0])

    class Route(StreamRoute):
        streams = Streams(engine, line, limits, held, log, silence_seconds)

    routes = APIRouter(tags=["predict"], route_class=Route)
    good: dict[int | str, dict[str, Any]] = {
        200: {"headers": schemas.REQUEST_ID_HEADER, "content": {MEDIA_TYPE: schemas.stream_answer()}}
    }
    body = {
        "required": True,
        "content": {MEDIA_TYPE: schemas.stream_request(line), "application/json": {"schema": line.model_json_schema()}},
    }

    @routes.post(
        "/predict/stream",
        response_class=Response,
        responses=good | _PROBLEMS,
        openapi_extra={"parameters": _PARAMETERS, "requestBody": body},
    )
    async def predict_stream() -> None:
        """Predicts the labels of any number of texts, one a line; the answer begins before the request ends."""

    return routes


@dataclass
class _Line:
    """A line of the request and what became of it."""

    number: int
    id: Id = None
    body: Any = None  # of the schema; None where the line does not fit it
    prediction: dict[str, Any] | None = None
    problem: Problem | None = None


class _Part(NamedTuple):
    """A part of the answer."""

    content: bytes
    answered: int  # lines
    failed: int
    next: int  # number of the line that follows those of the part


class Streams:
    """All streams of a worker; `line` is the schema of a line."""

    def __init__(
        self,
        engine: Engine,
        line: type[BaseModel],
        limits: schemas.Limits,
        held: Held,
        log: RequestLog,
        silence_seconds: float,
    ) -> None:
        self.engine, self.line, self.limits, self.held, self.log = engine, line, limits, held, log
        self.silence_seconds = silence_seconds
        self.ids: TypeAdapter[Id] = TypeAdapter(schemas.LineId)
        # Groups of all streams take turns in order of arrival: many streams put no more into the queue than one does.
        self.turns = asyncio.Semaphore(_TURNS)
        self._group_lines = max(1, min(_GROUP_LINES, limits.max_waiting_texts // _QUEUE_SHARE))
        self._open = 0

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. Raises Problem, Overloaded, Closed where the answer is no stream."""
        is_one_line = _is_one_line(scope["headers"])
        if self.engine.batcher.admission.closed:  # for room a stream waits
            raise Closed
        if self._open >= MOST_STREAMS:
            raise Overloaded(f"expected at most {MOST_STREAMS} streams at once, found as many", 1)
        record, held = RequestRecord.of(scope), HeldBody(self.held)
        line_seconds = record.deadline - record.began
        lines = Lines(
            receive,
            held,
            self.limits.max_body_bytes,
            line_seconds,
            self.silence_seconds,
            self._group_lines,
            is_one_line,
        )
        stream = _Stream(self, record, lines, held, scope["state"].get("connection"), send)
        self._open += 1
        try:
            await stream.run()
        except* ClientDisconnect:
            pass
        finally:
            self._open -= 1
            held.release()
            record.lines = stream.counts


class _Stream:
    """One request. Its groups are tasks, whose answers are written in the order of the lines."""

    def __init__(
        self, streams: Streams, record: RequestRecord, lines: Lines, held: HeldBody, connection: Any, send: Send
    ) -> None:
        self._streams, self._record, self._lines, self._held = streams, record, lines, held
        self._connection, self._send = connection, send
        self._parts: asyncio.Queue[asyncio.Task[_Part] | None] = asyncio.Queue(1)
        self._ending: Problem | None = None  # why the stream ends before the request does
        self._line_seconds = record.deadline - record.began
        self._answered = self._failed = 0
        self._next = 1  # number of the first line that is not answered

    @property
    def counts(self) -> dict[str, int]:
        """Lines that were answered and that failed, so far."""
        return {"lines": self._answered + self._failed, "answered": self._answered, "failed": self._failed}

    async def run(self) -> None:
        """Answers all lines, or as many as there were when it had to end. Raises ClientDisconnect in a group."""
        if self._connection is not None:
            self._connection.stream(ANSWER_BYTES, lambda: self._end_early(Closed()))
        try:
            ending = await self._answer_all()
        except asyncio.CancelledError as error:
            if error.args == (CALLER_LEFT,):
                raise
            ending = problem_of(Closed())  # the server stops, and waits no longer
        last = b""
        if ending is not None:
            self._failed += 1
            self._streams.log.metrics.observe_lines(1, [ending.kind])
            last = self._render(_Line(self._next, problem=ending))
        await self._send_part(last + to_json({"done": self.counts}) + b"\n")
        await self._lines.drop(_LINGER_SECONDS)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer_all(self) -> Problem | None:
        """Answers lines as they come; returns why it ended where it did so before the request."""
        ending: Problem | None = None
        async with asyncio.TaskGroup() as tasks:
            # It begins when this task first waits for the body, and so behind the 100 Continue that uvicorn sends then.
            tasks.create_task(self._write())
            try:
                async for group in self._lines.groups():
                    await self._parts.put(tasks.create_task(self._answer(group)))
            except (Problem, Overloaded) as error:
                ending = problem_of(error).with_traceback(None)  # which would refer to this frame
            await self._parts.put(None)
        self._next = self._lines.number  # after blank lines
        return ending or (None if self._lines.has_ended else self._ending)

    def _end_early(self, reason: Exception) -> None:
        """What has been read is answered, and then there is a line with the reason."""
        self._ending = self._ending or problem_of(reason)
        self._lines.stop()

    async def _write(self) -> None:
        """Writes the head, and the groups' answers in their order."""
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"x-accel-buffering", b"no")]  # nginx would gather it
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        while (task := await self._parts.get()) is not None:
            part = await task
            if part.content:
                await self._send_part(part.content)
            self._held.drop(len(part.content))
            self._answered += part.answered
            self._failed += part.failed
            self._next = part.next

    async def _send_part(self, part: bytes) -> None:
        if self._connection is not None:
            await self._connection.send_part(self._send, part)
        else:
            await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def _answer(self, group: Group) -> _Part:
        """The lines that answer a group, which are held until they are written."""
        await self._await_allowance()
        async with self._streams.turns:
            lines = [self._parse(number, content) for number, content in group.lines]
            deadline = perf_counter() + self._line_seconds
            for alike in _asked_alike([line for line in lines if line.problem is None]):
                await self._predict(alike, deadline)
            content = b"".join([self._render(line) for line in lines])
        self._held.drop(group.bytes)
        try:
            self._held.add(len(content))
        except Overloaded as error:  # the content is there already
            self._end_early(error)
        failed = [line.problem.kind for line in lines if line.problem is not None]
        self._streams.log.metrics.observe_lines(len(lines), failed)
        return _Part(content, len(lines) - len(failed), len(failed), group.next)

    async def _await_allowance(self) -> None:
        """Waits, before the group has its turn, until the stream's key has tokens to spend, or the stream ends."""
        if self._record.allowance is None:
            return
        while (seconds := self._record.allowance.seconds_until_open()) and self._ending is None:
            await asyncio.sleep(min(seconds, _LOOK_SECONDS))

    def _parse(self, number: int, content: bytes | None) -> _Line:
        limits = self._streams.limits
        if content is None:
            detail = f"expected a line of at most {limits.max_body_bytes} bytes, found more"
            return _Line(number, problem=Problem("body_too_large", detail))
        try:
            body: Any = parse(content, self._streams.line, 1)
        except Problem as error:
            return _Line(number, problem=error)
        except RequestValidationError as error:
            return _Line(number, self._id(content), problem=problem_of(error))
        rules = self._streams.engine.classifier.tokenizer.rules
        blank = Problem("invalid", f"text: {BlankText()}") if is_blank(body.text, rules) else None
        return _Line(number, body.id, body, problem=blank)

    def _id(self, content: bytes) -> Id:
        """The id of a line that is JSON and does not fit the schema, where its id does."""
        value = from_json(content)
        try:
            return self._streams.ids.validate_python(value.get("id") if isinstance(value, dict) else None)
        except ValidationError:
            return None

    async def _predict(self, lines: Sequence[_Line], deadline: float) -> None:
        """Gives each line, all of which ask for the same, its prediction or its problem."""
        try:
            asked: Any = lines[0].body
            answers = await self._streams.engine.predict(
                [line.body.text for line in lines], deadline, asked.evidence, sentences=asked.sentences, waits=True
            )
        except Exception as error:
            if len(lines) > 1 and not isinstance(error, _OF_ALL):  # one text's fault is none of the others'
                for line in lines:
                    await self._predict([line], deadline)
                return
            if isinstance(error, Closed):
                self._end_early(error)
            problem = Problem("invalid", f"text: {error}") if isinstance(error, BadText) else problem_of(error)
            if problem.kind == "internal":
                log = structlog.get_logger("ovation")
                log.error("unhandled error", request_id=self._record.request_id, exc_info=error)
            for line in lines:
                line.problem = problem
            return
        self._streams.log.answered(self._record, answers)
        for line, prediction in zip(lines, answers.predictions, strict=True):
            line.prediction = convert(prediction, line.body.text, line.body.offsets).as_json(answers.model)

    def _render(self, line: _Line) -> bytes:
        its_id: dict[str, Any] = {} if line.id is None else {"id": line.id}
        if line.problem is None:
            assert line.prediction is not None
            return to_json(its_id | line.prediction) + b"\n"
        problem = line.problem.body(self._record.instance, self._record.made_id)
        if (seconds := line.problem.headers.get("Retry-After")) is not None:  # a line has no headers
            problem["retry_after"] = int(seconds)
        return to_json({"line": line.number, **its_id, "problem": problem}) + b"\n"


def _asked_alike(lines: Sequence[_Line]) -> list[list[_Line]]:
    """The lines that may be predicted together; a line that asks for sentences, which may be many, is alone."""
    alone = [[line] for line in lines if line.body.sentences]
    others = [
        [line for line in lines if not line.body.sentences and line.body.evidence == asks] for asks in (False, True)
    ]
    return alone + [group for group in others if group]


def _is_one_line(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether the body is one JSON value, and not lines of them. Raises Problem where it is declared as neither."""
    fields = dict(headers)
    if fields.get(b"content-encoding", b"identity").lower() != b"identity":
        detail = "expected a body without Content-Encoding, found one"
        raise Problem("unsupported_media_type", detail, {"Accept-Encoding": "identity"})
    media_type = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if media_type not in (MEDIA_TYPE.encode(), b"application/json"):
        detail = f"expected Content-Type: {MEDIA_TYPE}, or application/json for one line"
        raise Problem("unsupported_media_type", f"{detail}, found {'another' if media_type else 'none'}")
    return media_type == b"application/json"
