"""Parquet and Excel: formats whose libraries are extras, imported only where such a file is read."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from service.bulk.tables.columns import distinct
from service.bulk.tables.rows import Fault, TableError

_BATCH_ROWS = 1024
_BUFFER_BYTES = 2**20  # of each column; else a row group, which may be most of the file, is read at once


class Parquet:
    """A Parquet file. Raises TableError where pyarrow is missing or the file is damaged."""

    hint = ""

    def __init__(self, path: Path) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise TableError(_missing(path, "Parquet", "tables", "pyarrow")) from None
        self._path, self._error = path, pyarrow.ArrowException
        try:
            with pyarrow.parquet.ParquetFile(path) as table:
                names = [_dotted(field, pyarrow) for field in table.schema_arrow]
                self._count: int = table.metadata.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            raise TableError(f"{path}: expected a whole Parquet file, found it damaged ({error})") from error
        self.columns = [name for group in names for name in group]
        self._read = 0

    def share(self) -> float:
        """The share of the rows that was read."""
        return self._read / max(1, self._count)

    def rows(self, label: str | None, only: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
        """See `Table`."""
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(self._path, buffer_size=_BUFFER_BYTES) as table:
                names = set(table.schema_arrow.names)
                chosen = [name if name in names else name.split(".")[0] for name in only] if only else None
                for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=chosen):
                    for row in batch.to_pylist():
                        self._read += 1
                        yield self._read, row
        except self._error as error:
            raise TableError(f"{self._path}: expected a whole Parquet file, found it damaged ({error})") from error


class Sheet:
    """One sheet of an Excel workbook; its first row that is not empty is the header."""

    hint = ""

    def __init__(self, sheet: Any, header: bool) -> None:
        self._rows = iter(enumerate(sheet.iter_rows(), 1))
        first: list[Any] = []
        self._ahead: tuple[int, list[Any]] | None = None
        for number, cells in self._rows:
            if any(cell not in ("", None) for cell in cells):
                first, self._ahead = cells, (number, cells)
                break
        self.columns = [str(cell).strip() for cell in first]
        if header:
            self._ahead = None
        else:
            self.columns = [str(number + 1) for number in range(len(first))]

    def rows(self, label: str | None, only: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
        """See `Table`."""
        keys = distinct(self.columns)
        for number, cells in chain([self._ahead] if self._ahead else [], self._rows):
            if any(cell not in ("", None) for cell in cells):
                yield number, dict(zip(keys, cells, strict=True))


def sheets(path: Path, header: bool) -> list[tuple[str, Sheet]]:
    """The sheets of a workbook that are not empty, by name. Raises TableError."""
    try:
        import python_calamine
    except ImportError:
        raise TableError(_missing(path, "Excel", "excel", "python-calamine")) from None
    try:
        book = python_calamine.load_workbook(path)
        found = [(name, Sheet(book.get_sheet_by_name(name), header)) for name in book.sheet_names]
    except (python_calamine.CalamineError, OSError) as error:
        raise TableError(f"{path}: expected a whole Excel file, found it damaged ({error})") from error
    found = [(name, sheet) for name, sheet in found if sheet.columns]
    if not found:
        raise TableError(f"{path}: expected a sheet with rows, found only empty ones")
    return found


def _missing(path: Path, what: str, extra: str, package: str) -> str:
    return (
        f"{path}: expected the extra `{extra}` to read {what}, found no {package}: pip install '.[{extra}]' in the "
        f"repository's folder, elsewhere pip install {package}"
    )


def _dotted(field: Any, pyarrow: Any, prefix: str = "") -> list[str]:
    if pyarrow.types.is_struct(field.type):
        return [name for inner in field.type for name in _dotted(inner, pyarrow, f"{prefix}{field.name}.")]
    return [prefix + field.name]
