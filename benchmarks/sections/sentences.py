"""Reviews of twelve sentences, alone and with each sentence predicted, too: what the sentences cost, side by side."""

import json
from statistics import mean
from typing import Any

from benchmarks.load.servers import service
from benchmarks.plan import Plan
from benchmarks.report import markdown, spread
from service.model.sentences import sentences
from service.model.tokenizer import words

SENTENCES = 12
CONNECTIONS = (1, 8)
KINDS = {"alone": False, "with sentences": True}


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of {connections: {kind: load}}, in turns, in one server; the texts are those of SENTENCES sentences."""
    texts = [text for text in plan.texts if len(sentences(text)) == SENTENCES]
    bodies = {
        kind: [json.dumps({"text": text, "sentences": asked}).encode() for text in texts]
        for kind, asked in KINDS.items()
    }
    plan = plan.short
    with service(plan.model, {plan.server_core}) as server:
        rounds = [
            {
                str(count): {kind: plan.load(server, count, bodies=bodies[kind]) for kind in KINDS}
                for count in CONNECTIONS
            }
            for _ in range(plan.rounds)
        ]
    return {"texts": len(texts), "tokens": mean([len(words(text)) for text in texts]), "rounds": rounds}


def table(found: dict[str, Any]) -> str:
    """Requests a second, latencies, the server's time a request, and that over the time without sentences."""
    lines = []
    for count in map(str, CONNECTIONS):
        for kind in KINDS:
            loads = [part[count][kind] for part in found["rounds"]]
            costs = [
                _cpu_ms(load) / _cpu_ms(part[count]["alone"]) for load, part in zip(loads, found["rounds"], strict=True)
            ]
            lines.append(
                [
                    f"{count}, {kind}",
                    spread([load["requests_per_second"] for load in loads]),
                    *(spread([load[f"{name}_ms"] for load in loads], ".1f") for name in ("p50", "p99")),
                    str(sum(sum(load["errors"].values()) for load in loads)),
                    spread([_cpu_ms(load) for load in loads], ".2f"),
                    spread(costs, ".2f"),
                ]
            )
    text = f"{found['texts']} reviews of {SENTENCES} sentences, {found['tokens']:.0f} tokens in the mean."
    names = ["connections", "requests/s", "p50 ms", "p99 ms", "errors", "CPU ms a request", "over that alone"]
    return f"{text}\n\n{markdown(names, lines)}"


def _cpu_ms(load: dict[str, Any]) -> float:
    """The server's CPU time a request: what else runs on the machine changes it less than the rate."""
    return float(load["server_cores"] * load["seconds"] / max(1, load["requests"]) * 1e3)
