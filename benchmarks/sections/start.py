"""Time from the start of the process to the first 200 of /health/ready; only the first start may read from the disk."""

from typing import Any

from benchmarks.load.servers import Server, service
from benchmarks.plan import Plan
from benchmarks.report import markdown, spread

REPEATS = 5


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds [start] to ready, in order."""

    def start() -> Server:
        with service(plan.model, {plan.server_core}) as server:
            return server

    return {"seconds": [start().seconds_to_ready for _ in range(2 if plan.quick else REPEATS)]}


def table(found: dict[str, Any]) -> str:
    """The median, the least and the greatest."""
    return markdown(["", "seconds"], [["start to ready", spread(found["seconds"], ".2f")]])
