"""`python -m tests.faults`: does to a real service what goes wrong in operation, and counts what its callers see.

Two workers, and callers who ask all the while. Answered: 200. Refused: told so, or no connection to be had. Lost: the
connection broke before an answer, which only a process that is killed may do to what it was running.
"""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import httpx

from tests.support.connection import Connection, head
from tests.support.faulty_service import HANGS, RAISES
from tests.support.phases import standing
from tests.support.process import Service, service
from tests.support.tally import Tally, clients, hammer

MODEL = Path(__file__).parents[1] / "models" / "reviews-bilstm"
CALLERS = 16
MIB = 2**20
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_PATIENCE_SECONDS = 180.0


class Skipped(Exception):
    """A fault that cannot be made on this machine; the message says what is missing."""


@dataclass
class Trial:
    """One fault, the service that it is done to, and its callers."""

    running: Service
    tally: Tally
    may_lose: int = 0  # requests that run in a process that is killed
    seconds: float | None = None  # from the fault, or where it lasts from its end, until all is as before
    note: str = ""

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Waits for a condition."""
        patience = _PATIENCE_SECONDS
        while not condition():
            if patience < 0:
                raise AssertionError(
                    f"expected {what} within {_PATIENCE_SECONDS:g} s; {self.running.log.read_text()[-2000:]}"
                )
            before = time.monotonic()
            await asyncio.sleep(0.02)
            patience -= min(1.0, time.monotonic() - before)  # a machine that stands still is no fault of the service

    async def more_answers(self, count: int = 100) -> None:
        """Waits until so many more requests are answered."""
        at = self.tally.answered
        await self.until(lambda: self.tally.answered >= at + count, f"{count} more answers")

    async def recovered(self, since: float, without: int | None = None) -> None:
        """Waits until two workers serve, the one that has ended not among them, and callers are answered."""

        def whole() -> bool:
            workers = self.running.workers()
            return len(workers) == 2 and without not in workers and self.serving() >= self.started

        if without is not None:
            self.started += 1
        await self.until(whole, "two workers that serve")
        await self.more_answers(CALLERS)
        self.seconds = time.monotonic() - since

    started: int = 2  # workers, replaced ones included

    def serving(self) -> int:
        """How many workers have begun to serve so far."""
        return self.running.log.read_text().count('"event":"ready"')

    def worker(self) -> int:
        """One of the workers."""
        return self.running.workers()[0]


Fault = Callable[[Trial], Awaitable[None]]


async def worker_killed(trial: Trial) -> None:
    """SIGKILL of one of two workers."""
    trial.may_lose = CALLERS
    pid = trial.worker()
    os.kill(pid, signal.SIGKILL)
    await trial.recovered(time.monotonic(), without=pid)


async def supervisor_killed(trial: Trial) -> None:
    """SIGKILL of the supervisor: its workers answer what they have and end, so that the port is free."""
    workers, began = trial.running.workers(), time.monotonic()
    os.kill(trial.running.process.pid, signal.SIGKILL)
    await trial.until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the end of its workers")
    trial.seconds = time.monotonic() - began
    trial.note = "until the port is free"


async def worker_stopped_for_a_moment(trial: Trial) -> None:
    """SIGSTOP of a worker, and SIGCONT 2 s later."""
    pid = trial.worker()
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(2)
    os.kill(pid, signal.SIGCONT)
    await trial.recovered(time.monotonic())
    assert pid in trial.running.workers(), "expected the same worker, found another"


async def worker_stopped(trial: Trial) -> None:
    """SIGSTOP of a worker for good: it is replaced."""
    trial.may_lose = CALLERS
    pid, began = trial.worker(), time.monotonic()
    os.kill(pid, signal.SIGSTOP)
    await trial.recovered(began, without=pid)


async def all_stopped(trial: Trial) -> None:
    """SIGSTOP of all processes, and SIGCONT 8 s later, as a machine that is paused."""
    workers = trial.running.workers()
    for number, seconds in ((signal.SIGSTOP, 8), (signal.SIGCONT, 0)):
        for pid in (trial.running.process.pid, *workers):
            os.kill(pid, number)
        await asyncio.sleep(seconds)
    await trial.recovered(time.monotonic())
    await asyncio.sleep(8)  # longer than the supervisor waits for a worker
    assert trial.running.workers() == workers, "expected the same workers, found others"


async def inference_raises(trial: Trial) -> None:
    """Texts at which inference raises an error."""
    async with clients(trial.running.url) as client:
        statuses = await asyncio.gather(*(trial.tally.ask(client, RAISES) for _ in range(20)))
    assert set(statuses) == {500}, statuses
    await trial.recovered(time.monotonic())


async def inference_hangs(trial: Trial) -> None:
    """A text at which inference never ends: the worker ends itself after OVATION_HANG_SECONDS (1 here) and a second."""
    began = time.monotonic()
    workers = trial.running.workers()
    async with clients(trial.running.url) as client:
        assert await trial.tally.ask(client, HANGS) == 500
    await trial.until(lambda: trial.running.workers() != workers, "the end of the worker")
    [gone] = set(workers) - set(trial.running.workers()) or {0}
    await trial.recovered(began, without=gone)


async def memory_short(trial: Trial) -> None:
    """RLIMIT_AS lowered to what both workers have, while batches of 256 long texts come; then lifted."""
    body = {"texts": 256 * ["good " * 1500], "evidence": True}
    statuses = Counter[int]()
    workers = trial.running.workers()
    for pid in workers:
        size = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (size + 4 * MIB, resource.RLIM_INFINITY))
    async with clients(trial.running.url) as client:
        for _ in range(12):
            try:
                statuses[(await client.post("/predict/batch", json=body)).status_code] += 1
            except httpx.TransportError:
                trial.tally.lost_since.append(time.perf_counter())
    await trial.more_answers()
    assert trial.running.workers() == workers, "expected the same workers, found others"
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await trial.recovered(time.monotonic())
    trial.note = f"the batches got {dict(statuses)}"


async def metrics_disk_full(trial: Trial) -> None:
    """No room where temporary files are, and then a worker is killed."""
    trial.may_lose = CALLERS
    _fill(_full_disk())
    pid = trial.worker()
    os.kill(pid, signal.SIGKILL)
    await trial.recovered(time.monotonic(), without=pid)
    async with clients(trial.running.url) as client:
        assert (await client.get("/metrics")).status_code == 200


async def log_disk_full(trial: Trial) -> None:
    """No room for the log."""
    _fill(_full_disk())
    await trial.more_answers(300)
    async with clients(trial.running.url) as client:
        for path in ("/health", "/health/ready", "/metrics"):
            assert (await client.get(path)).status_code == 200, path


async def clock_jumps(trial: Trial) -> None:
    """The wall clock of all processes jumps by a day, forwards and backwards (libfaketime)."""
    file = trial.running.log.with_name("clock")
    for jump in ("+1d", "-1d", "+0"):
        file.write_text(jump)
        await trial.more_answers(200)
    await trial.recovered(time.monotonic())


async def bundle_damaged(trial: Trial) -> None:
    """The bundle is changed, truncated and removed, each time with SIGHUP, and a worker is killed."""
    trial.may_lose = CALLERS
    folder = trial.running.log.with_name("model")
    (folder / "vocabulary.json").write_text("[]")
    trial.running.process.send_signal(signal.SIGHUP)
    await trial.more_answers()
    os.truncate(folder / "model.onnx", 1000)
    trial.running.process.send_signal(signal.SIGHUP)
    await trial.more_answers()
    shutil.rmtree(folder)
    trial.running.process.send_signal(signal.SIGHUP)
    pid = trial.worker()
    os.kill(pid, signal.SIGKILL)
    await trial.recovered(time.monotonic(), without=pid)
    changes = trial.running.log.read_text().count("model not changed, the one before stays")
    assert changes >= 4, f"expected SIGHUP to be told as failed by both workers, found {changes} lines"


async def descriptors_exhausted(trial: Trial) -> None:
    """600 more connections than the limit of open files (128 here) allows."""
    with contextlib.ExitStack() as stack:

        def connect() -> None:
            for _ in range(600):
                stack.enter_context(Connection(trial.running.url))

        await asyncio.to_thread(connect)  # the callers go on meanwhile
        await trial.more_answers()
        async with clients(trial.running.url) as client:
            assert (await client.get("/health/ready")).status_code == 200
    await trial.recovered(time.monotonic())


async def half_open(trial: Trial) -> None:
    """200 callers who vanish without a word, half of them in a body: their connections end by the deadlines."""
    with contextlib.ExitStack() as stack:
        for number in range(200):
            connection = stack.enter_context(Connection(trial.running.url))
            connection.send(b"" if number % 2 else head())
        began = time.monotonic()
        async with clients(trial.running.url) as client:
            while await _connections(client) > 100:
                await asyncio.sleep(0.1)
    await trial.recovered(began)


async def resets(trial: Trial) -> None:
    """Callers reset their connections in every phase of a request, ten in each."""
    with standing(trial.running.url, 10) as found:
        for each in found:
            each.connection.reset()
        began = time.monotonic()
        trial.running.gate.touch()
        async with clients(trial.running.url) as client:
            while await _connections(client) > CALLERS + 2:
                await asyncio.sleep(0.02)
    await trial.recovered(began)


async def ended_in_every_phase(trial: Trial) -> None:
    """SIGTERM while connections stand in every phase of a request, four in each; each then sends the rest."""
    with standing(trial.running.url, 4) as found:
        began = time.monotonic()
        trial.running.process.send_signal(signal.SIGTERM)
        await trial.until(lambda: trial.running.log.read_text().count('"event":"draining"') == 2, "both to drain")
        trial.running.gate.touch()
        outcomes = await asyncio.gather(*(asyncio.to_thread(each.finish) for each in found))
        await trial.until(lambda: trial.running.process.poll() is not None, "the end of the service")
    assert trial.running.process.returncode == 0
    trial.seconds = time.monotonic() - began
    by_phase = Counter((each.phase, outcome) for each, outcome in zip(found, outcomes, strict=True))
    trial.tally.answered += outcomes.count("answered")
    trial.tally.refused[0] += outcomes.count("refused")
    trial.tally.lost_since += [time.perf_counter()] * outcomes.count("lost")
    trial.note = "; ".join(
        f"{phase}: {count} {outcome}" for (phase, outcome), count in by_phase.items() if outcome != "answered"
    )


async def ended_while_a_model_changes(trial: Trial) -> None:
    """SIGTERM just after SIGHUP."""
    began = time.monotonic()
    trial.running.process.send_signal(signal.SIGHUP)
    await asyncio.sleep(0.6)
    trial.running.process.send_signal(signal.SIGTERM)
    await trial.until(lambda: trial.running.process.poll() is not None, "the end of the service")
    assert trial.running.process.returncode == 0
    trial.seconds = time.monotonic() - began


async def _connections(client: httpx.AsyncClient) -> float:
    text = (await client.get("/metrics")).text
    return float(text.partition("\novation_connections ")[2].partition("\n")[0])


@dataclass
class Setting:
    """What a fault needs before the service starts."""

    fault: Fault
    settings: dict[str, object] = field(default_factory=dict)
    place: str = ""  # what lies on a small disk: "log", or "temporary" files; or what is to be there: "clock", "model"
    descriptors: int | None = None


FAULTS: dict[str, Setting] = {
    "worker killed": Setting(worker_killed),
    "supervisor killed": Setting(supervisor_killed),
    "worker stopped, then continued": Setting(worker_stopped_for_a_moment),
    "worker stopped": Setting(worker_stopped),
    "all processes stopped, then continued": Setting(all_stopped),
    "inference raises": Setting(inference_raises),
    "inference hangs": Setting(inference_hangs, {"hang_seconds": 1}),
    "memory short": Setting(memory_short),
    "metrics' disk full, worker killed": Setting(metrics_disk_full, place="temporary"),
    "log's disk full": Setting(log_disk_full, place="log"),
    "clocks jump": Setting(clock_jumps, place="clock"),
    "bundle damaged and removed, worker killed": Setting(bundle_damaged, place="model"),
    "descriptors exhausted": Setting(descriptors_exhausted, descriptors=128),
    "half-open connections": Setting(half_open),
    "resets in every phase": Setting(resets),
    "SIGTERM in every phase": Setting(ended_in_every_phase),
    "SIGTERM while the model changes": Setting(ended_while_a_model_changes),
}


@contextlib.contextmanager
def _small_disk(path: Path) -> Iterator[None]:
    """A disk of 3 MiB at `path`."""
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        raise Skipped("expected the right to mount a small tmpfs, found none: run as root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def _full_disk() -> Path:
    [line] = [line for line in Path("/proc/mounts").read_text().splitlines() if "/ovation-small-disk" in line]
    return Path(line.split()[1])


def _fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


@contextlib.contextmanager
def _prepared(setting: Setting, model: Path) -> Iterator[Service]:
    """The service, with what the fault needs."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        environment, log_folder = dict[str, str](), folder
        if setting.place in ("log", "temporary"):
            disk = folder / "ovation-small-disk"
            disk.mkdir()
            stack.enter_context(_small_disk(disk))
            log_folder = disk if setting.place == "log" else folder
            environment = {"TMPDIR": str(disk)} if setting.place == "temporary" else {}
        elif setting.place == "clock":
            if not FAKETIME.exists():
                raise Skipped("expected libfaketime, found none: apt-get install libfaketime")
            (folder / "clock").write_text("+0")
            environment = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
                           "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
        elif setting.place == "model":
            model = Path(shutil.copytree(model, folder / "model"))
        options: dict[str, Any] = {"workers": 2, "provider": "cpu", **setting.settings}
        yield stack.enter_context(
            service(model, descriptors=setting.descriptors, environment=environment, log_folder=log_folder, **options)
        )


