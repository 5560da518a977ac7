"""The service under a fixed number of callers who each wait for their answer, beside the floor of the same rounds."""

from collections.abc import Callable
from typing import Any

from benchmarks.load.servers import service
from benchmarks.plan import TEXTS_A_BATCH, Plan
from benchmarks.report import markdown, mebibytes, spread
from benchmarks.sections import floor
from service.model import bundle
from service.model.classifier import Classifier

SINGLE = (1, 8, 64)
BATCH = (1, 2)


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of loads by number of connections, each measured right after the floor's parts for the same number.

    Every round starts new servers: the speed of processes of the same code differs by some 5 % for their whole life.
    """
    classifier = Classifier(bundle.read(plan.model), "cpu")
    plan = plan.short
    rounds = []
    for number in range(plan.rounds):
        loads: dict[str, Any] = {"floor": {}, "single": {}, "batch": {}}
        with floor.empty(plan) as fastapi, service(plan.model, {plan.server_core}) as server:
            for count in SINGLE:
                loads["floor"][str(count)] = floor.part(plan, classifier, number, count, fastapi)
                loads["single"][str(count)] = plan.load(server, count)
            loads["floor"]["batch"] = floor.part(plan, classifier, number, TEXTS_A_BATCH, fastapi)
            for count in BATCH:
                loads["batch"][str(count)] = plan.load(server, count, "/predict/batch", plan.batch_bodies)
        rounds.append(loads)
    return {"rounds": rounds}


def table(found: dict[str, Any]) -> str:
    """Reviews a second, latencies and shares of the floor: the median of all rounds, the least and the greatest."""
    rounds: list[dict[str, Any]] = found["rounds"]

    def line(kind: str, connections: int, reviews: int, share: Callable[[dict[str, Any], float], float]) -> list[str]:
        loads = [part[kind][str(connections)] for part in rounds]
        rates = [load["requests_per_second"] * reviews for load in loads]
        shares = [share(part["floor"], rate) for part, rate in zip(rounds, rates, strict=True)]
        return [
            f"{connections}, {reviews} a request",
            spread(rates),
            *(spread([load[f"{name}_ms"] for load in loads], ".1f") for name in ("p50", "p95", "p99")),
            str(sum(sum(load["errors"].values()) for load in loads)),
            spread([load["server_cores"] for load in loads], ".2f"),
            mebibytes(max(load["server_bytes"] for load in loads)),
            spread(shares, ".1%"),
        ]

    lines = [
        *(line("single", count, 1, _single_share(count)) for count in SINGLE),
        *(line("batch", count, TEXTS_A_BATCH, _batch_share) for count in BATCH),
    ]
    names = ["reviews/s", "p50 ms", "p95 ms", "p99 ms", "errors", "cores used", "MiB", "share of the floor"]
    return markdown(["connections", *names], lines)


def _single_share(connections: int) -> Callable[[dict[str, Any], float], float]:
    return lambda parts, rate: rate / floor.requests_per_second(parts[str(connections)])


def _batch_share(parts: dict[str, Any], rate: float) -> float:
    """The share of a floor of tokenizer and network alone: the cost of HTTP is shared by all reviews of a request."""
    return rate * (float(parts["batch"]["tokenizer_seconds"]) + floor.best(parts["batch"]))
