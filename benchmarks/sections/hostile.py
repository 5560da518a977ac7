"""Ordinary callers beside 1,000 slow heads, 1,000 slow bodies and 500 callers who take no answer, and without them."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.load import arrivals
from benchmarks.load.servers import ROOT, Server, service
from benchmarks.plan import Plan
from benchmarks.report import markdown, spread

SHARE = 0.5  # of the capacity: what ordinary callers ask
CONNECTIONS = 64  # of the closed loop that measures the capacity
BOUND = 1.25  # p99 beside the attackers, over that without them in the same round
GATHERING_SECONDS = 25.0  # until all attackers are there, and the first of each kind were refused or closed


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of {"without": load, "beside": load}, in turns, in one server; what became of the attackers."""
    with service(plan.model, {plan.server_core}) as server:
        short = replace(plan, seconds=min(plan.seconds, 5))
        rate = SHARE * short.load(server, CONNECTIONS)["requests_per_second"]
        rounds = []
        for number in range(plan.rounds):
            found: dict[str, Any] = {"without": load(plan, server, rate, number)}
            with _attackers(server) as became:
                found["beside"] = load(plan, server, rate, number)
            rounds.append({**found, "attackers": became})
    return {"rate": rate, "rounds": rounds}


def table(found: dict[str, Any]) -> str:
    """Statuses and latencies by kind of load, and the ratio of the p99 in the same round."""
    lines = []
    for kind in ("without", "beside"):
        loads = [part[kind] for part in found["rounds"]]
        answers = sum((Counter(load["statuses"]) for load in loads), Counter[str]())
        lines.append(
            [
                kind,
                ", ".join(f"{count} × {status}" for status, count in sorted(answers.items())),
                *(spread([load[name] for load in loads], ".2f") for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")),
                spread([load["lateness_p99_ms"] for load in loads], ".2f"),
                spread([part[kind]["p99_ms"] / part["without"]["p99_ms"] for part in found["rounds"]], ".2f"),
            ]
        )
    names = ["p50 ms", "p95 ms", "p99 ms", "max ms", "generator late p99 ms", "p99 over that without"]
    text = f"{found['rate']:,.0f} requests/s, {SHARE:.0%} of the capacity; bound of the ratio: {BOUND:g}."
    return f"{text}\n\n{markdown(['attackers', 'answers', *names], lines)}"


@contextmanager
def _attackers(server: Server) -> Iterator[dict[str, int]]:
    """Attackers on the core of the load; what became of them is there when the block has ended."""
    command = [sys.executable, "-m", "benchmarks.load.attackers", server.url]
    became: dict[str, int] = {}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            time.sleep(GATHERING_SECONDS)
            yield became
        finally:
            process.terminate()
            told, _ = process.communicate(timeout=30)
        became.update(json.loads(told))


def load(plan: Plan, server: Server, rate: float, seed: int) -> dict[str, Any]:
    """Poisson arrivals on connections that stay; latency from the intended start."""
    url = f"{server.url}/predict"
    requests = [arrivals.request(url, body, {}) for body in plan.bodies]
    before = server.cpu_seconds()
    sent = arrivals.send(url, requests, arrivals.poisson(rate, plan.seconds, seed))
    latency_ms = sent.latency[~np.isnan(sent.latency)] * 1e3
    p50, p95, p99, most = np.percentile(latency_ms, (50, 95, 99, 100)).tolist()
    return {
        "statuses": {
            str(status): int(n) for status, n in zip(*np.unique(sent.status, return_counts=True), strict=True)
        },
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "max_ms": most,
        "lateness_p99_ms": float(np.percentile(sent.lateness, 99)) * 1e3,
        "server_cores": (server.cpu_seconds() - before) / float(sent.due[-1] or 1),
        "server_bytes": server.resident_bytes(),
        "connections": sent.connections,
    }
