"""`python -m tests.fuzz.bundles`: a small bundle with each byte damaged, behind its digests; the tests damage a few.

A digest refuses nearly every damage for itself. So the manifest of each damaged bundle is given the digests of its
damaged files, and the graph, the vocabulary and the manifest's own bounds have to hold. Bundles are read in a child
process, which a crash of onnxruntime ends; it is counted, and another child goes on.
"""

import dataclasses
import hashlib
import json
import multiprocessing
import os
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

import click
import numpy as np

from service.model import bundle, cell, weights
from service.model.bundle import MANIFEST, MODEL, VOCABULARY, BundleError
from service.model.classifier import Classifier, Prediction
from service.model.weights import UnknownGraph
from tests.support import small_bundle
from tests.support.small_bundle import GOLDEN, TOLERANCE
from training.release import onnx_graph

Files = Mapping[str, bytes]
Kind = Literal["bit", "byte", "insert", "cut", "end"]
KINDS: tuple[Kind, ...] = ("bit", "byte", "insert", "cut", "end")
OTHER = "an unheard film, good and bad . ! a one not"
_CHILD_BYTES = 2**31  # of addresses, beyond what the child has at its start: a bundle that wants more is refused
_MOST_SECONDS = 300.0  # for one bundle, on a busy machine; the time of the golden texts is bounded by 60 s


class Damage(NamedTuple):
    """A change of one file."""

    file: str
    kind: Kind
    place: int  # byte
    value: int  # of the byte, or what it is combined with


@dataclasses.dataclass
class Report:
    """What became of the bundles."""

    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: list[str] = dataclasses.field(default_factory=list)  # crashes, hangs, wrong answers, unnamed errors
    most_bytes: int = 0  # resident, of any child
    first_bytes: int = 0  # of the child before its first bundle


def small_files() -> dict[str, bytes]:
    """The files of a bundle that gives evidence; its manifest has no digests yet."""
    network, tokenizer = small_bundle.network(), small_bundle.tokenizer()
    logits = small_bundle.logits(network, tokenizer)
    manifest = small_bundle.manifest(tokenizer, logits, network.head["bias"].tolist())
    return {
        MODEL: onnx_graph.build(network),
        VOCABULARY: json.dumps(tokenizer.vocabulary).encode(),
        MANIFEST: manifest.model_dump_json(exclude={"files"}).encode(),
    }


def damages(files: Files, cases: int, seed: int) -> Iterator[Damage]:
    """So many damages: each byte of each file once in each way, and then again, with other values."""
    random = Random(seed)
    places = [(name, place) for name, data in sorted(files.items()) for place in range(len(data))]
    for number in range(cases):
        turn, (name, place) = number // len(places), places[number % len(places)]
        kind = KINDS[turn % len(KINDS)]
        yield Damage(name, kind, place, 1 << random.randrange(8) if kind == "bit" else random.randrange(1, 256))


def damaged(files: Files, damage: Damage) -> dict[str, bytes]:
    """`files` with the damage."""
    data, place = files[damage.file], damage.place
    before, after = data[:place], data[place + 1 :]
    changed = {
        "bit": before + bytes([data[place] ^ damage.value]) + after,
        "byte": before + bytes([data[place] ^ damage.value]) + after,
        "insert": before + bytes([damage.value]) + data[place:],
        "cut": before + after,
        "end": before,
    }[damage.kind]
    return {**files, damage.file: changed}


