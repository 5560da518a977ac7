"""Rows of texts from files as people have them: CSV and its relatives, JSON, Parquet and Excel, packed or in folders.

`read` streams in bounded memory and gives each row its place. Python's csv and json, pyarrow and calamine parse; this
package judges what is odd: encodings, delimiters, headers, quotes, missing values. What it guesses or repairs it notes.

| module | does |
| --- | --- |
| `rows` | what goes in and comes out: `Reading`, `Row`, `BadRow`, `Tally`, `TableError` |
| `files` | what stands at a path: a file, a folder's files, a zip's; by content |
| `encodings` | bytes to characters |
| `delimited`, `quotes` | CSV and its relatives: delimiter and header; records and their quotes |
| `json_rows`, `columnar` | JSON lines and arrays; Parquet and Excel |
| `columns`, `cells` | which columns; a cell's text or label |
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from service.bulk.tables import columns, files, json_rows
from service.bulk.tables.cells import label_of, text_of
from service.bulk.tables.columnar import Parquet, sheets
from service.bulk.tables.delimited import Delimited
from service.bulk.tables.encodings import Text
from service.bulk.tables.files import is_tar
from service.bulk.tables.rows import JUDGED, BadRow, Fault, Position, Reading, Row, Table, TableError, Tally

__all__ = [
    "JUDGED",
    "BadRow",
    "Position",
    "Reading",
    "Row",
    "TableError",
    "Tally",
    "is_tar",
    "label_of",
    "read",
    "tables_at",
]


def tables_at(path: Path, notes: Tally | None = None) -> list[Path]:
    """The file `path`, or the tables in the folder `path`, as `read` reads them, in its order. Raises TableError."""
    return files.find(path, notes or Tally())


def read(
    source: Path | IO[bytes],
    reading: Reading = JUDGED,
    *,
    labelled: bool = True,
    every_column: bool = True,
    notes: Tally | None = None,
    position: Position | None = None,
) -> Iterator[Row | BadRow]:
    """Yields the rows at `source`: a file, a folder, or an open binary file, which is read once.

    With `labelled` a row has a label or is a BadRow. Without `every_column` a Parquet file's other columns are not
    read. What was guessed, repaired or passed over is counted in `notes`, complete when the last row has been read;
    `position` follows the reading. Raises TableError where a file cannot be read, or where nobody could know how.
    """
    notes = Tally() if notes is None else notes
    position = Position() if position is None else position
    sources: list[Path] | list[IO[bytes]] = files.find(source, notes) if isinstance(source, Path) else [source]
    position.total = sum(found.stat().st_size for found in sources if isinstance(found, Path))
    for found in sources:
        try:
            position.begin(found.stat().st_size if isinstance(found, Path) else 0)
            for opened in files.opened(found, notes):
                position.inside = opened.share(position.size)
                for name, table, chosen in _tables(opened, reading, labelled, notes):
                    if isinstance(table, Parquet):
                        position.inside = table.share
                    yield from _rows(name, table, chosen, every_column, notes)
            position.inside = lambda: 1.0  # the file is closed
        except FileNotFoundError:
            raise TableError(f"{found}: expected the file that was there before, found none: restore it") from None
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
            what = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise TableError(
                f"{found}: expected a readable file, found a damaged one ({what}): write it again"
            ) from error


def _tables(
    opened: files.Opened, reading: Reading, labelled: bool, notes: Tally
) -> Iterator[tuple[str, Table, columns.Columns]]:
    """The table in an open file, with its columns; of a workbook every sheet that has them. Raises TableError."""
    file, binary, kind = opened
    where = str(file.path or file.name)
    if kind == "excel":
        assert file.path is not None
        found = sheets(file.path, reading.header)
        failures = []
        for sheet_name, sheet in found:
            name = f"{file.name}[{sheet_name}]"
            try:
                chosen = columns.choose(sheet, name, f"{where}[{sheet_name}]", reading, labelled, notes)
            except TableError as error:
                failures.append((name, error))
                continue
            yield name, sheet, chosen
        if len(failures) == len(found):
            raise failures[0][1]
        for name, _ in failures:
            notes.add(f"{file.name}: sheets without the columns, not read", name)
        return
    table: Table
    if kind == "parquet":
        assert file.path is not None
        table = Parquet(file.path)
    else:
        text = Text(binary, file.name, reading.encoding, notes)
        if not text.beginning:
            raise TableError(f"{where}: expected a table, found an empty file")
        if json_rows.looks_like(text, file):
            table = json_rows.JsonRows(text, file)
        else:
            table = Delimited(text, file, reading, columns.known(reading), notes)
    yield file.name, table, columns.choose(table, file.name, where, reading, labelled, notes)


def _rows(name: str, table: Table, chosen: columns.Columns, every_column: bool, notes: Tally) -> Iterator[Row | BadRow]:
    for line, values in table.rows(chosen.label, None if every_column else chosen.all()):
        if isinstance(values, Fault):
            yield BadRow(name, line, values.reason)
            continue
        row = _row(name, line, values, chosen)
        label = None if chosen.label is None else values.get(chosen.label)
        if isinstance(row, Row) and isinstance(label, str) and label != label.strip():
            notes.add("blanks around labels, left out", row.place)
        yield row


def _row(name: str, line: int, values: Mapping[str, Any], chosen: columns.Columns) -> Row | BadRow:
    """The row with its text, joined of several columns where so chosen, and its label."""
    texts = [text_of(_value(values, column)) for column in chosen.texts]
    found = [text for text in texts if isinstance(text, str)]
    if not found:
        assert isinstance(texts[0], Fault)
        return BadRow(name, line, texts[0].reason)
    label = None if chosen.label is None else label_of(_value(values, chosen.label))
    if isinstance(label, Fault):
        return BadRow(name, line, label.reason)
    group = None if chosen.group is None else _value(values, chosen.group)
    return Row(name, line, "\n".join(found), label, None if group is None else str(group), values)


def _value(values: Mapping[str, Any], column: str) -> Any:
    """The value of a column; a name with dots leads into nested objects."""
    if column in values or "." not in column:
        return values.get(column)
    value: Any = values
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
