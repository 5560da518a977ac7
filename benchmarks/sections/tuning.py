"""The service with other numbers of threads and cores, and with other settings of the interpreter."""

from dataclasses import replace
from typing import Any

from benchmarks.load.servers import service
from benchmarks.plan import Plan
from benchmarks.report import markdown, spread

CONNECTIONS = (8, 64)
# Name: cores, inference threads, options of benchmarks.load.variant. With two cores the load shares the second.
VARIANTS: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "defaults: 1 thread, 1 core, switch interval 5 ms, gc.freeze, 5 rows": (1, 1, ()),
    "at most 1 row": (1, 1, ("--rows", "1")),
    "at most 3 rows": (1, 1, ("--rows", "3")),
    "at most 8 rows": (1, 1, ("--rows", "8")),
    "2 threads, 1 core": (1, 2, ()),
    "1 thread, 2 cores": (2, 1, ()),
    "2 threads, 2 cores": (2, 2, ()),
    "switch interval 0.5 ms": (1, 1, ("--switch-seconds", "0.0005")),
    "switch interval 20 ms": (1, 1, ("--switch-seconds", "0.02")),
    "no gc.freeze": (1, 1, ("--no-freeze",)),
}


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of {variant: {connections: load}}."""
    plan = replace(plan.short, rounds=plan.rounds)
    return {
        "rounds": [{name: _loads(plan, *variant) for name, variant in VARIANTS.items()} for _ in range(plan.rounds)]
    }


def table(found: dict[str, Any]) -> str:
    """Throughput and p99 by connections."""
    lines = [
        [
            name,
            *(
                cell
                for count in map(str, CONNECTIONS)
                for cell in (
                    spread([part[name][count]["requests_per_second"] for part in found["rounds"]]),
                    spread([part[name][count]["p99_ms"] for part in found["rounds"]], ".1f"),
                )
            ),
        ]
        for name in VARIANTS
    ]
    header = [cell for count in CONNECTIONS for cell in (f"requests/s at {count}", f"p99 ms at {count}")]
    return markdown(["service", *header], lines)


def _loads(plan: Plan, cores: int, threads: int, options: tuple[str, ...]) -> dict[str, Any]:
    allowed = {plan.server_core, plan.load_core} if cores > 1 else {plan.server_core}
    with service(plan.model, allowed, threads=threads, module=("benchmarks.load.variant", *options)) as server:
        return {str(count): plan.load(server, count) for count in CONNECTIONS}
