"""The floor, the least time a review can take on one core: an empty handler, the tokenizer and the network, summed."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from time import perf_counter
from typing import Any

from benchmarks.load.servers import Server, free_port, running
from benchmarks.plan import Plan, pinned
from benchmarks.report import markdown, spread
from service.model import bundle, grouping
from service.model.classifier import Classifier
from service.model.grouping import Grouping
from service.model.tokenizer import Batch, TokenIds

CONNECTIONS = (8, 64)
ROWS = range(1, 9)
TEXTS = 512  # tokenized and predicted in a round
POLICY = "policy"

Groups = list[list[TokenIds]]


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of `part` by number of connections; all parts of a round are measured right after one another."""
    classifier = Classifier(bundle.read(plan.model), "cpu")
    with empty(plan) as fastapi, empty(plan, "--raw") as raw:
        return {
            "rounds": [
                {str(count): part(plan, classifier, number, count, fastapi, raw) for count in CONNECTIONS}
                for number in range(plan.rounds)
            ]
        }


def part(
    plan: Plan, classifier: Classifier, number: int, connections: int, fastapi: Server, raw: Server | None = None
) -> dict[str, Any]:
    """One round: the loads of the empty servers; seconds a review of tokenizer and network, for TEXTS of the texts."""
    parts: dict[str, Any] = {"fastapi": plan.load(fastapi, connections)}
    if raw:
        parts["raw"] = plan.load(raw, connections)
    first = number * TEXTS % len(plan.texts)
    texts = plan.texts[first : first + TEXTS]
    with pinned(plan.server_core):
        began = perf_counter()
        ids = [classifier.tokenizer.encode(text).token_ids for text in texts]
        parts["tokenizer_seconds"] = (perf_counter() - began) / len(ids)
        policy = grouping.for_provider(classifier.provider, classifier.seconds)
        parts["session_seconds"] = {
            name: _session_seconds(classifier, groups) for name, groups in groupings(ids, connections, policy).items()
        }
    return parts


def best(part: dict[str, Any]) -> float:
    """Seconds of the network a review, with the fastest of `groupings`."""
    seconds: dict[str, float] = part["session_seconds"]
    return min(seconds.values())


def requests_per_second(part: dict[str, Any]) -> float:
    """The floor of one round as a rate: empty handler, tokenizer and network, one after another."""
    empty_seconds = 1 / part["fastapi"]["requests_per_second"]
    return float(1 / (empty_seconds + part["tokenizer_seconds"] + best(part)))


def table(found: dict[str, Any]) -> str:
    """Microseconds of each part a review, and their sum, the floor."""
    rounds: list[dict[str, dict[str, Any]]] = found["rounds"]

    def line(name: str, value: Callable[[dict[str, Any]], float], scale: float = 1e6) -> list[str]:
        return [name, *(spread([value(part[str(count)]) * scale for part in rounds]) for count in CONNECTIONS)]

    lines = [
        line("empty ASGI application (for comparison)", lambda part: 1 / part["raw"]["requests_per_second"]),
        line("empty FastAPI handler", lambda part: 1 / part["fastapi"]["requests_per_second"]),
        line("tokenizer", lambda part: float(part["tokenizer_seconds"])),
        *(line(f"network, {_name(name)}", _of(name)) for name in rounds[0][str(CONNECTIONS[0])]["session_seconds"]),
        line("network, fastest", best),
        line("floor", lambda part: 1 / requests_per_second(part)),
        line("floor, requests/s", requests_per_second, 1),
    ]
    return markdown(["µs a review", *(f"{count} connections, or reviews waiting" for count in CONNECTIONS)], lines)


def _of(grouping: str) -> Callable[[dict[str, Any]], float]:
    return lambda part: float(part["session_seconds"][grouping])


def _name(grouping: str) -> str:
    return "the service's own groups" if grouping == POLICY else f"rows sorted by length, at most {grouping} a call"


def empty(plan: Plan, *options: str) -> AbstractContextManager[Server]:
    """The server `benchmarks.load.empty` with `options`, ready on the server's core."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.load.empty", "--port", str(port), *options]
    return running(command, port, {plan.server_core}, {})


def groupings(ids: Sequence[TokenIds], window: int, policy: Grouping) -> dict[str, Groups]:
    """Ways to group all of `ids` where `window` texts wait at a time, by name: rows a call, or POLICY."""
    return {**{str(rows): list(_sorted(ids, window, rows)) for rows in ROWS}, POLICY: list(chosen(ids, window, policy))}


def _sorted(ids: Sequence[TokenIds], window: int, rows: int) -> Iterable[list[TokenIds]]:
    """Groups of `rows` texts of similar length: each window is sorted by length and cut into runs."""
    for first in range(0, len(ids), window):
        part = sorted(ids[first : first + window], key=len)
        yield from (part[at : at + rows] for at in range(0, len(part), rows))


def chosen(ids: Sequence[TokenIds], window: int, policy: Grouping) -> Iterable[list[TokenIds]]:
    """The groups that the service chooses in a closed loop, where each answered text is replaced by the next one."""
    waiting, coming = list(ids[:window]), iter(ids[window:])
    while waiting:
        order = sorted(range(len(waiting)), key=lambda index: len(waiting[index]))
        group = order[policy.choose([len(waiting[index]) for index in order], order.index(0))]
        yield [waiting[index] for index in group]
        waiting = [text for index, text in enumerate(waiting) if index not in group]
        waiting += islice(coming, len(group))


def _session_seconds(classifier: Classifier, groups: Groups) -> float:
    """Seconds of the network a review, padding included, after a call that does not count."""
    classifier.run(Batch.pad(groups[0]))
    began = perf_counter()
    for group in groups:
        classifier.run(Batch.pad(group))
    return (perf_counter() - began) / sum(map(len, groups))
