"""A caller of `/predict/stream` who sends and takes when a test says so."""

import http.client
import json
import select
import socket
from typing import Any
from urllib.parse import urlsplit

NDJSON = "application/x-ndjson"
_PATIENCE_SECONDS = 20.0  # more than anything here may take


def line(text: str, **fields: Any) -> bytes:
    """A line of a request."""
    return json.dumps({"text": text, **fields}).encode() + b"\n"


class Caller:
    """A stream on a connection of its own, or the next one on another's."""

    def __init__(
        self,
        url: str,
        *fields: str,
        media_type: str = NDJSON,
        length: int | None = None,
        version: str = "1.1",
        lazy: bool = False,
        before: "Caller | None" = None,
    ) -> None:
        parts = urlsplit(url)
        self.socket: socket.socket = before.socket if before else socket.socket()
        if before is None:
            self.socket.settimeout(_PATIENCE_SECONDS)
            if lazy:  # the kernel's buffers take only some 100 KB of the answer
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.connect((parts.hostname, parts.port))
        self._is_chunked = length is None
        framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
        head = [f"POST /predict/stream HTTP/{version}", "Host: test", f"Content-Type: {media_type}", framing, *fields]
        self.socket.sendall("\r\n".join([*head, "", ""]).encode())
        self._answer: http.client.HTTPResponse | None = None

    def send(self, *parts: bytes) -> None:
        """Sends each of `parts` in a chunk of its own, unless the body has a Content-Length."""
        for part in parts:
            self.socket.sendall(b"%x\r\n%b\r\n" % (len(part), part) if self._is_chunked else part)

    def send_until_full(self, part: bytes, most: int) -> int:
        """Sends `part` up to `most` times, until the service takes no more for a while: how often it was sent whole."""
        data = memoryview(b"%x\r\n%b\r\n" % (len(part), part))
        for count in range(most):
            left = data
            while left:
                if not select.select([], [self.socket], [], 0.5)[1]:
                    self._left = left
                    return count
                left = left[self.socket.send(left, socket.MSG_DONTWAIT) :]
        return most

    def send_rest(self) -> None:
        """Sends the rest of the part that was not sent whole."""
        self.socket.sendall(self._left)

    def end(self) -> None:
        """Ends a chunked body."""
        self.socket.sendall(b"0\r\n\r\n")

    @property
    def answer(self) -> http.client.HTTPResponse:
        """The answer's head and body; waits for the head."""
        if self._answer is None:
            self._answer = http.client.HTTPResponse(self.socket, method="POST")
            self._answer.begin()
        return self._answer

    def line(self) -> dict[str, Any]:
        """The next line of the answer; waits for it."""
        found: dict[str, Any] = json.loads(self.answer.readline())
        return found

    def lines(self) -> list[dict[str, Any]]:
        """All lines up to the end of the answer."""
        return [json.loads(each) for each in self.answer.read().splitlines()]

    def leave(self) -> None:
        """Closes the connection."""
        if self._answer is not None:
            self._answer.close()
        self.socket.close()

    def __enter__(self) -> "Caller":
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


def ask(url: str, body: bytes, *fields: str, **options: Any) -> list[dict[str, Any]]:
    """The lines of the answer to one whole body."""
    with Caller(url, *fields, length=len(body), **options) as caller:
        caller.send(body)
        return caller.lines()


def done(answered: int, failed: int = 0) -> dict[str, Any]:
    """The last line."""
    return {"done": {"lines": answered + failed, "answered": answered, "failed": failed}}
