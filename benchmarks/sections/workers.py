"""One worker on one core and two workers on two cores; the load generator always shares the workers' cores."""

from typing import Any

from benchmarks.load.servers import service
from benchmarks.plan import Plan
from benchmarks.report import markdown, spread

CONNECTIONS = 64
WORKERS = (1, 2)


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of {workers: load}."""
    plan = plan.short
    return {"rounds": [{str(workers): _load(plan, workers) for workers in WORKERS} for _ in range(plan.rounds)]}


def table(found: dict[str, Any]) -> str:
    """Throughput and p99 by number of workers, and throughput relative to one worker in the same round."""
    lines = []
    for workers in map(str, WORKERS):
        rates = [part[workers]["requests_per_second"] for part in found["rounds"]]
        ratios = [part[workers]["requests_per_second"] / part["1"]["requests_per_second"] for part in found["rounds"]]
        p99s = [part[workers]["p99_ms"] for part in found["rounds"]]
        lines.append([workers, spread(rates), spread(p99s, ".1f"), spread(ratios, ".2f")])
    return markdown(["workers = cores", "requests/s", "p99 ms", "ratio to one"], lines)


def _load(plan: Plan, workers: int) -> dict[str, Any]:
    cores = {plan.server_core, plan.load_core} if workers > 1 else {plan.server_core}
    with service(plan.model, cores, workers) as server:
        return plan.load(server, CONNECTIONS, cores=cores)
