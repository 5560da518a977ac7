"""The service and other ways to serve the same bundle, each on one core, in interleaved rounds, one alive at a time."""

from contextlib import AbstractContextManager
from typing import Any

import click
import httpx

from benchmarks.load.servers import Server, Unavailable, service
from benchmarks.peers import PEERS, Peer, serving
from benchmarks.peers.agreement import agreement
from benchmarks.plan import Plan
from benchmarks.report import markdown, mebibytes, spread
from service.model import bundle
from service.model.classifier import Classifier

CONNECTIONS = (1, 8, 64)
OURS = "ovation"
_OVATION = Peer(OURS, module="", requirements="")  # for its requests and answers alone; `service` starts it


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of {name: {connections: load}}, and {name: reason} of the servers that failed."""
    plan = plan.short
    classifier = Classifier(bundle.read(plan.model), "cpu")
    rounds: list[dict[str, Any]] = [{} for _ in range(plan.rounds)]
    unavailable: dict[str, str] = {}
    for number, loads in enumerate(rounds):
        for peer in (_OVATION, *PEERS):
            if peer.name in unavailable:
                continue
            try:
                with _started(plan, peer) as server:
                    if not number:
                        agreement(peer, server.url, classifier)
                    bodies = [peer.body(text) for text in plan.texts]
                    loads[peer.name] = {
                        str(count): plan.load(server, count, peer.path, bodies) for count in CONNECTIONS
                    }
            except (Unavailable, ValueError, RuntimeError, httpx.HTTPError) as error:
                unavailable[peer.name] = f"{type(error).__name__}: {error}"
                click.echo(f"{peer.name}: {unavailable[peer.name]}", err=True)
    return {"rounds": rounds, "unavailable": unavailable}


def table(found: dict[str, Any]) -> str:
    """Throughput, latency, and the service's throughput relative to the server's in the same round."""
    lines = []
    for peer in (_OVATION, *PEERS):
        if peer.name in found["unavailable"]:
            reason = found["unavailable"][peer.name].splitlines()[0].replace("|", "\\|")
            lines.append([peer.name, "", f"unavailable: {reason}", *[""] * 6])
            continue
        for count in map(str, CONNECTIONS):
            loads = [part[peer.name][count] for part in found["rounds"]]
            ours = [part[OURS][count]["requests_per_second"] for part in found["rounds"] if OURS in part]
            ratios = [rate / load["requests_per_second"] for rate, load in zip(ours, loads, strict=False)]
            lines.append(
                [
                    peer.name,
                    count,
                    spread([load["requests_per_second"] for load in loads]),
                    *(spread([load[f"{name}_ms"] for load in loads], ".1f") for name in ("p50", "p99")),
                    str(sum(sum(load["errors"].values()) for load in loads)),
                    spread([load["server_cores"] for load in loads], ".2f"),
                    mebibytes(max(load["server_bytes"] for load in loads)),
                    f"{spread(ratios, '.2f')} ×" if ratios else "",
                ]
            )
    names = ["connections", "requests/s", "p50 ms", "p99 ms", "errors", "cores used", "MiB", f"{OURS} is"]
    return markdown(["server", *names], lines)


def _started(plan: Plan, peer: Peer) -> AbstractContextManager[Server]:
    if peer is _OVATION:
        return service(plan.model, {plan.server_core})
    return serving(peer, plan.model, {plan.server_core})
