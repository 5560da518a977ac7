"""CUDA beside the CPU: the difference of their logits on texts of unequal lengths, and the speed of each. Needs a GPU.

`python -m benchmarks.cuda [--data aclImdb_v1.tar.gz]`, in the environment of `make serve RUNTIME=cuda`, writes
results/cuda.json and results/results.md.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import click
import numpy as np

from benchmarks import machine, results
from benchmarks.load import stream
from benchmarks.report import markdown
from service.model import bundle, grouping
from service.model.classifier import Classifier, ProviderError
from service.model.tokenizer import Batch, TokenIds

REVIEWS = 2048
BATCHES = (1, 8, 64, 256)
_SEED = 1
_SECONDS = 2.0  # of measurement for each batch size
_RAGGED = ([2], [2, 3], [5] * 400)  # token ids of added texts: a single token next to the longest text


def measure(classifiers: dict[str, Classifier], texts: Sequence[str]) -> dict[str, Any]:
    """Differences of the logits by batch size; reviews a second by provider, with or without IO binding, and size."""
    cpu, cuda = classifiers["cpu"], classifiers["cuda"]
    ids = [cpu.tokenizer.encode(text).token_ids for text in texts] + [np.array(added, np.int32) for added in _RAGGED]
    alone = np.concatenate([cpu.run(Batch.pad([one]))[0] for one in ids])
    differences = {}
    for rows in BATCHES:
        logits = np.concatenate([cuda.run(batch)[0] for batch in _batches(ids, rows)])
        differences[str(rows)] = {
            "logit": float(np.abs(logits - alone).max()),
            "labels": int((logits.argmax(1) != alone.argmax(1)).sum()),
        }
    runs: dict[str, Callable[[Batch], object]] = {"cpu": cpu.run, "cuda": cuda.run, "cuda, IO binding": _bound(cuda)}
    rates = {
        name: {str(rows): _rate(run, list(_batches(ids, rows)), rows) for rows in BATCHES} for name, run in runs.items()
    }
    costs = grouping.for_provider("cuda", cuda.seconds)
    return {
        "texts": len(ids),
        "differences": differences,
        "rates": rates,
        "steps": dict(costs.steps),
        "call": costs.call,
    }


def table(found: dict[str, Any]) -> str:
    """Markdown: the differences from the CPU, then the rates."""
    differences = [[rows, f"{of['logit']:.1e}", str(of["labels"])] for rows, of in found["differences"].items()]
    rates = [[name, *(f"{rate:,.0f}" for rate in of.values())] for name, of in found["rates"].items()]
    return "\n\n".join(
        [
            f"{found['texts']:,} texts, one a batch on the CPU beside batches of neighbours on CUDA:",
            markdown(["texts a batch", "largest difference of a logit", "other labels"], differences),
            "Reviews a second, without tokenizing:",
            markdown(["provider", *map(str, BATCHES)], rates),
        ]
    )


def _batches(ids: Sequence[TokenIds], rows: int) -> list[Batch]:
    return [Batch.pad(ids[first : first + rows]) for first in range(0, len(ids), rows)]


def _bound(classifier: Classifier) -> Callable[[Batch], object]:
    """Runs a batch with its inputs and outputs bound explicitly; `Classifier.run` leaves the copies to onnxruntime."""
    session = classifier.session

    def run(batch: Batch) -> object:
        binding = session.io_binding()
        binding.bind_cpu_input("token_ids", batch.token_ids)
        binding.bind_cpu_input("lengths", batch.lengths)
        binding.bind_output("logits", "cpu")
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    return run


def _rate(run: Callable[[Batch], object], batches: Sequence[Batch], rows: int) -> float:
    """Reviews a second, after three batches that do not count."""
    for batch in batches[:3]:
        run(batch)
    done, began = 0, perf_counter()
    while (seconds := perf_counter() - began) < _SECONDS:
        batch = batches[done // rows % len(batches)]
        run(batch)
        done += rows
    return done / seconds


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, path_type=Path), help="aclImdb_v1.tar.gz; without it: made-up texts"
)
@click.option("--out", type=click.Path(path_type=Path), default=results.FOLDER, help="folder for the results")
def main(data: Path | None, out: Path) -> None:
    """Measures, and writes OUT/cuda.json and OUT/results.md."""
    shipped = bundle.read(stream.MODEL)
    try:
        classifiers = {"cpu": Classifier(shipped, "cpu"), "cuda": Classifier(shipped, "cuda")}
    except ProviderError as error:
        raise click.ClickException(str(error)) from None
    about = {
        "texts": "made up" if data is None else f"test reviews of {data.name}",
        "seconds": _SECONDS,
        "quick": False,
    }
    measured = measure(classifiers, stream.reviews(REVIEWS, data, _SEED))
    result = {"machine": machine.describe(), **about, "found": measured}
    out.mkdir(parents=True, exist_ok=True)
    (out / "cuda.json").write_text(json.dumps(result, indent=1) + "\n")
    results.write(out)
    click.echo(table(measured))


if __name__ == "__main__":
    main()
