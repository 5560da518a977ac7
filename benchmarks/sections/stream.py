"""A stream of lines: texts a second beside batches, what it costs others, a slow reader, and memory over many lines."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from benchmarks.load import lines
from benchmarks.load.servers import Server, service
from benchmarks.plan import TEXTS_A_BATCH, Plan
from benchmarks.report import markdown, mebibytes, spread
from benchmarks.sections.hostile import load
from service.model.tokenizer import words

BATCH_CONNECTIONS = 2  # of the callers of `/predict/batch` that a stream is compared with
SHORT_TOKENS = 12
LINES, QUICK_LINES = 1_000_000, 20_000
SHARE = 0.2  # of the capacity: what ordinary callers ask beside a stream or batches
TAKEN = 0.1  # a slow reader takes this share of what it could
NAMES = ("reviews", "short")


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of loads by kind of text, in turns; then, each in a new server, the slow reader and the many lines."""
    texts = {"reviews": plan.texts, "short": [" ".join(words(text)[:SHORT_TOKENS]) for text in plan.texts]}
    short = plan.short
    with service(plan.model, {plan.server_core}) as server:
        rates = [{name: _rates(short, server, texts[name]) for name in NAMES} for _ in range(short.rounds)]
        rate = SHARE * plan.load(server, 8)["requests_per_second"]
        beside = [_beside(plan, server, rate, number) for number in range(plan.rounds)]
    with service(plan.model, {plan.server_core}) as server:
        slow = _slow(plan, server, texts["short"])
    with service(plan.model, {plan.server_core}) as server:
        memory = _memory(plan, server, texts["short"])
    return {"rates": rates, "rate": rate, "beside": beside, "slow": slow, "memory": memory}


def table(found: dict[str, Any]) -> str:
    """Rates and their ratio, latencies beside, the slow reader and the growth of memory."""
    rates: list[dict[str, Any]] = found["rates"]
    lines_of_rates = [
        [
            name,
            *(spread([part[name][kind]["texts_per_second"] for part in rates]) for kind in ("batch", "stream")),
            spread([_ratio(part[name], "texts_per_second") for part in rates], ".1%"),
            *(spread([part[name][kind]["cpu_seconds"] * 1e6 for part in rates]) for kind in ("batch", "stream")),
        ]
        for name in NAMES
    ]
    names = [
        "texts",
        "batch, texts/s",
        "stream, texts/s",
        "stream over batch",
        "batch, CPU us a text",
        "stream, CPU us a text",
    ]
    lines_of_beside = [
        [
            kind,
            *(spread([part[kind][f"{name}_ms"] for part in found["beside"]], ".2f") for name in ("p50", "p95", "p99")),
        ]
        for kind in ("alone", "batch", "stream")
    ]
    slow, memory = found["slow"], found["memory"]
    return "\n\n".join(
        [
            markdown(names, lines_of_rates),
            f"Callers of `/predict`, {found['rate']:,.0f} requests/s, alone and beside one caller of `/predict/batch` "
            f"({TEXTS_A_BATCH} texts a request) or one stream:",
            markdown(["beside", "p50 ms", "p95 ms", "p99 ms"], lines_of_beside),
            f"A reader who takes {TAKEN:.0%} of what it could: {slow['fast']:,.0f} lines/s otherwise, "
            f"{slow['slow']:,.0f} then; resident memory grew by {mebibytes(slow['grown_bytes'])} MiB.",
            f"{memory['lines']:,} short lines in one stream, {memory['failed']} failed, {memory['seconds']:.0f} s: "
            f"resident memory grew by {mebibytes(memory['grown_bytes'])} MiB at most.",
        ]
    )


def _ratio(kinds: dict[str, Any], name: str) -> float:
    return float(kinds["stream"][name] / kinds["batch"][name])


def _rates(plan: Plan, server: Server, texts: list[str]) -> dict[str, Any]:
    """Texts a second, and the server's CPU seconds a text, by batches and as a stream."""
    bodies = _batches(texts)
    batch = plan.load(server, BATCH_CONNECTIONS, "/predict/batch", bodies)
    per_second = batch["requests_per_second"] * len(texts) / len(bodies)
    before = server.cpu_seconds()
    streamed = lines.stream(server.url, texts, seconds=plan.seconds)
    return {
        "batch": {"texts_per_second": per_second, "cpu_seconds": batch["server_cores"] / per_second},
        "stream": {
            "texts_per_second": streamed.lines / streamed.seconds,
            "cpu_seconds": (server.cpu_seconds() - before) / streamed.lines,
            "failed": streamed.failed,
        },
    }


def _batches(texts: list[str]) -> list[bytes]:
    firsts = range(0, len(texts), TEXTS_A_BATCH)
    return [json.dumps({"texts": texts[first : first + TEXTS_A_BATCH]}).encode() for first in firsts]


def _beside(plan: Plan, server: Server, rate: float, seed: int) -> dict[str, Any]:
    """Latencies of Poisson arrivals alone, beside one caller of batches, and beside one stream."""
    found = {"alone": load(plan, server, rate, seed)}
    longer = replace(plan, seconds=plan.seconds + 2)
    with _meanwhile(lambda: longer.load(server, 1, "/predict/batch", plan.batch_bodies)):
        found["batch"] = load(plan, server, rate, seed)
    with _meanwhile(lambda: lines.stream(server.url, plan.texts, seconds=longer.seconds)):
        found["stream"] = load(plan, server, rate, seed)
    return found


@contextmanager
def _meanwhile(work: Any) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _slow(plan: Plan, server: Server, texts: list[str]) -> dict[str, float]:
    """Lines a second of a reader who takes all, and of one who takes a tenth; the memory that the latter costs."""
    fast = lines.stream(server.url, texts, seconds=plan.seconds)
    before = server.resident_bytes()
    bytes_per_second = TAKEN * fast.taken_bytes / fast.seconds
    slow = lines.stream(server.url, texts, seconds=3 * plan.seconds, take_bytes_per_second=bytes_per_second)
    return {
        "fast": fast.lines / fast.seconds,
        "slow": slow.lines / slow.seconds,
        "grown_bytes": server.resident_bytes() - before,
    }


def _memory(plan: Plan, server: Server, texts: list[str]) -> dict[str, Any]:
    """One long stream, after a short one that has everything loaded; memory is looked at once a second."""
    lines.stream(server.url, texts, count=len(texts))
    before = most = server.resident_bytes()
    ended = threading.Event()
    result: list[lines.Streamed] = []

    def run() -> None:
        try:
            result.append(lines.stream(server.url, texts, count=QUICK_LINES if plan.quick else LINES))
        finally:
            ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    while not ended.wait(1):
        most = max(most, server.resident_bytes())
    thread.join()
    return {**asdict(result[0]), "grown_bytes": max(most, server.resident_bytes()) - before}
