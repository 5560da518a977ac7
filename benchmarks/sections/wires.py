"""The routes for other people's clients beside /predict: one review a request, in turns, in one server."""

import json
import struct
from collections.abc import Callable
from typing import Any

from benchmarks.load.closed import Body
from benchmarks.load.servers import service
from benchmarks.plan import Plan
from benchmarks.report import markdown, spread
from service.model import bundle

CONNECTIONS = 8
BOUND = 0.85  # least requests/s over those of /predict in the same round


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of {wire: load}, each in a server of its own: the speed of processes of the same code differs."""
    plan = plan.short
    infer = f"/v2/models/{bundle.read(plan.model).name.partition('@')[0]}/infer"
    wires: dict[str, tuple[str, Callable[[str], Body]]] = {
        "native": ("/predict", lambda text: _json({"text": text})),
        "Hugging Face": ("/hf", lambda text: _json({"inputs": text, "parameters": {}})),
        "TEI": ("/tei/predict", lambda text: _json({"inputs": text})),
        "OIP, JSON": (infer, lambda text: _json({"inputs": [{**_TENSOR, "data": [text]}]})),
        "OIP, binary both ways": (infer, _binary),
    }
    bodies = {name: [make(text) for text in plan.texts] for name, (_, make) in wires.items()}
    rounds = []
    for _ in range(plan.rounds):
        with service(plan.model, {plan.server_core}) as server:
            loads = {name: plan.load(server, CONNECTIONS, path, bodies[name]) for name, (path, _) in wires.items()}
        rounds.append(loads)
    return {"rounds": rounds}


def table(found: dict[str, Any]) -> str:
    """Throughput, latency, and throughput relative to the native route in the same round."""
    lines = []
    for name in found["rounds"][0]:
        loads = [part[name] for part in found["rounds"]]
        ratios = [part[name]["requests_per_second"] / part["native"]["requests_per_second"] for part in found["rounds"]]
        lines.append(
            [
                name,
                spread([load["requests_per_second"] for load in loads]),
                *(spread([load[f"{percentile}_ms"] for load in loads], ".1f") for percentile in ("p50", "p99")),
                str(sum(sum(load["errors"].values()) for load in loads)),
                spread(ratios, ".3f"),
            ]
        )
    text = f"{CONNECTIONS} connections; bound of the ratio: {BOUND:g}."
    return f"{text}\n\n{markdown(['wire', 'reviews/s', 'p50 ms', 'p99 ms', 'errors', 'ratio to native'], lines)}"


_TENSOR = {"name": "text", "datatype": "BYTES", "shape": [1]}


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def _binary(text: str) -> tuple[bytes, bytes]:
    """As tritonclient sends it by default."""
    tensor = struct.pack("<I", len(text.encode())) + text.encode()
    described = {**_TENSOR, "parameters": {"binary_data_size": len(tensor)}}
    return _json({"inputs": [described], "parameters": {"binary_data_output": True}}), tensor
