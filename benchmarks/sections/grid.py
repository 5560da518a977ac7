"""The network alone in onnxruntime: the time of a call by hidden size, rows, length, threads and precision."""

import itertools
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic

from benchmarks.plan import Plan, pinned
from benchmarks.report import markdown
from service.model import grouping, onnx_extract
from service.model.tokenizer import Batch
from training.network.bilstm import BiLSTM
from training.recipe.recipes import PRESETS
from training.release import export, onnx_graph

HIDDEN_SIZES = (32, 64, 128)
ROWS = (1, 2, 4, 8, 16, 32)
LENGTHS = (64, 256, 400)
THREADS = (1, 2)
PRECISIONS = ("fp32", "int8")
_LEAST_CALLS = 5


def measure(plan: Plan) -> dict[str, Any]:
    """The median seconds of a call of each shape, and by hidden size the cost model that the service would use."""
    calls: list[dict[str, Any]] = []
    models = dict[str, dict[str, Any]]()
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
                if precision == "fp32" and threads == 1:
                    models[str(hidden_size)] = _cost_model(session, calls)
    return {"calls": calls, "models": models}


def table(found: dict[str, Any]) -> str:
    """Microseconds a row and time step, and the cost models with their errors."""
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
    rows = [*map(str, grouping.ROWS["cpu"])]
    costs = [
        [size, f"{of['call'] * 1e6:.0f}", *(f"{of['steps'][count] * 1e6:.2f}" for count in rows), f"{of['error']:.0%}"]
        for size, of in found["models"].items()
    ]
    return "\n\n".join(
        [
            "Microseconds a row and time step, by rows:",
            markdown(["hidden size", *map(str, ROWS)], lines),
            "The service's cost model (service/model/grouping.py; fp32, one thread): microseconds of a call and of "
            "a time step by rows, and the largest error of its predictions for the calls above:",
            markdown(["hidden size", "call", *rows, "error"], costs),
        ]
    )


def _model(hidden_size: int, precision: str) -> bytes:
    """An ONNX model of random weights, reduced to its logits as in the service."""
    base = PRESETS["base"]
    torch.manual_seed(0)
    network = BiLSTM(base.vocabulary_size, base.embedding_size, hidden_size, labels=2, head=base.head)
    model = onnx_extract.only(onnx_graph.build(export.arrays(network)), ["logits"])
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
    times: list[float] = []
    while sum(times) < at_least or len(times) < _LEAST_CALLS:
        began = perf_counter()
        session.run(["logits"], feed)
        times.append(perf_counter() - began)
    return median(times)


def _cost_model(session: onnxruntime.InferenceSession, calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The Grouping of `session`, and its largest relative error for the last of `calls`, which are this session's."""
    ids = np.arange(2, PRESETS["base"].vocabulary_size, dtype=np.int32)

    def seconds(rows: int, tokens: int) -> float:
        batch = Batch.pad(list(np.resize(ids, (rows, tokens))))
        began = perf_counter()
        session.run(["logits"], {"token_ids": batch.token_ids, "lengths": batch.lengths})
        return perf_counter() - began

    costs = grouping.measured("cpu", seconds)
    errors = [
        abs((costs.cost(call["rows"], call["length"]) - grouping.AROUND_SECONDS) / call["seconds"] - 1)
        for call in calls[-len(ROWS) * len(LENGTHS) :]
        if call["rows"] in costs.steps
    ]
    steps = {str(rows): step for rows, step in costs.steps.items()}
    return {"call": costs.call - grouping.AROUND_SECONDS, "steps": steps, "error": max(errors)}
