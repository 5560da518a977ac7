"""`ovation score`: rows/s by a bundle and by a service, beside their limits in one round; memory of a long file."""

import csv
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, cycle, islice, repeat
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.load.servers import ROOT, service
from benchmarks.plan import TEXTS_A_BATCH, Plan, pinned
from benchmarks.report import markdown, mebibytes, spread
from service.bulk import parts
from service.model import bundle
from service.model.classifier import Classifier
from service.model.tokenizer import Batch, TokenIds
from training.data.sources import Source

ROWS, QUICK_ROWS = 50_000, 1024  # of a file; made-up texts repeat
SAMPLE = 2048  # of the rows, for what is measured on one core
LONG = 20  # times as many rows, for memory
CALLS = (1, 2, 4, 5, 6, 8, 12, 16)  # texts a call of the network, of which the fastest counts
BATCH_CONNECTIONS = 2
_LOOK_SECONDS = 2.0  # reading the memory of a process stops it for some milliseconds


def measure(plan: Plan) -> dict[str, Any]:
    """Rounds of the rates, each of the same rows; then the memory of a long file."""
    classifier = Classifier(bundle.read(plan.model), "cpu")
    cores = range(plan.server_core, plan.load_core + 1)
    texts = _texts(plan)
    sample = texts[:: max(1, len(texts) // SAMPLE)]
    bodies = [
        json.dumps({"texts": sample[first : first + TEXTS_A_BATCH]}).encode()
        for first in range(0, len(sample), TEXTS_A_BATCH)
    ]
    long = 2 if plan.quick else LONG  # times as many rows
    with tempfile.TemporaryDirectory() as folder, service(plan.model, {plan.server_core}) as server:
        table, columns = Path(folder) / "in.csv", Path(folder) / "in.parquet"
        _write_csv(table, texts)
        _write_parquet(columns, texts)
        rounds = []
        for _ in range(plan.rounds):
            with pinned(plan.server_core):
                one_core = _one_core(classifier, sample)
            with pinned(*cores):
                local, _ = _score(table, ".csv", plan)
                parquet, _ = _score(columns, ".parquet", plan)
            batch = plan.load(server, BATCH_CONNECTIONS, "/predict/batch", bodies)
            url, _ = _score(table, ".csv", plan, "--url", server.url, "--workers", "1")
            batched = batch["requests_per_second"] * len(sample) / len(bodies)
            rounds.append({"one_core": one_core, "local": local, "parquet": parquet, "batch": batched, "url": url})
        _write_csv(table, chain.from_iterable(repeat(texts, long)))
        with pinned(*cores):
            _, most_bytes = _score(table, ".csv", plan)
    return {"cores": len(cores), "texts_a_batch": TEXTS_A_BATCH, "rows": len(texts), "rounds": rounds,
            "long_bytes": most_bytes, "long_rows": len(texts) * long}  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """Rates and their shares, and the memory."""
    rounds, cores = found["rounds"], found["cores"]
    lines = [
        [
            f"tokenizer and network on one core, times {cores}",
            spread([cores * part["one_core"] for part in rounds]),
            "",
        ],
        [
            "`ovation score`, CSV",
            spread([part["local"] for part in rounds]),
            spread([part["local"] / part["one_core"] / cores for part in rounds], ".1%"),
        ],
        [
            "`ovation score`, Parquet",
            spread([part["parquet"] for part in rounds]),
            spread([part["parquet"] / part["one_core"] / cores for part in rounds], ".1%"),
        ],
        [f"`/predict/batch`, {found['texts_a_batch']} a request, one core", spread([p["batch"] for p in rounds]), ""],
        [
            "`ovation score --url`",
            spread([part["url"] for part in rounds]),
            spread([part["url"] / part["batch"] for part in rounds], ".1%"),
        ],
    ]
    memory = (
        f"Most memory of all processes together (PSS) over {found['long_rows']:,} rows: "
        f"{mebibytes(found['long_bytes'])} MiB."
    )
    return "\n\n".join([markdown([f"{found['rows']:,} rows", "rows/s", "of the limit above"], lines), memory])


def _texts(plan: Plan) -> list[str]:
    """The labelled reviews of the archive, or made-up texts."""
    if plan.data is None or plan.quick:
        return list(islice(cycle(plan.texts), QUICK_ROWS if plan.quick else ROWS))
    return [review.text for review in Source(plan.data) if review.label is not None]


def _write_csv(path: Path, texts: Iterable[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(chain([("id", "text")], enumerate(texts)))


def _write_parquet(path: Path, texts: Sequence[str]) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"id": range(len(texts)), "text": texts}), path)


def _one_core(classifier: Classifier, texts: Sequence[str]) -> float:
    """Texts a second of the tokenizer and the network, with the fastest of CALLS, sorted by length a part at a time."""
    began = perf_counter()
    ids = [classifier.tokenizer.encode(text).token_ids for text in texts]
    tokenized = perf_counter() - began
    ordered = [sorted(ids[at : at + parts.MOST_ROWS], key=len) for at in range(0, len(ids), parts.MOST_ROWS)]
    fastest = min(CALLS, key=lambda rows: _network(classifier, ordered, rows))
    # Measured once more: the least of several times is also the luckiest.
    return len(texts) / (tokenized + _network(classifier, ordered, fastest))


def _network(classifier: Classifier, ordered: Sequence[Sequence[TokenIds]], rows: int) -> float:
    """Seconds of the network for all texts, `rows` a call."""
    began = perf_counter()
    for part in ordered:
        for first in range(0, len(part), rows):
            classifier.run(Batch.pad(part[first : first + rows]))
    return perf_counter() - began


def _score(source: Path, suffix: str, plan: Plan, *options: str) -> tuple[float, int]:
    """Rows a second as the command tells them, and the most memory of its processes in bytes."""
    out = source.with_name(f"out{suffix}")
    command = [sys.executable, "-m", "service", "score", str(source), str(out), "--force", "--bundle", str(plan.model)]
    log = source.with_name("log")
    most = 0
    with log.open("wb") as errors, subprocess.Popen([*command, *options], stderr=errors, cwd=ROOT) as process:
        while True:
            try:
                process.wait(_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                most = max(most, sum(map(_bytes, _family(process.pid))))
    told = log.read_text()
    rate = re.search(r"s, ([\d,]+) rows/s$", told, re.MULTILINE)
    if process.returncode or not rate:
        raise RuntimeError(f"ovation score: expected all rows scored, found exit code {process.returncode}:\n{told}")
    return float(rate[1].replace(",", "")), most


def _family(pid: int) -> Iterator[int]:
    """The process and all below it."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _bytes(pid: int) -> int:
    """The process's memory; pages that it shares count in part."""
    try:
        found = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:  # it has ended
        return 0
    return int(found[1]) * 1024 if found else 0
