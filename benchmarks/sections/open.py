"""The service under an open loop at shares of its capacity; latency counts from the scheduled time of a request."""

import gc
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.load import arrivals
from benchmarks.load.servers import Server, service
from benchmarks.plan import Plan, pinned
from benchmarks.report import markdown, mebibytes
from service.model import bundle
from service.model.classifier import Classifier
from service.model.tokenizer import Batch

CAPACITY_CONNECTIONS = 64
SHARES = (0.10, 0.25, 0.50, 0.75, 0.90, 1.00, 1.25, 1.50, 2.00)
LIGHT = 0.10  # share at which each latency is compared with the network's time for the same text alone
DEADLINE_MS = 1000  # of requests at shares of 1 and above
BOUND_MS = 1.0  # at LIGHT: latency <= 2 * network alone + BOUND_MS
_LOADS = 3  # a point lasts as long as so many loads: percentiles of an open loop need more requests
_ALONE_REPEATS = 3


def measure(plan: Plan) -> dict[str, Any]:
    """The capacity, measured by a closed loop, then a point for each share, one after another on the same server."""
    alone_seconds = _alone(plan)
    with service(plan.model, {plan.server_core}) as server:
        capacity = plan.load(server, CAPACITY_CONNECTIONS)
        points = [
            _point(plan, server, share, kind, capacity["requests_per_second"], alone_seconds)
            for share, kind in ((LIGHT, "even"), *((share, "poisson") for share in SHARES))
        ]
    return {"capacity": capacity, "alone_seconds": alone_seconds, "points": points}


def table(found: dict[str, Any]) -> str:
    """A row for each point, then the check of the latency at light load."""
    lines, light = [], []
    for point in found["points"]:
        good = point["statuses"].get("200", {"count": 0})
        percentiles = good.get("percentiles_ms")
        others = {status: of["count"] for status, of in point["statuses"].items() if status != "200"}
        lines.append(
            [
                f"{point['share']:.0%}, {point['kind']}",
                f"{point['rate']:,.0f}",
                f"{point['goodput']:,.0f}",
                *(f"{percentiles[percent]:,.1f}" if percentiles else "" for percent in (50, 95, 99, 100)),
                ", ".join(f"{count} × {status}" for status, count in others.items()),
                point["deadline_ms"] or "",
                f"{point['lateness_p99_ms']:.2f}",
                point["connections"],
                f"{mebibytes(point['bytes_before'])} → {mebibytes(point['bytes_after'])}",
            ]
        )
        if "excess_ms" in point:
            light.append(
                f"At {point['share']:.0%}, {point['kind']} arrivals: latency p99 {percentiles[99]:.2f} ms; latency "
                f"less twice the network's time for the same text alone: p50 {point['excess_ms'][50]:.2f} ms, "
                f"p99 {point['excess_ms'][99]:.2f} ms (bound: {BOUND_MS:g} ms)."
            )
    names = ["requests/s", "goodput/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "not answered 200", "deadline ms"]
    names += ["generator late p99 ms", "connections", "MiB before → after"]
    capacity = (
        f"Capacity: {found['capacity']['requests_per_second']:,.0f} requests/s ({CAPACITY_CONNECTIONS} connections)."
    )
    return "\n\n".join([capacity, markdown(["share of capacity", *names], lines), *light])


def _alone(plan: Plan) -> list[float]:
    """Seconds of the network [text] for each text alone: the median of _ALONE_REPEATS calls."""
    classifier = Classifier(bundle.read(plan.model), "cpu")
    medians = []
    with pinned(plan.server_core):
        for text in plan.texts:
            batch, seconds = Batch.pad([classifier.tokenizer.encode(text).token_ids]), []
            for _ in range(_ALONE_REPEATS):
                began = perf_counter()
                classifier.run(batch)
                seconds.append(perf_counter() - began)
            medians.append(float(np.median(seconds)))
    return medians


def _point(
    plan: Plan, server: Server, share: float, kind: str, capacity: float, alone_seconds: list[float]
) -> dict[str, Any]:
    """One load: by status the percentiles 0 to 100 of the latency in ms; goodput, the answers of 200 a second."""
    rate, seconds, url = share * capacity, _LOADS * plan.seconds, f"{server.url}/predict"
    due = arrivals.evenly(rate, seconds) if kind == "even" else arrivals.poisson(rate, seconds, seed=1)
    deadline_ms = DEADLINE_MS if share >= 1 else None
    headers = {"X-Request-Timeout-Ms": str(deadline_ms)} if deadline_ms else {}
    requests = [arrivals.request(url, body, headers) for body in plan.bodies]
    before = server.resident_bytes()
    gc.collect()
    gc.disable()  # a pause of the generator would count as latency of the server
    try:
        sent = arrivals.send(url, requests, due)
    finally:
        gc.enable()
    good = sent.status == 200
    if not good.any():
        statuses = set(sent.status.tolist())
        raise RuntimeError(f"expected answers at {rate:.0f} requests/s, found only the statuses {statuses}")
    point: dict[str, Any] = {
        "share": share,
        "kind": kind,
        "rate": rate,
        "deadline_ms": deadline_ms,
        "statuses": {
            str(status): {"count": int(count), "percentiles_ms": _percentiles_ms(sent.latency[sent.status == status])}
            for status, count in zip(*np.unique(sent.status, return_counts=True), strict=True)
        },
        "goodput": float(good.sum() / (sent.due + sent.latency)[good].max()) if good.any() else 0.0,
        "lateness_p99_ms": float(np.percentile(sent.lateness, 99)) * 1e3,
        "connections": sent.connections,
        "bytes_before": before,
        "bytes_after": server.resident_bytes(),
    }
    if share == LIGHT:
        alone = np.resize(alone_seconds, len(due))  # repeated, as the requests are
        point["excess_ms"] = _percentiles_ms((sent.latency - 2 * alone)[good])
    return point


def _percentiles_ms(seconds: arrivals.Floats) -> list[float] | None:
    answered = seconds[~np.isnan(seconds)]
    return (np.percentile(answered, range(101)) * 1e3).tolist() if len(answered) else None
