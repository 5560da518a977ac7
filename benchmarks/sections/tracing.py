"""The service with tracing off, with a tenth of its requests traced and with all of them, side by side."""

import sys
from typing import Any
from urllib.request import urlopen

from benchmarks.load.servers import free_port, running, service
from benchmarks.plan import Plan
from benchmarks.report import markdown, spread

CONNECTIONS = 64
# Name: settings of the service, without the prefix OVATION_.
VARIANTS = {
    "off": {"TRACING": "off"},
    "10 % of requests": {"TRACING": "otlp", "TRACE_RATIO": "0.1"},
    "all requests": {"TRACING": "otlp", "TRACE_RATIO": "1"},
}


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of {variant: load}; `spans` counts those that the collector, on the load's core, received by its end."""
    return {
        "rounds": [{name: _load(plan, variables) for name, variables in VARIANTS.items()} for _ in range(plan.rounds)]
    }


def table(found: dict[str, Any]) -> str:
    """Throughput, p99, and throughput relative to "off" in the same round."""
    lines = []
    for name in VARIANTS:
        loads = [part[name] for part in found["rounds"]]
        ratios = [part[name]["requests_per_second"] / part["off"]["requests_per_second"] for part in found["rounds"]]
        lines.append(
            [
                name,
                spread([load["requests_per_second"] for load in loads]),
                spread([load["p99_ms"] for load in loads], ".1f"),
                spread(ratios, ".3f"),
                spread([load["spans"] for load in loads]),
            ]
        )
    return markdown(["traced", "requests/s", "p99 ms", "ratio to off", "spans collected"], lines)


def _load(plan: Plan, variables: dict[str, str]) -> dict[str, Any]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.load.collector", str(port)]
    with running(command, port, {plan.load_core}, {}, "/") as collector:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        settings = {f"OVATION_{name}": value for name, value in variables.items()}
        with service(plan.model, {plan.server_core}, environment={**settings, **endpoint}) as server:
            load = plan.load(server, CONNECTIONS)
            with urlopen(collector.url, timeout=30) as answer:
                return {**load, "spans": int(answer.read())}
