"""The network alone in onnxruntime: what a call costs by hidden size, rows, length, threads and precision."""

import itertools
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic

from benchmarks import cost
from benchmarks.cost import Cost
from benchmarks.plan import Plan, pinned
from benchmarks.report import markdown
from service import graph, grouping
from service.tokenizer import Batch
from training import export
from training.model import BiLSTM
from training.preset import PRESETS

HIDDEN_SIZES = (32, 64, 128)
ROWS = (1, 2, 4, 8, 16, 32)
LENGTHS = (64, 256, 400)
THREADS = (1, 2)
PRECISIONS = ("fp32", "int8")
_LEAST_CALLS = 5


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of a call, the median of many, and the cost model of each hidden size."""
    calls: list[dict[str, Any]] = []
    generator = np.random.default_rng(0)
    for hidden_size, precision in itertools.product(HIDDEN_SIZES, PRECISIONS):
        model = _model(hidden_size, precision)
        for threads in THREADS:
            with pinned(*(plan.server_core, plan.load_core)[:threads]):
                session = _session(model, threads)
                for rows, length in itertools.product(ROWS, LENGTHS):
                    ids = generator.integers(2, PRESETS["base"].vocabulary_size, (rows, length), np.int32)
                    seconds = _seconds(session, Batch.pad(list(ids)), plan.seconds / 20)
                    place = {"hidden": hidden_size, "precision": precision, "threads": threads}
                    calls.append({**place, "rows": rows, "length": length, "seconds": seconds})
    return {
        "calls": calls,
        "costs": {str(hidden_size): asdict(_cost(calls, hidden_size)) for hidden_size in HIDDEN_SIZES},
    }


def table(found: dict[str, Any]) -> str:
    """Microseconds a row and step, and the fitted cost model beside the service's."""
    seconds = {
        (call["hidden"], call["precision"], call["threads"], call["length"], call["rows"]): call["seconds"]
        for call in found["calls"]
    }
    lines = [
        [
            f"{hidden} {precision}, threads: {threads}, length: {length}",
            *(f"{seconds[hidden, precision, threads, length, rows] / rows / length * 1e6:.2f}" for rows in ROWS),
        ]
        for hidden, precision, threads, length in itertools.product(HIDDEN_SIZES, PRECISIONS, THREADS, LENGTHS)
    ]
    costs = [cost.row(f"hidden size {size}", found["costs"][str(size)]) for size in HIDDEN_SIZES]
    costs.append(cost.constants("service/grouping.py: CPU", grouping.CPU))
    return "\n\n".join(
        [
            "Microseconds a row and step, by rows:",
            markdown(["hidden size", *map(str, ROWS)], lines),
            f"fp32, one thread, up to {grouping.CPU.max_rows} rows, in units of one step alone:",
            markdown(cost.HEADER, costs),
        ]
    )


def _model(hidden_size: int, precision: str) -> bytes:
    """A network of random weights, exported and cut to its logits as the service does."""
    base = PRESETS["base"]
    torch.manual_seed(0)
    network = BiLSTM(base.vocabulary_size, base.embedding_size, hidden_size, labels=2, head=base.head)
    model = graph.only(export.graph(export.arrays(network)), ["logits"])
    if precision == "fp32":
        return model
    with tempfile.TemporaryDirectory(prefix="grid-") as folder:
        path = Path(folder) / "int8.onnx"
        quantize_dynamic(onnx.load_from_string(model), path, op_types_to_quantize=["LSTM"])
        return path.read_bytes()


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_mem_pattern = False  # as in the service
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _seconds(session: onnxruntime.InferenceSession, batch: Batch, at_least: float) -> float:
    """The median of as many calls as take `at_least` seconds, after one to warm up."""
    feed = {"token_ids": batch.token_ids, "lengths": batch.lengths}
    session.run(["logits"], feed)
    found: list[float] = []
    while sum(found) < at_least or len(found) < _LEAST_CALLS:
        began = perf_counter()
        session.run(["logits"], feed)
        found.append(perf_counter() - began)
    return median(found)


def _cost(calls: list[dict[str, Any]], hidden_size: int) -> Cost:
    """Only calls of as many rows as the service makes."""
    wanted = {"hidden": hidden_size, "precision": "fp32", "threads": 1}
    return Cost.fit(
        [
            (call["rows"], call["length"], call["seconds"])
            for call in calls
            if wanted.items() <= call.items() and call["rows"] <= grouping.CPU.max_rows
        ]
    )
