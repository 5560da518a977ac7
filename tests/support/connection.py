"""A caller that speaks HTTP/1.1 as a test wants it: byte by byte, half-closed, malformed, or not at all."""

import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

BODY = b'{"text": "as good as it gets"}'
_PATIENCE_SECONDS = 20.0  # more than anything here may take


@dataclass
class Answer:
    """What a server sent back."""

    status: int
    headers: list[tuple[str, str]]  # names in lower case
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of the one header of this name."""
        values = [value for each, value in self.headers if each == name]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None


class Connection:
    """A socket to the service; of the answers to a `lazy` caller the kernel's buffers take only some 100 KB."""

    def __init__(self, url: str, lazy: bool = False) -> None:
        parts = urlsplit(url)
        self._socket = socket.socket()
        self._socket.settimeout(_PATIENCE_SECONDS)
        if lazy:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)  # the sender's buffer follows it
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect((parts.hostname, parts.port))
        self._file = self._socket.makefile("rb")

    def send(self, *parts: bytes) -> None:
        """Sends each of `parts` in a packet of its own, as far as TCP lets a caller decide that."""
        for part in parts:
            self._socket.sendall(part)

    def send_until_refused(self, part: bytes, most_bytes: int) -> int:
        """Sends `part` again and again until the service closes the connection: the bytes sent by then."""
        sent = 0
        try:
            while sent < most_bytes:
                self._socket.sendall(part)
                sent += len(part)
                if self.readable(0):
                    break
        except (BrokenPipeError, ConnectionResetError):
            pass
        return sent

    def trickle(self, part: bytes, pause_seconds: float = 0.02) -> None:
        """Sends `part` again and again, slowly, until the service answers or closes the connection."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while not self.readable(pause_seconds):
            assert time.monotonic() < end, "expected the service to put an end to it, found none"
            self._socket.sendall(part)

    def readable(self, seconds: float = _PATIENCE_SECONDS) -> bool:
        """Whether something, or the connection's end, comes within `seconds`."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def answer(self, of_head: bool = False, pause_seconds: float = 0.0) -> Answer:
        """The next answer, interim ones too, taken with a pause every 16 KiB. Raises ConnectionError where none is."""
        status_line = self._file.readline().decode().rstrip()
        if not status_line:
            raise ConnectionError("expected an answer, found the end of the connection")
        headers = list[tuple[str, str]]()
        while line := self._file.readline().decode().rstrip():
            name, _, value = line.partition(": ")
            headers.append((name.lower(), value))
        length = 0 if of_head else int(dict(headers).get("content-length", 0))
        body = b""
        while len(body) < length:
            part = self._file.read(min(length - len(body), 2**14))
            if not part:
                raise ConnectionError(f"expected {length} bytes, found the end of the connection after {len(body)}")
            body += part
            time.sleep(pause_seconds)
        return Answer(int(status_line.split()[1]), headers, body)

    def final_answer(self) -> Answer:
        """The next answer that is none of 100 Continue."""
        while (answer := self.answer()).status == 100:
            pass
        return answer

    def ended(self) -> bool:
        """Whether the service closed the connection, with nothing before."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True

    def end_sending(self) -> None:
        """Half-closes: the service reads the end, and can still answer."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Leaves."""
        self._file.close()
        self._socket.close()

    def reset(self) -> None:
        """Leaves as a process that died: TCP sends a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def head(
    *lines: str,
    method: str = "POST",
    path: str = "/predict",
    version: str = "1.1",
    length: int | None = len(BODY),
) -> bytes:
    """The head of a request with a body of JSON; no Content-Length where `length` is None."""
    fields = ["Host: test", "Content-Type: application/json", *lines]
    if length is not None:
        fields.append(f"Content-Length: {length}")
    return "\r\n".join([f"{method} {path} HTTP/{version}", *fields, "", ""]).encode()


def get(path: str, *lines: str) -> bytes:
    """A request without a body."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: test", *lines, "", ""]).encode()


def chunked(body: bytes, size: int, trailers: bytes = b"") -> bytes:
    """`body` in chunks of `size`."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"


def sample(url: str, name: str, **labels: Any) -> float:
    """The sum of the samples of /metrics that have these labels, whatever others they have."""
    wanted = {label: str(value) for label, value in labels.items()}
    families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
    samples = [each for family in families for each in family.samples if each.name == name]
    values = [each.value for each in samples if wanted.items() <= each.labels.items()]
    assert values, (name, wanted)
    return sum(values)


def until(url: str, value: float, name: str, **labels: Any) -> None:
    """Waits for a sample of /metrics to be `value`."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while (seen := sample(url, name, **labels)) != value:
        assert time.monotonic() < end, f"expected {name} to become {value}, found {seen}"
        time.sleep(0.01)
