"""`python -m benchmarks.load.attackers URL`: callers who mean no good, until they are told to stop by SIGTERM.

1,000 heads and 1,000 bodies that come a byte a second, and 500 callers who ask and take no answer; who is refused or
closed comes again 5 s later. They cost the machine as little as they can: what is measured is the server. At the
end, or after `--seconds`, a line of JSON tells what became of them.
"""

import asyncio
import json
import random
import signal
import socket
from collections import Counter
from typing import cast
from urllib.parse import urlsplit

import click
import uvloop

HEADS, BODIES, UNREAD = 1000, 1000, 500
_TICKS = 10  # a second: so many parts of the callers send their bytes in turn
_UNREAD_SECONDS = 25.0  # more than the service waits
_UNREAD_REQUESTS = 4  # of some 36 KB each: more than the kernel's buffers take
_AGAIN_SECONDS = 5.0
_SPREAD_SECONDS = 20.0  # until all are there
_PACKET_BYTES = 1000  # the sender's buffers follow from this


class _Caller(asyncio.Protocol):
    """One caller; `slow` is what comes a byte a second after `first`, None where answers are not taken."""

    def __init__(self, attack: "_Attack", kind: str, first: bytes, slow: bytes | None) -> None:
        self._attack, self._kind, self._first, self.slow = attack, kind, first, slow
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._first)
        if self.slow is None:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(_UNREAD_SECONDS, self.transport.resume_reading)
        self._attack.seen[f"{self._kind}: connected"] += 1

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"HTTP/") and self.slow is not None:
            self._attack.seen[f"{self._kind}: {data[9:12].decode('latin-1')}"] += 1

    def connection_lost(self, error: Exception | None) -> None:
        self.transport = None
        self._attack.seen[f"{self._kind}: closed"] += 1
        asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self._attack.connect, self)


class _Attack:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 80
        self.seen = Counter[str]()
        self._tasks = set[asyncio.Task[None]]()
        post = b"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
        ask = b"GET /openapi.json HTTP/1.1\r\nHost: test\r\n\r\n"
        self._callers = [
            *(_Caller(self, "head", post + b"X-Slow: ", b"a") for _ in range(HEADS)),
            *(_Caller(self, "body", post + b"Content-Length: 1000\r\n\r\n", b" ") for _ in range(BODIES)),
            *(_Caller(self, "unread", _UNREAD_REQUESTS * ask, None) for _ in range(UNREAD)),
        ]

    async def run(self, seconds: float) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.call_later(seconds, stop.set)
        order = random.Random(1).sample(self._callers, len(self._callers))
        for number, caller in enumerate(order):  # spread, so that their deadlines are
            loop.call_later(_SPREAD_SECONDS * number / len(order), self.connect, caller)
        tick = 0
        while not stop.is_set():
            for caller in self._callers[tick % _TICKS : HEADS + BODIES : _TICKS]:
                if caller.transport is not None and caller.slow is not None:
                    caller.transport.write(caller.slow)
            tick += 1
            await asyncio.sleep(1 / _TICKS)

    def connect(self, caller: _Caller) -> None:
        task = asyncio.get_running_loop().create_task(self._connect(caller))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, caller: _Caller) -> None:
        loop = asyncio.get_running_loop()
        connection = socket.socket()
        connection.setblocking(False)
        if caller.slow is None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _PACKET_BYTES)
        try:
            await loop.sock_connect(connection, self._address)
            await loop.create_connection(lambda: caller, sock=connection)
        except OSError:
            connection.close()
            self.seen["no connection"] += 1
            loop.call_later(_AGAIN_SECONDS, self.connect, caller)


@click.command()
@click.argument("url")
@click.option("--seconds", default=3600.0)
def main(url: str, seconds: float) -> None:
    """Attacks the service at URL."""
    attack = _Attack(url)
    uvloop.run(attack.run(seconds))
    click.echo(json.dumps(attack.seen))


if __name__ == "__main__":
    main()
