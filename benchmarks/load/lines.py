"""One caller of `/predict/stream`, who sends and takes at the same time, from one thread."""

import json
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from urllib.parse import urlsplit

_CHUNK_BYTES = 2**16
_TAKE_BYTES = 2**18
_PATIENCE_SECONDS = 60.0
_HEAD = "POST /predict/stream HTTP/1.1\r\nHost: test\r\nContent-Type: application/x-ndjson\r\n"


@dataclass(frozen=True)
class Streamed:
    """What one stream gave."""

    lines: int  # that were answered, errors included
    failed: int  # of these
    seconds: float  # from the first byte sent to the last one taken
    sent_bytes: int
    first_seconds: float  # until the answer began


def stream(
    url: str, texts: Sequence[str], count: int, seconds: float = float("inf"), take_bytes_per_second: float = float("inf")
) -> Streamed:
    """Sends `texts` in turn, `count` in all or as many as go out in `seconds`, and takes the answers as fast as told.

    Raises RuntimeError where the answer does not end as it should.
    """
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80))
    connection.setblocking(False)
    source = _chunks(texts, count)
    out, sent, lines, tail, first = bytearray(f"{_HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()), 0, 0, b"", 0.0
    began, taken, has_all, last_event = time.perf_counter(), 0, False, time.perf_counter()
    with selectors.DefaultSelector() as selector, connection:
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            now = time.perf_counter()
            if now - last_event > _PATIENCE_SECONDS:
                raise RuntimeError(f"expected the stream to go on, found nothing within {_PATIENCE_SECONDS:g} s")
            allowed = min(_TAKE_BYTES, int(take_bytes_per_second * (now - began)) - taken) if (
                take_bytes_per_second < float("inf")
            ) else _TAKE_BYTES
            if not out and not has_all:
                chunk = next(source, b"") if now - began < seconds else b""
                has_all = not chunk
                out += b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b"0\r\n\r\n"
            events = (selectors.EVENT_READ if allowed > 0 else 0) | (selectors.EVENT_WRITE if out else 0)
            if not events:
                time.sleep(0.005)
                continue
            selector.modify(connection, events)
            for _, ready in selector.select(0.005 if allowed <= 0 else 1):
                last_event = time.perf_counter()
                if ready & selectors.EVENT_WRITE:
                    written = connection.send(out)
                    sent += written
                    del out[:written]
                if ready & selectors.EVENT_READ:
                    data = connection.recv(allowed)
                    if not data:
                        raise RuntimeError(f"expected the end of the answer, found that of the connection after {tail!r}")
                    first = first or time.perf_counter() - began
                    taken += len(data)
                    lines += (tail[-1:] + data).count(b"}\n")
                    tail = (tail + data)[-200:]
    done = json.loads(tail[tail.index(b'{"done"') : tail.rindex(b"}") + 1])["done"]
    if lines - 1 != done["lines"]:
        raise RuntimeError(f"expected {done['lines']} lines, as the last one says, found {lines - 1}")
    return Streamed(done["lines"], done["failed"], time.perf_counter() - began, sent, first)


def _chunks(texts: Sequence[str], count: int) -> Iterator[bytes]:
    """The body, `count` of the texts in turn, in pieces of about _CHUNK_BYTES."""
    lines = [json.dumps({"text": text}).encode() + b"\n" for text in texts]
    chunk = bytearray()
    for line in islice(cycle(lines), count):
        chunk += line
        if len(chunk) >= _CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)
