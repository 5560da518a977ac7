"""`python -m tests.soak`: two workers serve at a part of their capacity for long; models change, and callers leave.

Memory, open files and threads of every process are sampled all the while. After a warm-up they must stay as they are.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import click
import httpx

from service.model import bundle
from tests.reloads import ADMIN, until_all_serve
from tests.support.process import Service, service

ROOT = Path(__file__).parents[1]
CALLERS = 8
LEAVING = 2  # further callers, who leave before they are answered
REFUSALS = {429, 503, 504}
# What may come between the first and the last quarter of the samples, the warm-up left out.
WARM_UP = 0.2  # of the time
MEMORY_BOUND = 0.05  # of a process's own memory
FILES_BOUND = 2  # connections of callers who just leave
_PATIENCE_SECONDS = 300.0

_SENTENCES = ("The film was wonderful.", "I did not care for the ending!", "Dull, awful, clumsy.", "Her best in years.")
REVIEW = " ".join(_SENTENCES * 8)
SHORT = " ".join(_SENTENCES[:2])
_LINES = "".join(f'{{"text": "{SHORT}", "id": {number}}}\n' for number in range(16))
_NDJSON = {"Content-Type": "application/x-ndjson"}


@dataclass
class Sample:
    """What the processes held at one time: [supervisor, worker, worker, ...] each."""

    seconds: float
    pids: list[int]
    memory: list[int]  # bytes resident that are the process's own; of files that are mapped, others have a share
    files: list[int]
    threads: list[int]


@dataclass
class Record:
    """What was asked, answered and measured."""

    capacity: float = 0.0  # requests a second
    statuses: Counter[int] = field(default_factory=Counter)
    left: int = 0  # requests that were cancelled
    lost: list[str] = field(default_factory=list)  # connections that broke before an answer
    changes: Counter[str] = field(default_factory=Counter)  # by what came of them
    samples: list[Sample] = field(default_factory=list)
    seconds: float = 0.0

    def problems(self) -> list[str]:
        """What is not as it should be."""
        first, last = self.quarters()
        problems = [f"expected no lost answer, found {len(self.lost)}: {self.lost[0]}"] if self.lost else []
        answers = sum(self.statuses.values())
        refused = answers - self.statuses[200]
        if not answers or not set(self.statuses) <= {200, *REFUSALS} or refused > answers / 100:
            problems.append(f"expected 200, and hardly a refusal, found {dict(self.statuses)}")
        if set(self.changes) - {"reload: 200", "rollback: 200"}:
            problems.append(f"expected all changes carried out, found {dict(self.changes)}")
        if first[0].pids != last[-1].pids:
            problems.append(f"expected the processes {first[0].pids} to the end, found {last[-1].pids}")
            return problems
        for index, pid in enumerate(first[0].pids):
            before, after = (median(sample.memory[index] for sample in quarter) for quarter in (first, last))
            if after > before * (1 + MEMORY_BOUND):
                problems.append(f"{pid}: expected {before / 2**20:.1f} MiB, found {after / 2**20:.1f} MiB")
            before, after = (median(sample.threads[index] for sample in quarter) for quarter in (first, last))
            if after > before:
                problems.append(f"{pid}: expected {before:g} threads, found {after:g}")
        before, after = (median(sum(sample.files) for sample in quarter) for quarter in (first, last))
        if after > before + FILES_BOUND:
            problems.append(f"expected {before:g} open files in all processes, found {after:g}")
        return problems

    def quarters(self) -> tuple[list[Sample], list[Sample]]:
        """The first and the last quarter of the samples after the warm-up."""
        kept = self.samples[int(len(self.samples) * WARM_UP) :]
        count = max(1, len(kept) // 4)
        return kept[:count], kept[-count:]

    def table(self) -> str:
        """The figures of both quarters: medians, and the largest of all."""
        rows = ["process        MiB first   last   most   files first   last   most   threads first   last   most"]
        first, last = self.quarters()
        for index in range(len(first[0].pids)):
            name = f"worker {index}" if index else "supervisor"
            row = f"{name:12}"
            for values, scale, width in (
                ("memory", 2**20, (11, 6, 6)),
                ("files", 1, (13, 6, 6)),
                ("threads", 1, (15, 6, 6)),
            ):
                parts = [
                    median(getattr(sample, values)[index] for sample in first),
                    median(getattr(sample, values)[index] for sample in last),
                    max(getattr(sample, values)[index] for sample in self.samples if len(sample.pids) > index),
                ]
                row += "".join(
                    f" {part / scale:{size}.{scale > 1:d}f}" for part, size in zip(parts, width, strict=True)
                )
            rows.append(row)
        return "\n".join(rows)


def sample(running: Service, began: float) -> Sample:
    """Measures all processes of the service now."""
    pids = [running.process.pid, *sorted(running.workers())]
    memory, files, threads = [], [], []
    for pid in pids:
        rollup, status = (Path(f"/proc/{pid}/{name}").read_text() for name in ("smaps_rollup", "status"))
        memory.append(_number(r"^Anonymous:\s+(\d+) kB$", rollup) * 1024)
        threads.append(_number(r"^Threads:\s+(\d+)$", status))
        files.append(len(os.listdir(f"/proc/{pid}/fd")))
    return Sample(time.monotonic() - began, pids, memory, files, threads)


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text, re.MULTILINE)
    assert match, pattern
    return int(match[1])


async def ask(client: httpx.AsyncClient, number: int) -> httpx.Response:
    """One of the requests that callers send, in turn."""
    match number % 4:
        case 0:
            return await client.post("/predict", json={"text": REVIEW})
        case 1:
            return await client.post("/predict", json={"text": SHORT, "evidence": True, "sentences": True})
        case 2:
            return await client.post("/predict/batch", json={"texts": [REVIEW, SHORT] * 4})
    return await client.post("/predict/stream", content=_LINES, headers=_NDJSON)


class Load:
    """Callers who ask at most `rate` requests a second together; None: as many as they can."""

    def __init__(self, url: str, record: Record, rate: float | None, seconds: float) -> None:
        self._url, self._record, self._rate = url, record, rate
        self._end = time.monotonic() + seconds
        self._next = time.monotonic()  # when the next request is due

    async def run(self, leaving: int) -> None:
        """Until the time is over."""
        callers: list[Awaitable[None]] = [self._caller(number) for number in range(CALLERS)]
        await asyncio.gather(*callers, *(self._leaver(number) for number in range(leaving)))

    async def _turn(self) -> bool:
        """Waits until a request is due; whether there is still time for one."""
        if self._rate is not None:
            now = time.monotonic()
            # What was not asked in time is not asked later at once: a machine that stood still is not overrun.
            self._next = max(self._next + 1 / self._rate, now)
            await asyncio.sleep(self._next - now)
        return time.monotonic() < self._end

    async def _caller(self, number: int) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=_PATIENCE_SECONDS) as client:
            while await self._turn():
                number += 1
                try:
                    self._record.statuses[(await ask(client, number)).status_code] += 1
                except httpx.TransportError as error:
                    self._record.lost.append(repr(error))

    async def _leaver(self, number: int) -> None:
        delays = random.Random(number)
        async with httpx.AsyncClient(base_url=self._url, timeout=_PATIENCE_SECONDS) as client:
            while await self._turn():
                number += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delays.uniform(0, 0.02)):
                        await ask(client, number)
                        continue
                self._record.left += 1


async def change(running: Service, record: Record, seconds: float, every_seconds: float) -> None:
    """Another model, and the former again, by turns."""
    end = time.monotonic() + seconds
    headers = {"X-API-Key": ADMIN}
    async with httpx.AsyncClient(base_url=f"{running.url}/admin/models", timeout=_PATIENCE_SECONDS) as client:
        for path in ("/reload?folder=other", "/rollback", "/reload?folder=served", "/reload?folder=other") * 10_000:
            if time.monotonic() + every_seconds > end:
                return
            await asyncio.sleep(every_seconds)
            answer = await client.post(path, headers=headers)
            record.changes[f"{path[1:].partition('?')[0]}: {answer.status_code}"] += 1


async def measure(running: Service, record: Record, seconds: float, every_seconds: float) -> None:
    """Samples every so often."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # a worker has just ended: told by its number
            record.samples.append(sample(running, began))
        await asyncio.sleep(every_seconds)


