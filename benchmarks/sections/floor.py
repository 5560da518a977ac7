"""The least that a review can cost on one core: an empty handler, the tokenizer and the network, each alone."""

import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from time import perf_counter
from typing import Any

from benchmarks.plan import Plan, pinned
from benchmarks.report import markdown, spread
from benchmarks.servers import free_port, running
from service import bundle, grouping
from service.classifier import Classifier
from service.grouping import Grouping
from service.tokenizer import Batch, TokenIds

CONNECTIONS = (8, 64)
ROWS = range(1, 9)
POLICY = "policy"

Groups = list[list[TokenIds]]


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of `parts`."""
    classifier = Classifier(bundle.read(plan.model), "cpu")
    return {"rounds": [parts(plan, classifier) for _ in range(plan.rounds)]}


def parts(plan: Plan, classifier: Classifier) -> dict[str, Any]:
    """One round: the empty servers' loads by connections; tokenizer and network in seconds a review, by window."""
    found: dict[str, Any] = {name: _empty(plan, options) for name, options in (("fastapi", ()), ("raw", ("--raw",)))}
    with pinned(plan.server_core):
        began = perf_counter()
        ids = [classifier.tokenizer.encode(text).token_ids for text in plan.texts]
        found["tokenizer_seconds"] = (perf_counter() - began) / len(ids)
        policy = grouping.measured(classifier.provider, classifier.seconds)
        found["session_seconds"] = {
            str(window): {
                name: _session_seconds(classifier, groups) for name, groups in groupings(ids, window, policy).items()
            }
            for window in CONNECTIONS
        }
    return found


def best(part: dict[str, Any], window: int) -> float:
    """Seconds of the network a review, in the best of the groupings that `window` waiting reviews allow."""
    seconds: dict[str, float] = part["session_seconds"][str(window)]
    return min(seconds.values())


def requests_per_second(part: dict[str, Any], connections: int) -> float:
    """The floor of one round: empty handler, tokenizer and network, one after another."""
    empty_seconds = 1 / part["fastapi"][str(connections)]["requests_per_second"]
    return float(1 / (empty_seconds + part["tokenizer_seconds"] + best(part, connections)))


def table(found: dict[str, Any]) -> str:
    """What each part costs a review, and the floor they make."""
    rounds: list[dict[str, Any]] = found["rounds"]

    def line(name: str, value: Callable[[dict[str, Any], int], float]) -> list[str]:
        return [name, *(spread([value(part, count) * 1e6 for part in rounds]) for count in CONNECTIONS)]

    groupings = list(rounds[0]["session_seconds"][str(CONNECTIONS[0])])
    lines = [
        line("empty ASGI application (for comparison)", lambda part, n: 1 / part["raw"][str(n)]["requests_per_second"]),
        line("empty FastAPI handler", lambda part, n: 1 / part["fastapi"][str(n)]["requests_per_second"]),
        line("tokenizer", lambda part, n: part["tokenizer_seconds"]),
        *(line(f"network, {_name(grouping)}", _of(grouping)) for grouping in groupings),
        line("network, best", best),
        line("floor", lambda part, n: 1 / requests_per_second(part, n)),
        [
            "floor, requests/s",
            *(spread([requests_per_second(part, count) for part in rounds]) for count in CONNECTIONS),
        ],
    ]
    return markdown(["µs a review", *(f"{count} connections, or reviews waiting" for count in CONNECTIONS)], lines)


def _of(grouping: str) -> Callable[[dict[str, Any], int], float]:
    def seconds(part: dict[str, Any], window: int) -> float:
        return float(part["session_seconds"][str(window)][grouping])

    return seconds


def _name(grouping: str) -> str:
    return "the service's own groups" if grouping == POLICY else f"rows sorted by length, at most {grouping} a call"


def _empty(plan: Plan, options: Sequence[str]) -> dict[str, Any]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.empty", "--port", str(port), *options]
    with running(command, port, {plan.server_core}, {}) as server:
        return {str(count): plan.load(server, count) for count in CONNECTIONS}


def groupings(ids: Sequence[TokenIds], window: int, policy: Grouping) -> dict[str, Groups]:
    """Ways to run all of `ids` where so many wait at a time, by name: rows a call, or POLICY."""
    return {**{str(rows): list(_sorted(ids, window, rows)) for rows in ROWS}, POLICY: list(chosen(ids, window, policy))}


def _sorted(ids: Sequence[TokenIds], window: int, rows: int) -> Iterable[list[TokenIds]]:
    """One window after another, each sorted by length and cut into runs; of one row: alone, in any order."""
    for first in range(0, len(ids), window):
        part = sorted(ids[first : first + window], key=len)
        yield from (part[at : at + rows] for at in range(0, len(part), rows))


def chosen(ids: Sequence[TokenIds], window: int, policy: Grouping) -> Iterable[list[TokenIds]]:
    """As the service chooses when whoever was answered is followed by another at once."""
    waiting, coming = list(ids[:window]), iter(ids[window:])
    while waiting:
        order = sorted(range(len(waiting)), key=lambda index: len(waiting[index]))
        group = order[policy.choose([len(waiting[index]) for index in order], order.index(0))]
        yield [waiting[index] for index in group]
        waiting = [text for index, text in enumerate(waiting) if index not in group]
        waiting += islice(coming, len(group))


def _session_seconds(classifier: Classifier, groups: Groups) -> float:
    """Seconds a review, padding included."""
    classifier.run(Batch.pad(groups[0]))
    began = perf_counter()
    for group in groups:
        classifier.run(Batch.pad(group))
    return (perf_counter() - began) / sum(map(len, groups))
