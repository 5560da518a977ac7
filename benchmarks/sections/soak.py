"""Memory over many requests of all lengths."""

import math
from typing import Any

from benchmarks.load.closed import closed
from benchmarks.load.servers import service
from benchmarks.plan import Plan
from benchmarks.report import markdown, mebibytes

CONNECTIONS = 64
REQUESTS, QUICK_REQUESTS = 200_000, 3_000
SAMPLES = 20
SETTLED = 0.1  # share of the requests after which memory should no longer grow


def measure(plan: Plan) -> dict[str, Any]:
    """Samples [requests so far, resident bytes], about SAMPLES of them, and the errors."""
    total = QUICK_REQUESTS if plan.quick else REQUESTS
    with service(plan.model, {plan.server_core}) as server:
        samples, errors, seconds = [(0, server.resident_bytes())], 0, 1
        while samples[-1][0] < total:
            load = closed(f"{server.url}/predict", plan.bodies, CONNECTIONS, seconds, {plan.load_core})
            samples.append((samples[-1][0] + load.requests, server.resident_bytes()))
            errors += sum(load.errors.values())
            # wrk takes a duration, not a number of requests.
            seconds = math.ceil(total / SAMPLES / load.requests_per_second)
    return {"samples": samples, "errors": errors}


def growth(samples: list[list[int]]) -> tuple[int, int]:
    """Requests at the first sample after the share SETTLED, and the bytes added from there to the last sample."""
    settled = next(sample for sample in samples if sample[0] >= SETTLED * samples[-1][0])
    return settled[0], samples[-1][1] - settled[1]


def table(found: dict[str, Any]) -> str:
    """Memory at each sample, and its growth after the first settled one."""
    samples: list[list[int]] = found["samples"]
    settled, added = growth(samples)
    lines = [[f"{requests:,}", mebibytes(count)] for requests, count in samples]
    text = f"Growth after the first {settled:,} requests: {mebibytes(added)} MiB; errors: {found['errors']}."
    return f"{markdown(['requests', 'MiB resident'], lines)}\n\n{text}"
