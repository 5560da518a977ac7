"""`python -m tests.hostile`: attacks a real server with default settings, and measures the memory that it takes.

Each attack has its right answers. They run one after another, then all at once, beside a caller who asks ordinary
requests and probes. The peak is the kernel's VmHWM, less what was resident before the first attack.
"""

import asyncio
import contextlib
import json
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click

from tests.support.connection import BODY, chunked, get, head
from tests.support.process import Service, service

MODEL = Path(__file__).parents[1] / "models" / "reviews-bilstm"
BOUND_BYTES = 200 * 2**20
MIB = 2**20
PATIENCE_SECONDS = 60.0  # longer than any deadline of the service
# In place of a status: the service closed the connection without an answer; it did neither in time.
CLOSED, UNANSWERED = 0, -1

Statuses = Counter[int]


@dataclass
class Target:
    """A service under attack; `share` of each attack's connections take part."""

    host: str
    port: int
    share: float = 1.0

    def of(self, count: int) -> int:
        """The share of `count`, at least one."""
        return max(1, round(count * self.share))

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator["Caller"]:
        """A connection that takes 64 KiB of what is sent, and more only where it is asked to."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=2**15)
        try:
            yield Caller(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@dataclass
class Caller:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, parts: Iterable[bytes], pause_seconds: float = 0.0) -> None:
        """Sends until all is sent or the service puts an end to it."""
        with contextlib.suppress(ConnectionError):
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()
                if pause_seconds:
                    await asyncio.sleep(pause_seconds)
                if self.reader.at_eof():
                    return

    async def status(self) -> int:
        """The status of the next answer, whose body is not read."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                line = await self.reader.readline()
        except ConnectionError:
            return CLOSED
        except TimeoutError:
            return UNANSWERED
        return int(line.split()[1]) if line else CLOSED

    async def answer(self) -> int:
        """The status of the next answer, all of which is read."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                lines = (await self.reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
                [length] = [int(line.split()[1]) for line in lines if line.startswith(b"content-length")]
                while length:
                    part = await self.reader.read(length)
                    if not part:
                        return CLOSED
                    length -= len(part)
        except (ConnectionError, asyncio.IncompleteReadError):
            return CLOSED
        except TimeoutError:
            return UNANSWERED
        return int(lines[0].split()[1])

    async def until_closed(self) -> None:
        """Reads nothing more, and waits for the service to close the connection."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.reader.at_eof() and self.reader.exception() is None and time.monotonic() < end:
            await asyncio.sleep(0.1)


async def together(count: int, one: Callable[[], Awaitable[int]]) -> Statuses:
    """What `count` callers at once were answered."""
    return Counter(await asyncio.gather(*(one() for _ in range(count))))


