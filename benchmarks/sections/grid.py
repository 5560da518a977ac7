"""The network alone in onnxruntime: what a call costs by hidden size, rows, length, threads and precision."""

import itertools
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import quantize_dynamic

from benchmarks.load import stream
from benchmarks.plan import Plan, pinned
from benchmarks.report import markdown
from benchmarks.sections.floor import chosen
from service.model import grouping, onnx_extract
from service.model.grouping import Grouping
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
_TEXTS = 2000  # grouped, to compare costs


def measure(plan: Plan) -> dict[str, Any]:
    """Seconds of a call, the median of many."""
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
    return {"calls": calls}


def table(found: dict[str, Any]) -> str:
    """Microseconds a row and step, and the costs fitted to them beside the service's."""
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
    service = grouping.for_provider("cpu", lambda rows, tokens: 0.0)
    costs = [_cost_line(hidden, found["calls"], service) for hidden in HIDDEN_SIZES]
    costs.append(["the service", "", f"{service.call:.0f}", f"{service.steps[1] - 1:.2f}", "", ""])
    return "\n\n".join(
        [
            "Microseconds a row and step, by rows:",
            markdown(["hidden size", *map(str, ROWS)], lines),
            "The costs by which waiting texts are grouped (service/model/grouping.py), fitted to the calls above of at "
            f"most {max(service.steps)} rows in fp32 on one thread. The unit is one row's share of a time step: a call "
            "costs `call + length * (step + rows)`. The service uses the same costs for every network; the last column "
            "says how much longer reviews take in the groups so chosen than in groups chosen by the fitted costs:",
            markdown(["hidden size", "µs a unit", "call", "step", "error of the fit", "longer"], costs),
        ]
    )


def _model(hidden_size: int, precision: str) -> bytes:
    """A network of random weights, exported and cut to its logits as the service does."""
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
    found: list[float] = []
    while sum(found) < at_least or len(found) < _LEAST_CALLS:
        began = perf_counter()
        session.run(["logits"], feed)
        found.append(perf_counter() - began)
    return median(found)


def _cost_line(hidden: int, calls: list[dict[str, Any]], service: Grouping) -> list[str]:
    """The costs of the network of `hidden` units, fitted by least squares of the relative error."""
    terms, seconds = zip(
        *(
            ((1.0, call["length"], call["length"] * call["rows"]), call["seconds"])
            for call in calls
            if (call["hidden"], call["precision"], call["threads"]) == (hidden, "fp32", 1)
            and call["rows"] in service.steps
        ),
        strict=True,
    )
    relative = np.array(terms) / np.array(seconds)[:, None]  # [call, term]
    (call_seconds, step_seconds, unit), *_ = np.linalg.lstsq(relative, np.ones(len(relative)))
    error = np.abs(relative @ [call_seconds, step_seconds, unit] - 1).max()
    # The fit knows the network alone: the service's own time for a call comes on top.
    call, step = (max(0.0, call_seconds) + grouping.AROUND_SECONDS) / unit, step_seconds / unit
    fitted = replace(service, call=call, steps={rows: step + rows for rows in service.steps})
    longer = _cost(service, fitted) / _cost(fitted, fitted) - 1
    return [str(hidden), f"{unit * 1e6:.2f}", f"{call:.0f}", f"{step:.2f}", f"{error:.0%}", f"{longer:+.1%}"]


def _cost(policy: Grouping, true: Grouping) -> float:
    """The cost, by `true`, of texts as long as reviews in the groups of `policy`, its whole window waiting."""
    reviews = json.loads(stream.LENGTHS.read_text())
    counts = np.array(reviews["counts"])
    lengths = np.random.default_rng(0).choice(reviews["edges"][1:], _TEXTS, p=counts / counts.sum())
    ids = [np.zeros(min(length, PRESETS["base"].max_tokens), np.int32) for length in lengths]
    return sum(true.cost(len(group), max(map(len, group))) for group in chosen(ids, policy.window, policy))
