"""The service under so many callers who each wait for their answer, beside the floor measured in the same rounds."""

from collections.abc import Callable
from typing import Any

from benchmarks.plan import TEXTS_A_BATCH, Plan
from benchmarks.report import markdown, mebibytes, spread
from benchmarks.sections import floor
from benchmarks.servers import service
from service import bundle
from service.classifier import Classifier

SINGLE = (1, 8, 64)
BATCH = (1, 2)


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of the floor's parts and, right after them, of the service's loads by connections."""
    classifier = Classifier(bundle.read(plan.model), "cpu")
    rounds = []
    for _ in range(plan.rounds):
        parts = floor.parts(plan, classifier)
        with service(plan.model, {plan.server_core}) as server:
            single = {str(count): plan.load(server, count) for count in SINGLE}
            batch = {str(count): plan.load(server, count, "/predict/batch", plan.batch_bodies) for count in BATCH}
        rounds.append({"floor": parts, "single": single, "batch": batch})
    return {"rounds": rounds}


def table(found: dict[str, Any]) -> str:
    """Reviews a second, latencies, and the shares of the floor."""
    rounds: list[dict[str, Any]] = found["rounds"]

    def line(
        kind: str, connections: int, reviews: int, share: Callable[[dict[str, Any], float], float] | None
    ) -> list[str]:
        loads = [part[kind][str(connections)] for part in rounds]
        rates = [load["requests_per_second"] * reviews for load in loads]
        shares = [share(part["floor"], rate) for part, rate in zip(rounds, rates, strict=True)] if share else []
        return [
            f"{connections}, {reviews} a request",
            spread(rates),
            *(spread([load[f"{name}_ms"] for load in loads], ".1f") for name in ("p50", "p95", "p99")),
            str(sum(sum(load["errors"].values()) for load in loads)),
            spread([load["server_cores"] for load in loads], ".2f"),
            mebibytes(max(load["server_bytes"] for load in loads)),
            spread(shares, ".1%") if shares else "",
        ]

    lines = [
        line("single", 1, 1, None),
        line("single", 8, 1, lambda part, rate: rate / floor.requests_per_second(part, 8)),
        line("single", 64, 1, lambda part, rate: rate / floor.requests_per_second(part, 64)),
        *(line("batch", count, TEXTS_A_BATCH, _batch_share) for count in BATCH),
    ]
    names = ["reviews/s", "p50 ms", "p95 ms", "p99 ms", "errors", "cores used", "MiB", "share of the floor"]
    return markdown(["connections", *names], lines)


def _batch_share(part: dict[str, Any], rate: float) -> float:
    """Of tokenizer and network alone: HTTP's cost is spread over a request's reviews."""
    return rate * (float(part["tokenizer_seconds"]) + floor.best(part, TEXTS_A_BATCH))