def with_digests(files: Files) -> dict[str, bytes]:
    """`files`, whose manifest has the sizes and digests of the others; a manifest that is no JSON stays as it is."""
    entries = {n: {"bytes": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in files.items() if n != MANIFEST}
    raw = files[MANIFEST].rstrip()
    return {**files, MANIFEST: raw[:-1] + b', "files": ' + json.dumps(entries).encode() + raw[-1:]}


def fuzz(files: Files, cases: int, seed: int = 1, tell: Callable[[str], None] = lambda line: None) -> Report:
    """Damages `files` in so many ways, and reads each in a child process. Failures are told as they are found."""
    report, whole = Report(), with_digests(files)
    child = _Child(report)
    for number, damage in enumerate(damages(files, cases, seed), 1):
        changed = damaged(files, damage)
        outcome, is_good = child.read(with_digests(changed))
        report.outcomes[outcome] += 1
        if not is_good:
            report.failures.append(f"{damage} of seed {seed}: {outcome}")
            tell(report.failures[-1])
        if damage.file != MANIFEST and not _is_refused({**whole, damage.file: changed[damage.file]}):
            report.failures.append(f"{damage} of seed {seed}: not refused by its digest")
            tell(report.failures[-1])
        if number % 1000 == 0:
            tell(f"{number} of {cases}: {dict(report.outcomes)}")
    child.end()
    return report


def _is_refused(files: Files) -> bool:
    try:
        bundle.parse(Path("small"), files)
    except BundleError:
        return True
    return False


class _Child:
    """A process that reads bundles, and another one after each crash."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._start()

    def read(self, files: Files) -> tuple[str, bool]:
        """What became of the bundle of `files`, and whether it was refused or harmless."""
        self._pipe.send(files)
        if not self._pipe.poll(_MOST_SECONDS):
            self.end()
            self._start()
            return "hung", False
        try:
            outcome, is_good, resident = self._pipe.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            self._start()
            return f"crashed with {code}", False
        self._report.most_bytes = max(self._report.most_bytes, resident)
        return outcome, is_good

    def end(self) -> None:
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._report.first_bytes = self._pipe.recv()


def _serve(pipe: Connection) -> None:
    """In the child: reads one bundle after the other."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _CHILD_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(os.devnull, "w") as nowhere:  # onnxruntime tells of each graph that it refuses
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    pipe.send(_resident())
    while True:
        files = pipe.recv()
        try:
            outcome, is_good = read(files), True
        except Exception as error:
            outcome, is_good = f"{type(error).__name__}: {str(error)[:300]}", False
        pipe.send((outcome, is_good, _resident()))


def _resident() -> int:
    """The most bytes of memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read(files: Files) -> str:
    """Reads a bundle as the service does: "refused" by its own error, or "harmless". Raises whatever else happens."""
    try:
        classifier = Classifier(bundle.parse(Path("small"), files), "cpu")
    except BundleError:
        return "refused"
    evidence = classifier.manifest.evidence
    predictions = classifier([*GOLDEN, OTHER], evidence=evidence)
    for place, prediction in enumerate(predictions):
        json.dumps(prediction.as_json(), allow_nan=False)
        assert abs(sum(prediction.probabilities.values()) - 1) < 1e-6
        if evidence and place < len(GOLDEN):
            _check_evidence(prediction)
    logits = [prediction.logits for prediction in predictions[: len(GOLDEN)]]
    np.testing.assert_allclose(logits, _golden_logits(), rtol=0, atol=2 * TOLERANCE, err_msg="another answer")
    token_ids = classifier.tokenizer.encode(OTHER).token_ids
    try:
        network = weights.read(classifier.tensors)
    except UnknownGraph:
        return "harmless"
    with np.errstate(all="ignore"):
        cell.traces(token_ids, network)  # what /inspect shows
    return "harmless"


def _check_evidence(prediction: Prediction) -> None:
    """The bias and all evidence together are the margin, a difference of two logits, as far as is checked of these."""
    evidence, logits = prediction.evidence, prediction.logits
    assert evidence is not None
    largest = max(logits)
    margin = largest - (sum(logits) - largest) / (len(logits) - 1)
    scale = max(map(abs, [*evidence.weights, evidence.bias]))
    assert abs(evidence.bias + sum(evidence.weights) - margin) <= 20 * TOLERANCE + 1e-4 * scale, "evidence"


@cache
def _golden_logits() -> list[list[float]]:
    return [golden["logits"] for golden in json.loads(small_files()[MANIFEST])["golden"]]


@click.command(context_settings={"show_default": True})
@click.option("--cases", type=click.IntRange(min=1), default=50_000, help="Bundles to damage and read.")
@click.option("--seed", type=int, default=1, help="Of an earlier run, for the same damages again.")
def main(cases: int, seed: int) -> None:
    """Reads damaged bundles; ends with code 1 where one was neither refused by name nor harmless."""
    files = small_files()
    report = fuzz(files, cases, seed, click.echo)
    told = ", ".join(f"{count} {outcome}" for outcome, count in report.outcomes.most_common(20))
    grown = (report.most_bytes - report.first_bytes) / 2**20
    click.echo(f"{cases} damages of {sum(map(len, files.values()))} bytes, seed {seed}: {told}")
    click.echo(f"{len(report.failures)} failures; the child's memory grew by {grown:.0f} MiB at the most")
    sys.exit(1 if report.failures else 0)


if __name__ == "__main__":
    main()
