"""Closed loop with wrk: so many connections, each of which sends its next request when the last was answered."""

import json
import math
import subprocess
import tempfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

_SCRIPT = Path(__file__).parent / "wrk.lua"
_MARKER = "\nFIGURES "
_ANSWER_SECONDS = 30  # wrk counts a slower answer as a timeout


@dataclass(frozen=True)
class Closed:
    """What wrk saw; latencies are those of all answers, refusals too."""

    requests_per_second: float  # answers of any status
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    requests: int  # answered
    errors: dict[str, int]  # sockets: connect, read, write, timeout; answers of 400 and more: non_2xx
    connections: int
    seconds: float  # as measured


def closed(
    url: str,
    bodies: Sequence[bytes],
    connections: int,
    seconds: float,
    cores: Collection[int],
) -> Closed:
    """POSTs the JSON `bodies` to `url` in turn for `seconds` (rounded up to whole ones), by one thread on `cores`.

    Nothing is warmed up and nothing left out: send a shorter load first. wrk opens a connection that the server closed
    anew without counting it. Raises RuntimeError where wrk fails, ValueError where a body holds a line break.
    """
    if any(b"\n" in body for body in bodies) or not bodies:
        raise ValueError("expected JSON bodies without line breaks, found some with, or none")
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores))]
    with tempfile.TemporaryDirectory(prefix="closed-") as folder:
        body_file = Path(folder) / "bodies"
        body_file.write_bytes(b"".join(body + b"\n" for body in bodies))
        load = ["--threads=1", f"--connections={connections}", f"--duration={math.ceil(seconds)}s"]
        load += [f"--timeout={_ANSWER_SECONDS}s", f"--script={_SCRIPT}", url, "--", str(body_file)]
        limit_seconds = math.ceil(seconds) + 2 * _ANSWER_SECONDS
        done = subprocess.run([*pinned, "wrk", *load], capture_output=True, text=True, timeout=limit_seconds)
    _, _, figures = done.stdout.partition(_MARKER)
    if done.returncode or not figures:
        raise RuntimeError(f"expected figures from wrk, found code {done.returncode}: {done.stdout}{done.stderr}")
    found = json.loads(figures)
    requests, duration_us = found["requests"], found["duration_us"]
    latencies_us = _as_measured(Counter(dict(found["latencies_us"])), requests, duration_us, connections)
    if latencies_us.total() + found["errors"]["timeout"] != requests:
        raise RuntimeError(f"expected {requests} latencies from wrk (4.1), found {latencies_us.total()}")
    p50, p90, p95, p99, most = (_percentile(latencies_us, percent) / 1e3 for percent in (50, 90, 95, 99, 100))
    rate, measured = requests / (duration_us / 1e6), duration_us / 1e6
    return Closed(rate, p50, p90, p95, p99, most, requests, found["errors"], connections, measured)


def _as_measured(corrected: Counter[int], requests: int, duration_us: int, connections: int) -> Counter[int]:
    """The latencies without those that wrk made up.

    wrk assumes that each connection wants to send at even intervals; for an answer of t > 2 intervals it adds
    t - 1 interval, t - 2 intervals and so on, down to 1 (stats_correct in its stats.c). Our texts are of unequal
    lengths, and nobody wanted to send at intervals. Above 1 interval each count is that of the answers plus the count
    one interval further up, so one subtraction gives the answers' own back.
    """
    if requests < connections:
        return corrected
    interval_us = duration_us // (requests // connections)
    return Counter({us: n - corrected[us + interval_us] if us > interval_us else n for us, n in corrected.items() if n})


def _percentile(counts: Counter[int], percent: float) -> int:
    """The smallest key that so much of the counts do not exceed; 0 where there are none."""
    keys, rank = sorted(counts), percent / 100 * counts.total()
    return next((key for key, below in zip(keys, accumulate(counts[k] for k in keys), strict=True) if below >= rank), 0)