@contextlib.asynccontextmanager
async def _load(running: Service) -> AsyncIterator[Tally]:
    """Callers, until the block ends."""
    tally, stop = Tally(), asyncio.Event()
    load = asyncio.create_task(hammer(running.url, tally, stop, CALLERS))
    try:
        yield tally
    finally:
        stop.set()
        await load


def run(name: str, model: Path) -> Trial:
    """Does one of FAULTS to a service of `model` under load.

    Raises Skipped; AssertionError or httpx.TransportError where the service does not recover.
    """
    setting = FAULTS[name]

    async def under_load(running: Service) -> Trial:
        async with _load(running) as tally:
            trial = Trial(running, tally)
            await trial.more_answers()
            await setting.fault(trial)
        return trial

    with _prepared(setting, model) as running:
        return asyncio.run(under_load(running))


def row(name: str, trial: Trial) -> str:
    """A line of the table."""
    refused = ", ".join(
        f"{count} × {status or 'no connection'}" for status, count in sorted(trial.tally.refused.items()) if count
    )
    seconds = "" if trial.seconds is None else f"{trial.seconds:.1f}"
    lost = f"{len(trial.tally.lost_since)}" + (f" (of {trial.may_lose} that may)" if trial.may_lose else "")
    return f"| {name} | {trial.tally.answered} | {refused or '0'} | {lost} | {seconds} | {trial.note} |"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(FAULTS)), metavar="[FAULT]...")
@click.option("--model", type=click.Path(path_type=Path), default=MODEL, help="Bundle to serve.")
def main(names: tuple[str, ...], model: Path) -> None:
    """Does these faults, or all, and prints a table; code 1 where an answer is lost or the service does not recover."""
    failed = False
    click.echo("| fault | answered | refused | lost | recovered after s | |\n| --- | ---: | --- | --- | ---: | --- |")
    for name in names or FAULTS:
        try:
            trial = run(name, model)
        except Skipped as error:
            click.echo(f"| {name} | SKIPPED: {error} | | | | |")
            continue
        except (AssertionError, httpx.TransportError) as error:
            click.echo(f"| {name} | FAILED: {error} | | | | |")
            failed = True
            continue
        click.echo(row(name, trial))
        failed |= len(trial.tally.lost_since) > trial.may_lose
    sys.exit(failed)


if __name__ == "__main__":
    main()
