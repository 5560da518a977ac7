"""Parquet: a folder of shards, which pyarrow, Spark, DuckDB and Ray read as one table. Needs the extra `tables`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.bulk.scorers import Stopped
from service.bulk.tables import TableError

PARTS = 16  # in a shard


def schema(source: Path | None, columns: Sequence[str], added: Sequence[tuple[str, type]]) -> bytes:
    """Arrow's schema, serialized: of a Parquet file's columns their own types, of others text. Raises Stopped."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise Stopped(
            "expected the extra `tables` to write Parquet, found no pyarrow: pip install '.[tables]' in the "
            "repository's folder, elsewhere pip install pyarrow"
        ) from None
    types = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
    known = {}
    if source is not None and _is_parquet(source):
        known = {field.name: field for field in pyarrow.parquet.read_schema(source)}
    old = [known.get(name) or pyarrow.field(name, pyarrow.string()) for name in columns]
    new = [pyarrow.field(name, types[kind]) for name, kind in added]
    content: bytes = pyarrow.schema([*old, *new]).serialize().to_pybytes()
    return content


def encode(schema: bytes, rows: Sequence[Sequence[Any]]) -> bytes:
    """A record batch of `rows`. Raises TableError where a value has another type than its column."""
    import pyarrow

    fields = pyarrow.ipc.read_schema(pyarrow.py_buffer(schema))
    columns = []
    for field, values in zip(fields, zip(*rows, strict=True), strict=True):
        given: Sequence[Any] = [_text(v) for v in values] if field.type == pyarrow.string() else values
        try:
            columns.append(pyarrow.array(given, field.type))
        except pyarrow.ArrowException as error:
            raise TableError(f"column {field.name}: expected {field.type}, found another value ({error})") from None
    content: bytes = pyarrow.record_batch(columns, schema=fields).serialize().to_pybytes()
    return content


def write(path: Path, schema: bytes, batches: Sequence[bytes]) -> None:
    """Writes a shard of `batches`, whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    fields = pyarrow.ipc.read_schema(pyarrow.py_buffer(schema))
    read = [pyarrow.ipc.read_record_batch(pyarrow.py_buffer(batch), fields) for batch in batches if batch]
    new = path.with_suffix(".new")
    pyarrow.parquet.write_table(pyarrow.Table.from_batches(read, fields), new)
    new.rename(path)


def _is_parquet(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _text(value: Any) -> str | None:
    from service.bulk.layout import cell

    return None if value is None else cell(value)
