"""One caller of `/predict/stream`, who sends and takes at the same time."""

import json
import math
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from urllib.parse import urlsplit

_CHUNK_BYTES = 2**16
_PATIENCE_SECONDS = 120.0
_HEAD = (
    b"POST /predict/stream HTTP/1.1\r\nHost: test\r\nContent-Type: application/x-ndjson\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
_END = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Streamed:
    """What one stream gave."""

    lines: int  # that were answered, errors included
    failed: int  # of these
    seconds: float  # from the first byte sent to the last one taken
    taken_bytes: int


def stream(
    url: str,
    texts: Sequence[str],
    count: int | None = None,
    seconds: float = math.inf,
    take_bytes_per_second: float = math.inf,
) -> Streamed:
    """Sends `texts` in turn, `count` in all or as many as go out in `seconds`, and takes the answers as fast as told.

    Raises RuntimeError where the answer does not end as it should.
    """
    parts = urlsplit(url)
    began, lines, taken, tail = time.perf_counter(), 0, 0, b""
    with socket.create_connection((parts.hostname or "", parts.port or 80), _PATIENCE_SECONDS) as connection:
        sender = threading.Thread(target=_send, args=(connection, _chunks(texts, count), began + seconds))
        sender.start()
        while not tail.endswith(_END):
            time.sleep(max(0.0, taken / take_bytes_per_second - (time.perf_counter() - began)))
            data = connection.recv(_CHUNK_BYTES)
            if not data:
                raise RuntimeError(f"expected the end of the answer, found that of the connection after {tail!r}")
            taken += len(data)
            lines += (tail[-1:] + data).count(b"}\n")
            tail = (tail + data)[-200:]
        sender.join()
    done = json.loads(tail[tail.index(b'{"done"') : tail.rindex(b"}") + 1])["done"]
    if lines - 1 != done["lines"]:
        raise RuntimeError(f"expected {done['lines']} lines, as the last one says, found {lines - 1}")
    return Streamed(done["lines"], done["failed"], time.perf_counter() - began, taken)


def _send(connection: socket.socket, chunks: Iterator[bytes], end: float) -> None:
    connection.sendall(_HEAD)
    for chunk in chunks:
        if time.perf_counter() >= end:
            break
        connection.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    connection.sendall(b"0\r\n\r\n")


def _chunks(texts: Sequence[str], count: int | None) -> Iterator[bytes]:
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