def soak(
    served: Path, seconds: float, load: float = 0.7, workers: int = 2, tell: Callable[[str], object] = lambda line: None
) -> Record:
    """Serves the bundle `served`, and one that differs in its version, for so long at `load` times the capacity."""
    record = Record()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(shutil.copytree(served, Path(folder) / "served"))
        found = bundle.read(here)
        changed = found.manifest.model_copy(update={"version": f"{found.manifest.version}-other"})
        bundle.write(here.with_name("other"), changed, found.model, found.tokenizer.vocabulary)
        with service(here, module="service", workers=workers, admin_keys=ADMIN, provider="cpu") as running:
            until_all_serve(running)
            trial = Record()
            trial_seconds = min(20.0, max(1.0, seconds / 10))
            asyncio.run(Load(running.url, trial, None, trial_seconds).run(leaving=0))
            record.capacity = sum(trial.statuses.values()) / trial_seconds
            tell(f"capacity: {record.capacity:.0f} requests a second; {load:.0%} of it for {seconds:.0f} s")
            every = max(1.0, seconds / 90)

            async def run() -> None:
                began = time.monotonic()
                await asyncio.gather(
                    Load(running.url, record, record.capacity * load, seconds).run(LEAVING),
                    change(running, record, seconds, every),
                    measure(running, record, seconds, min(2.0, seconds / 40)),
                )
                record.seconds = time.monotonic() - began

            asyncio.run(run())
    return record


@click.command(context_settings={"show_default": True})
@click.option("--minutes", type=click.FloatRange(min=0.05), default=30.0, help="How long.")
@click.option("--load", type=click.FloatRange(0, 1, min_open=True), default=0.7, help="Of the capacity measured first.")
@click.option("--workers", type=click.IntRange(min=2), default=2, help="Processes that serve.")
@click.option(
    "--model", type=click.Path(path_type=Path), default=ROOT / "models/reviews-bilstm", help="Bundle to serve."
)
@click.option(
    "--samples", type=click.Path(path_type=Path), help="File for all samples, in JSON lines.", show_default=False
)
def main(minutes: float, load: float, workers: int, model: Path, samples: Path | None) -> None:
    """Serves for so long; ends with code 1 where memory, files or threads grow, or an answer is lost."""
    record = soak(model, minutes * 60, load, workers, click.echo)
    asked = sum(record.statuses.values())
    click.echo(f"{asked} answers in {record.seconds:.0f} s by status {dict(record.statuses)}, {len(record.lost)} lost, "
               f"{record.left} callers left; changes of the model {dict(record.changes)}")  # fmt: skip
    click.echo(record.table())
    if samples is not None:
        samples.write_text("".join(json.dumps(asdict(each)) + "\n" for each in record.samples))
    problems = record.problems()
    for problem in problems:
        click.echo(problem, err=True)
    click.echo(
        f"{'NOT FLAT' if problems else 'flat'}: within {MEMORY_BOUND:.0%} of memory, "
        f"{FILES_BOUND} files, the same threads"
    )
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
