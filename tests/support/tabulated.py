"""Runs `ovation score`, and reads what it wrote."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.model.classifier import Classifier

ROOT = Path(__file__).parents[2]
ANSWER = ("label", "score", "uncertain", "tokens", "truncated", "negative", "positive")


def command(*arguments: str | Path) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "service", "score", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Without a proxy, and with the repository's packages from any folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"}


def score(*arguments: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Runs the command to its end."""
    return subprocess.run(
        command(*arguments), input=stdin, capture_output=True, check=False, env=environment(), timeout=100
    )


def written(path: Path) -> list[dict[str, Any]]:
    """The rows of OUT; from CSV and TSV all values are strings."""
    if path.is_dir():
        import pyarrow.parquet

        rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
        return rows
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    if ".jsonl" in path.name:
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if ".tsv" in path.name else ","))


def answers(classifier: Classifier, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The columns that are added, by the classifier's own answers."""
    found = []
    for text in texts:
        [one] = classifier([text])
        values = (one.label, one.score, one.uncertain, one.tokens, one.truncated, *one.probabilities.values())
        found.append(dict(zip(ANSWER, values, strict=True)))
    return found


def as_text(row: dict[str, Any]) -> dict[str, str]:
    """A row as CSV has it."""
    return {name: json.dumps(value) if not isinstance(value, str) else value for name, value in row.items()}
