"""The service without keys, with a key and with a key that has a limit, in turns of a second."""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.load.closed import closed
from benchmarks.load.servers import Server, service
from benchmarks.plan import Plan
from benchmarks.report import markdown, spread
from service.http import keys

CONNECTIONS = 64
TURNS = 3  # of each load, in a round; each load begins one of them
SECONDS = 1.0
BOUND = 0.97  # least requests/s with a key over those without
_UNREACHED = 1e9  # tokens a second


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of {load: requests/s of each turn}; `errors` of all loads together.

    Every round starts new servers: the speed of processes of the same code differs by some 5 % for their whole life.
    Both keys belong to the same server.
    """
    rounds, errors = [], 0
    with tempfile.TemporaryDirectory(prefix="keys-") as folder:
        file = Path(folder) / "keys.txt"
        key, limited = keys.add(file, "key"), keys.add(file, "limited", _UNREACHED)
        settings = {"OVATION_API_KEYS_FILE": str(file)}
        for _ in range(2 * plan.rounds):
            with (
                service(plan.model, {plan.server_core}) as without,
                service(plan.model, {plan.server_core}, environment=settings) as keyed,
            ):
                loads: dict[str, tuple[Server, str | None]] = {
                    "none": (without, None), "a key": (keyed, key), "a key with a limit": (keyed, limited),
                }  # fmt: skip
                turns: dict[str, list[float]] = {name: [] for name in loads}
                for turn in range(1 + TURNS):
                    for name in (*loads, *loads)[turn % 3 : turn % 3 + 3]:
                        server, sent = loads[name]
                        url = f"{server.url}/predict"
                        result = closed(url, plan.bodies, CONNECTIONS, SECONDS, {plan.load_core}, sent)
                        errors += sum(result.errors.values())
                        if turn > 0:  # the first warms up
                            turns[name].append(result.requests_per_second)
            rounds.append(turns)
    return {"rounds": rounds, "errors": errors}


def table(found: dict[str, Any]) -> str:
    """Throughput of all turns, and its ratios to those without a key and with one without a limit in the same turn."""
    rates = {name: [rate for turns in found["rounds"] for rate in turns[name]] for name in found["rounds"][0]}

    def ratios(name: str, to: str) -> str:
        return spread([one / other for one, other in zip(rates[name], rates[to], strict=True)], ".3f")

    lines = [[name, spread(of_name), ratios(name, "none"), ratios(name, "a key")] for name, of_name in rates.items()]
    text = f"{CONNECTIONS} connections; bound of the ratio to none: {BOUND:g}; errors: {found['errors']}."
    return f"{text}\n\n{markdown(['key', 'reviews/s', 'ratio to none', 'ratio to a key'], lines)}"
