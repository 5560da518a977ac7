"""Rows of CSV, TSV, JSON-lines and Parquet files, with the place of each."""

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

import pyarrow
import pyarrow.parquet

SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")

Row = dict[str, Any] | str  # a str: why the row cannot be used


class TableError(Exception):
    """A table that cannot be read at all."""


def rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Yields (place, row) with the `columns` of each row, or why a row is unusable. Raises TableError."""
    packed = path.suffix == ".gz"
    suffix = Path(path.stem).suffix if packed else path.suffix
    if suffix not in SUFFIXES or (packed and suffix == ".parquet"):
        raise TableError(
            f"{path}: expected aclImdb_v1.tar.gz, its folder, or a file that ends in {', '.join(SUFFIXES)} "
            f"(all but the last also with .gz), found {path.suffix or 'no suffix'}"
        )
    try:
        if suffix == ".parquet":
            yield from _parquet(path, columns)
            return
        with gzip.open(path) if packed else path.open("rb") as binary:
            # What is not UTF-8 comes through as lone surrogates, so that only its own row is lost.
            text = io.TextIOWrapper(cast("IO[bytes]", binary), "utf-8-sig", errors="surrogateescape", newline="")
            if suffix in (".csv", ".tsv"):
                yield from _separated(path, text, "\t" if suffix == ".tsv" else ",", columns)
            else:
                yield from _json_lines(path, text, columns)
    except (OSError, EOFError) as error:
        raise TableError(f"{path}: expected a readable file, found a damaged one ({error})") from error


def _require(path: Path, columns: Sequence[str], found: Sequence[str]) -> None:
    if missing := [column for column in columns if column not in found]:
        raise TableError(
            f"{path}: expected the columns {', '.join(columns)}; {', '.join(missing)} not found among "
            f"{', '.join(map(str, found))} (name yours with --text-column, --label-column, --group-column)"
        )


def _separated(path: Path, text: IO[str], delimiter: str, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(text, delimiter=delimiter)
    header = next(reader, [])
    _require(path, columns, header)
    places = [header.index(column) for column in columns]
    while True:
        line = reader.line_num + 1  # where the row starts; a quoted field may hold line breaks
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield f"{path.name}:{line}", str(error)
            continue
        if not row:
            continue  # an empty line is no row
        if len(row) != len(header):
            yield f"{path.name}:{line}", f"wrong field count (expected {len(header)}, found {len(row)})"
        else:
            yield f"{path.name}:{line}", {c: row[place] for c, place in zip(columns, places, strict=True)}


def _json_lines(path: Path, text: IO[str], columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    required = False
    # Python's own line iteration splits at \n alone, as JSON lines do.
    for number, line in enumerate(text, 1):
        place = f"{path.name}:{number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield place, f"invalid JSON ({error})"
            continue
        if not isinstance(row, dict):
            yield place, f"expected a JSON object, found {type(row).__name__}"
            continue
        if not required:
            _require(path, columns, list(row))
            required = True
        yield place, {column: row.get(column) for column in columns}


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Row]]:
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            _require(path, columns, table.schema_arrow.names)
            number = 0
            for batch in table.iter_batches(batch_size=1024, columns=list(columns)):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}: row {number}", row
    except pyarrow.ArrowException as error:
        raise TableError(f"{path}: expected a Parquet file, found {error}") from error
