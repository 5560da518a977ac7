"""Closed loop with wrk: each of a number of connections sends its next request when the last one is answered."""

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
# JSON, or JSON and the binary tensor behind it (Open Inference Protocol).
Body = bytes | tuple[bytes, bytes]
_ANSWER_SECONDS = 30  # wrk counts slower answers as timeouts


@dataclass(frozen=True)
class Closed:
    """What wrk measured; latencies are those of all answers, errors included."""

    requests_per_second: float  # answers of any status
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    requests: int  # answered
    errors: dict[str, int]  # socket errors by kind: connect, read, write, timeout; non_2xx: answers of 400 and above
    connections: int
    seconds: float  # measured, not requested


def closed(
    url: str,
    bodies: Sequence[Body],
    connections: int,
    seconds: float,
    cores: Collection[int],
    key: str | None = None,
) -> Closed:
    """POSTs `bodies` to `url` in turn for `seconds` (rounded up to whole ones), from one thread on `cores`; with `key`.

    There is no warm-up: send a shorter load first. wrk reopens connections that the server closes, without counting
    them. Raises RuntimeError if wrk fails, and ValueError without bodies.
    """
    if not bodies:
        raise ValueError("expected bodies to send, found none")
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores))]
    with tempfile.TemporaryDirectory(prefix="closed-") as folder:
        body_file = Path(folder) / "bodies"
        body_file.write_text("".join(map(_line, bodies)))
        load = ["--threads=1", f"--connections={connections}", f"--duration={math.ceil(seconds)}s"]
        load += [f"--timeout={_ANSWER_SECONDS}s", f"--script={_SCRIPT}"]
        load += [] if key is None else [f"--header=Authorization: Bearer {key}"]
        load += [url, "--", str(body_file)]
        limit_seconds = math.ceil(seconds) + 2 * _ANSWER_SECONDS
        done = subprocess.run([*pinned, "wrk", *load], capture_output=True, text=True, timeout=limit_seconds)
    _, _, figures = done.stdout.partition(_MARKER)
    if done.returncode or not figures:
        raise RuntimeError(f"expected figures from wrk, found code {done.returncode}: {done.stdout}{done.stderr}")
    result = json.loads(figures)
    requests, duration_us = result["requests"], result["duration_us"]
    latencies_us = _uncorrected(Counter(dict(result["latencies_us"])), requests, duration_us, connections)
    if latencies_us.total() + result["errors"]["timeout"] != requests:
        raise RuntimeError(f"expected {requests} latencies from wrk (4.1), found {latencies_us.total()}")
    p50, p90, p95, p99, most = (_percentile(latencies_us, percent) / 1e3 for percent in (50, 90, 95, 99, 100))
    rate, measured = requests / (duration_us / 1e6), duration_us / 1e6
    return Closed(rate, p50, p90, p95, p99, most, requests, result["errors"], connections, measured)


def _line(body: Body) -> str:
    """A body as wrk.lua reads it."""
    json_bytes, content = (0, body) if isinstance(body, bytes) else (len(body[0]), b"".join(body))
    return f"{json_bytes} {content.hex()}\n"


def _uncorrected(corrected: Counter[int], requests: int, duration_us: int, connections: int) -> Counter[int]:
    """The counts of latencies (µs) without wrk's correction for coordinated omission.

    wrk assumes that each connection should send at even intervals: for a latency t of more than two intervals it also
    counts t minus 1 interval, t minus 2 intervals and so on, down to 1 (stats_correct in its stats.c). In a closed loop
    no such schedule exists. Above 1 interval a corrected count is the answers' own count plus the corrected count one
    interval further up; subtracting the latter restores the former.
    """
    if requests < connections:
        return corrected
    interval_us = duration_us // (requests // connections)
    return Counter({us: n - corrected[us + interval_us] if us > interval_us else n for us, n in corrected.items() if n})


def _percentile(counts: Counter[int], percent: float) -> int:
    """The smallest key that `percent` of the counts do not exceed; 0 without counts."""
    keys, rank = sorted(counts), percent / 100 * counts.total()
    return next((key for key, below in zip(keys, accumulate(counts[k] for k in keys), strict=True) if below >= rank), 0)