def repeated(part: bytes, total_bytes: int) -> Iterator[bytes]:
    """`part` until it is so many bytes."""
    block = part * (65_536 // len(part) + 1)
    return (block for _ in range(total_bytes // len(block) + 1))


# The attacks.


async def heads_without_end(target: Target) -> Statuses:
    """256 MB of fields on each of 4 connections."""

    async def one() -> int:
        async with target.connection() as caller:
            await caller.send([b"GET / HTTP/1.1\r\n"])
            await caller.send(repeated(b"X-Filler: " + 1000 * b"a" + b"\r\n", 256 * MIB))
            return await caller.status()

    return await together(target.of(4), one)


async def values_without_end(target: Target) -> Statuses:
    """One field of 105 MB on each of 4 connections."""

    async def one() -> int:
        async with target.connection() as caller:
            await caller.send([b"GET / HTTP/1.1\r\nX: "])
            await caller.send(repeated(b"a", 105 * MIB))
            return await caller.status()

    return await together(target.of(4), one)


async def many_fields(target: Target) -> Statuses:
    """Heads of 100,000 fields, and of 5 MB."""

    async def one() -> int:
        async with target.connection() as caller:
            await caller.send([get("/health/live", *(100_000 * ["X: a"]))])
            return await caller.status()

    async def other() -> int:
        async with target.connection() as caller:
            await caller.send([get("/health/live", *(100 * ["X: " + 50_000 * "a"]))])
            return await caller.status()

    return await together(target.of(20), one) + await together(target.of(20), other)


async def heads_that_wait(target: Target) -> Statuses:
    """60 KB of a head on each of 1,900 connections, and no end of it."""

    async def one() -> int:
        async with target.connection() as caller:
            await caller.send([b"GET / HTTP/1.1\r\nX: " + 60_000 * b"a"])
            return await caller.status()

    return await together(target.of(1900), one)


async def long_heads_that_were_answered(target: Target) -> Statuses:
    """1,500 connections that stay after a request with a head of 60 KB."""
    async with contextlib.AsyncExitStack() as stack:

        async def one() -> int:
            caller = await stack.enter_async_context(target.connection())
            await caller.send([get("/health/live", *(150 * ["X: " + 400 * "a"]))])
            return await caller.answer()

        return await together(target.of(1500), one)


async def trailers_without_end(target: Target) -> Statuses:
    """256 MB of trailers on each of 4 connections."""

    async def one() -> int:
        async with target.connection() as caller:
            await caller.send([head("Transfer-Encoding: chunked", length=None) + b"1e\r\n" + BODY + b"\r\n0\r\n"])
            await caller.send(repeated(b"X-Filler: " + 1000 * b"a" + b"\r\n", 256 * MIB))
            return await caller.status()

    return await together(target.of(4), one)


async def chunked_bodies(target: Target) -> Statuses:
    """200 chunked bodies of 4 MB, none of which ends before all others have come."""
    request = head("Transfer-Encoding: chunked", length=None)
    request += chunked(b'{"text": "' + 800_000 * b"fine " + b'"}', 2**16)
    count = target.of(200)
    barrier = asyncio.Barrier(count)

    async def one() -> int:
        async with target.connection() as caller:
            await caller.send(request[at : at + 2**18] for at in range(0, len(request) - 5, 2**18))
            await barrier.wait()
            await caller.send([request[-5:]])
            return await caller.status()

    return await together(count, one)


async def chunks_of_a_byte(target: Target) -> Statuses:
    """4 bodies of 300,000 chunks."""
    request = head("Transfer-Encoding: chunked", length=None) + chunked(b'{"text": "' + 300_000 * b"a" + b'"}', 1)

    async def one() -> int:
        async with target.connection() as caller:
            await caller.send([request])
            return await caller.status()

    return await together(target.of(4), one)


def _batch() -> bytes:
    """256 texts with evidence: the answer has some 11 MB."""
    body = json.dumps({"texts": 256 * ["good " * 1500], "evidence": True}).encode()
    return head(path="/predict/batch", length=len(body)) + body


async def answers_that_nobody_takes(target: Target) -> Statuses:
    """40 answers of 11 MB, on connections that stay until the service ends them."""
    request, statuses = _batch(), Statuses()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(target.of(40)):
            caller = await stack.enter_async_context(target.connection())
            await caller.send([request])
            statuses[await caller.status()] += 1
    return statuses


async def answers_that_were_taken(target: Target) -> Statuses:
    """40 answers of 11 MB, taken, on connections that stay."""
    request, statuses = _batch(), Statuses()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(target.of(40)):
            caller = await stack.enter_async_context(target.connection())
            await caller.send([request])
            statuses[await caller.answer()] += 1
    return statuses


async def small_answers_that_nobody_takes(target: Target) -> Statuses:
    """500 connections, each with 2,000 requests at once and no answer taken."""

    async def one() -> int:
        async with target.connection() as caller:
            sending = asyncio.create_task(caller.send([get("/openapi.json") * 2000]))
            status = await caller.status()
            await caller.until_closed()
            sending.cancel()
            return status

    return await together(target.of(500), one)


def _odd(body: bytes) -> Callable[[Target], Awaitable[Statuses]]:
    request = head(length=len(body)) + body

    async def attack(target: Target) -> Statuses:
        async def one() -> int:
            async with target.connection() as caller:
                await caller.send([request])
                return await caller.answer()

        return await together(target.of(8), one)

    return attack


async def bodies_that_trickle_on(target: Target) -> Statuses:
    """500 bodies that were refused by their length, and still come byte by byte."""

    async def one() -> int:
        async with target.connection() as caller:
            await caller.send([head(length=5 * MIB)])
            status = await caller.answer()
            await caller.send(repeated(b"a", 1), 0)
            await caller.send((b"a" for _ in range(60)), 1)
            return status

    return await together(target.of(500), one)


async def slow_bodies(target: Target) -> Statuses:
    """1,000 bodies, a byte a second."""

    async def one() -> int:
        async with target.connection() as caller:
            sending = asyncio.create_task(caller.send([head(), *(bytes([byte]) for byte in BODY)], 1))
            status = await caller.status()
            sending.cancel()
            return status

    return await together(target.of(1000), one)


async def idle_connections(target: Target) -> Statuses:
    """3,000 connections on which nothing comes."""

    async def one() -> int:
        async with target.connection() as caller:
            return await caller.status()

    return await together(target.of(3000), one)


KEYS = b"{" + b",".join(b'"%d":0' % number for number in range(390_000)) + b"}"
VALUES = b'{"texts": [' + b",".join(1_000_000 * [b'"a"']) + b"]}"
NESTED = b'{"text": ' + 1_000_000 * b"[" + 1_000_000 * b"]" + b"}"

# Each attack, and the statuses that it may be answered with. Where more waits than may, 429 is right for every request
# that was refused, and the oldest connections are closed.
ATTACKS: dict[str, tuple[Callable[[Target], Awaitable[Statuses]], set[int]]] = {
    "heads without end": (heads_without_end, {431}),
    "values without end": (values_without_end, {431}),
    "many fields": (many_fields, {431}),
    "heads that wait": (heads_that_wait, {408, CLOSED}),
    "long heads that were answered": (long_heads_that_were_answered, {200, 429, CLOSED}),
    "trailers without end": (trailers_without_end, {400, 429}),
    "chunked bodies": (chunked_bodies, {422, 429, 408, CLOSED}),
    "chunks of a byte": (chunks_of_a_byte, {422, 429, 408}),
    "answers that nobody takes": (answers_that_nobody_takes, {200, 429, 504}),
    "answers that were taken": (answers_that_were_taken, {200, 429, 504}),
    "small answers that nobody takes": (small_answers_that_nobody_takes, {200, CLOSED}),
    "unknown keys": (_odd(KEYS), {422, 429}),
    "a million texts": (_odd(VALUES), {422, 429}),
    "a million brackets": (_odd(NESTED), {400, 422, 429}),
    "bodies that trickle on": (bodies_that_trickle_on, {413, 429}),
    "slow bodies": (slow_bodies, {408, 429}),
    "idle connections": (idle_connections, {CLOSED}),
}


@dataclass
class Ordinary:
    """A caller beside the attacks: a review, then a probe, and again."""

    target: Target
    reviews: Statuses = field(default_factory=Counter)
    probes: Statuses = field(default_factory=Counter)
    slowest_seconds: float = 0.0

    async def ask(self) -> None:
        """One review and one probe, each on a connection of its own."""
        for request, statuses in ((head() + BODY, self.reviews), (get("/health/live"), self.probes)):
            began = time.monotonic()
            async with self.target.connection() as caller:
                await caller.send([request])
                statuses[await caller.answer()] += 1
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)

    async def keep_asking(self, stop: threading.Event) -> None:
        """Until stopped."""
        while not stop.is_set():
            await self.ask()
            await asyncio.sleep(0.1)


@dataclass
class Outcome:
    """What an attack, or all of them at once, came to."""

    name: str
    statuses: Statuses
    unexpected: set[int]
    ordinary: Ordinary
    seconds: float
    peak_bytes: int  # over rest, since the outcome before

    def problems(self) -> list[str]:
        """What is not as it should be."""
        problems = []
        if self.unexpected:
            problems.append(f"{self.name}: found the statuses {sorted(self.unexpected)}")
        if set(self.ordinary.probes) != {200}:
            problems.append(f"{self.name}: expected 200 for each probe, found {dict(self.ordinary.probes)}")
        if not set(self.ordinary.reviews) <= {200, 429}:
            problems.append(f"{self.name}: expected 200 or 429 for reviews, found {dict(self.ordinary.reviews)}")
        if self.peak_bytes > BOUND_BYTES:
            problems.append(
                f"{self.name}: expected at most {BOUND_BYTES / MIB:.0f} MiB over rest, found "
                f"{self.peak_bytes / MIB:.0f} MiB"
            )
        return problems

    def __str__(self) -> str:
        return (
            f"{self.name:33} {self.peak_bytes / MIB:6.0f} MiB {self.seconds:6.1f} s   {told(self.statuses)}; beside it "
            f"{told(self.ordinary.reviews)}, at most {self.ordinary.slowest_seconds:.1f} s"
        )


def told(statuses: Statuses) -> str:
    """How many were answered with which status."""
    names = {CLOSED: "closed", UNANSWERED: "unanswered"}
    return ", ".join(f"{count} × {names.get(status, status)}" for status, count in sorted(statuses.items()))


async def attack(running: Service, names: Iterable[str], rest_bytes: int, share: float = 1.0) -> Outcome:
    """Runs these attacks at once."""
    parts = urlsplit(running.url)
    target = Target(parts.hostname or "", parts.port or 80, share)
    names, ordinary = list(names), Ordinary(target)
    with contextlib.suppress(PermissionError):  # then each peak is the highest so far
        Path(f"/proc/{running.process.pid}/clear_refs").write_text("5")
    # In a thread: beside so many connections an event loop is slow to send what an ordinary caller has to send.
    stop, began = threading.Event(), time.monotonic()
    asking = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(ordinary.keep_asking(stop))))
    results = await asyncio.gather(*(ATTACKS[name][0](target) for name in names))
    stop.set()
    await asking
    also = {CLOSED} if len(names) > 1 else set()  # where there are too many connections
    unexpected = {
        status
        for name, statuses in zip(names, results, strict=True)
        for status in statuses.keys() - ATTACKS[name][1] - also
    }
    await ordinary.ask()
    return Outcome(
        names[0] if len(names) == 1 else f"{len(names)} attacks at once",
        sum(results, Statuses()),
        unexpected,
        ordinary,
        time.monotonic() - began,
        running.memory("VmHWM") - rest_bytes,
    )


