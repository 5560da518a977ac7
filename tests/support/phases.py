"""Connections that stand still in each phase of a request, for what may happen to them there."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.support.connection import BODY, Connection, chunked, head
from tests.support.faulty_service import HELD, text

_HELD = json.dumps({"text": text(HELD)}).encode()
_MANY = json.dumps({"texts": 64 * [text(400)], "evidence": True}).encode()
_STREAM = head("Content-Type: application/x-ndjson", "Transfer-Encoding: chunked", path="/predict/stream", length=None)
_LINE = chunked(BODY + b"\n", 1000)[: -len(b"0\r\n\r\n")]

# What is sent at first, and what is left to send; where nothing is left, the request has come whole.
PHASES: dict[str, tuple[bytes, bytes]] = {
    "connected": (b"", head() + BODY),
    "in the head": (head()[:20], head()[20:] + BODY),
    "after the head": (head(), BODY),
    "in the body": (head() + BODY[:9], BODY[9:]),
    "running": (head(length=len(_HELD)) + _HELD, b""),
    "waiting": (head() + BODY, b""),  # opened after those that run
    "in the answer": (head(path="/predict/batch", length=len(_MANY)) + _MANY, b""),
    "in a stream": (_STREAM.replace(b"Content-Type: application/json\r\n", b"") + _LINE, b"0\r\n\r\n"),
    "between requests": (head() + BODY, head() + BODY),
}


@dataclass
class Standing:
    """One connection, and the phase that it stands in."""

    phase: str
    connection: Connection

    def finish(self) -> str:
        """Sends the rest and reads the answer: `answered`, `refused` (before the request was whole) or `lost`."""
        rest = PHASES[self.phase][1]
        try:
            self.connection.send(rest)
            status = self.connection.final_answer().status
        except (ConnectionError, TimeoutError):
            return "refused" if rest and self.phase != "in a stream" else "lost"
        return "answered" if status == 200 else "refused"


@contextmanager
def standing(url: str, each: int) -> Iterator[list[Standing]]:
    """`each` connections in every phase; those that are to be running need a gate that is closed (faulty_service)."""
    with ExitStack() as stack:
        found = list[Standing]()
        for phase in sorted(
            PHASES, key=lambda phase: phase != "between requests"
        ):  # these are answered before any runs
            for _ in range(each):
                connection = stack.enter_context(Connection(url, lazy=phase == "in the answer"))
                connection.send(PHASES[phase][0])
                if phase == "between requests":
                    assert connection.final_answer().status == 200
                found.append(Standing(phase, connection))
        yield found