@contextlib.contextmanager
def victim() -> Iterator[tuple[Service, int]]:
    """The service as it is by default, after a few requests; and its resident bytes at rest."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    try:
        with service(MODEL, module="service", threads=0) as running:
            parts = urlsplit(running.url)
            ordinary = Ordinary(Target(parts.hostname or "", parts.port or 80))
            for _ in range(20):
                asyncio.run(ordinary.ask())
            yield running, running.memory("VmRSS")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(ATTACKS)), metavar="[ATTACK]...")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="of each attack's connections")
def main(names: tuple[str, ...], share: float) -> None:
    """Runs these attacks, or all, one after another, then all of them at once; code 1 where something is not right."""
    with victim() as (running, rest_bytes):
        click.echo(f"{rest_bytes / MIB:.0f} MiB at rest; the most over that:")
        outcomes = []
        for chosen in [*([name] for name in names or ATTACKS), list(names or ATTACKS)]:
            outcomes.append(asyncio.run(attack(running, chosen, rest_bytes, share)))
            click.echo(str(outcomes[-1]))
        click.echo(f"at the end {(running.memory('VmRSS') - rest_bytes) / MIB:.0f} MiB over rest")
    problems = [problem for outcome in outcomes for problem in outcome.problems()]
    peak = max(outcome.peak_bytes for outcome in outcomes) / MIB
    click.echo(f"peak over rest: {peak:.0f} MiB; bound: {BOUND_BYTES / MIB:.0f} MiB")
    for problem in problems:
        click.echo(problem, err=True)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
