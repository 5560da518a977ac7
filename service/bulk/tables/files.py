"""The files at a path, opened: a file, the files of a folder or of a zip, unpacked by content."""

import gzip
import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from service.bulk.tables.rows import TableError, Tally

SUFFIXES = (
    *(".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"),
    ".zip",
)
_KNOWN = "CSV, TSV, JSON lines, a JSON array, Parquet or Excel, also as .gz or .zip"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
# Files that are something else, by their first bytes; `remedy` says how to make a table of one.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"BZh9", "a bzip2 file", "unpack it"),
    (b"\xfd7zXZ", "an xz file", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", "unpack it"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
    (b"%PDF", "a PDF", "copy its texts into a CSV"),
    (b"\x89PNG", "a picture", "pass the table itself"),
    (b"\xff\xd8\xff", "a picture", "pass the table itself"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (b"ARROW1", "an Arrow (Feather) file", "write it as Parquet"),
    (b"\x93NUMPY", "a NumPy array", "write it as CSV"),
    (b"\x80\x04", "a pickle, which is never loaded", "write it as CSV or Parquet"),
    (b"\x80\x05", "a pickle, which is never loaded", "write it as CSV or Parquet"),
    (b"Obj\x01", "an Avro file", "write it as Parquet"),
)


class File(NamedTuple):
    """One file that should hold a table."""

    name: str  # for people, without the folders that lead to it
    suffix: str  # in lower case, without .gz
    open: Callable[[], Any]  # -> a binary file that has `peek`
    path: Path | None  # None inside an archive


class Opened(NamedTuple):
    """An open file and what its first bytes say that it is."""

    file: File
    binary: Any
    kind: str  # "parquet", "excel" or "text"

    def share(self, size: int) -> Callable[[], float] | None:
        """Tells which share of the `size` bytes of a file of text was read; None for all that is read otherwise."""
        if self.kind != "text" or self.file.path is None or not size:
            return None
        packed = getattr(self.binary, "fileobj", self.binary)  # of a gzip file what is read of it
        return lambda: float(packed.tell()) / size


def find(path: Path, notes: Tally) -> list[Path]:
    """`path`, or the tables of the folder `path` in sorted order. Raises TableError."""
    if _URL.match(str(path)):
        shown = re.sub(r":/+", "://", str(path), count=1)  # Path has made one slash of two
        raise TableError(f"{shown}: expected a file or folder on this machine, found a URL: download it first")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise TableError(f"{path}: expected a file or folder of reviews, found nothing: check the path") from None
    except OSError as error:
        raise TableError(f"{path}: expected a readable file, found: {error.strerror}") from error
    if stat.S_ISREG(mode):
        return [path]
    if not stat.S_ISDIR(mode):
        kind = "a FIFO (a pipe)" if stat.S_ISFIFO(mode) else "a device or a socket"
        raise TableError(
            f"{path}: expected a file, found {kind}: data is read more than once, so write it to a file first"
        )
    inside = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path).as_posix()))
    tables = [p for p in inside if _suffix(p.name) in SUFFIXES]
    if not tables:
        found = ", ".join(p.name for p in inside[:3]) + (", ..." if len(inside) > 3 else "")
        raise TableError(f"{path}: expected a folder with tables ({_KNOWN}), found {found or 'an empty folder'}")
    for other in inside:
        if _suffix(other.name) not in SUFFIXES:
            notes.add(f"{path.name}: files that are no tables, not read", other.name)
    return tables


def opened(source: Path | IO[bytes], notes: Tally) -> Iterator[Opened]:
    """The tables in one file, each open until the next is asked for. Raises TableError; OSError where damaged."""
    with ExitStack() as stack:
        if not isinstance(source, Path):
            binary = source if hasattr(source, "peek") else io.BufferedReader(source)  # type: ignore[type-var]
            yield _judged(File("<stdin>", "", lambda: binary, None), binary, stack)
            return
        file = File(source.name, _suffix(source.name), lambda: source.open("rb"), source)
        binary = stack.enter_context(file.open())
        start = binary.peek(8)[:8]
        if not start:
            raise TableError(f"{source}: expected a table, found an empty file")
        if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):  # the second: a zip of nothing
            yield from _zipped(source, file, binary, notes)
        else:
            yield _judged(file, binary, stack)


def _zipped(path: Path, file: File, binary: Any, notes: Tally) -> Iterator[Opened]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.startswith("xl/") for name in names) or "content.xml" in names:
            yield Opened(file, binary, "excel")
            return
        if "word/document.xml" in names:
            raise TableError(f"{path}: expected a table, found a Word document: save its table as CSV")
        tables = [n for n in sorted(names) if not n.endswith("/") and not _hidden(n)]
        others = [name for name in tables if _suffix(name) not in (*SUFFIXES, ".txt")]
        tables = [name for name in tables if name not in others]
        if not tables:
            raise TableError(f"{path}: expected a zip of tables ({_KNOWN}), found {', '.join(others[:3]) or 'nothing'}")
        for name in others:
            notes.add(f"{path.name}: files that are no tables, not read", name)
        for name in tables:
            if archive.getinfo(name).flag_bits & 1:
                raise TableError(f"{path}: expected a zip without a password, found {name} encrypted: unpack it")
            with ExitStack() as stack:
                member = stack.enter_context(archive.open(name))
                inner = File(f"{path.name}/{name}", _suffix(name), lambda: None, None)
                yield _judged(inner, member, stack)


def _judged(file: File, binary: Any, stack: ExitStack) -> Opened:
    """`file` by its content; gzip is unpacked on the way. Raises TableError where it is something else."""
    start: bytes = binary.peek(8)[:8]
    path = file.path
    if start.startswith(b"\x1f\x8b"):
        binary, path = stack.enter_context(gzip.GzipFile(fileobj=binary)), None
        start = binary.peek(8)[:8]
    where = file.path or file.name
    if not start:
        raise TableError(f"{where}: expected a table, found an empty file")
    if start[:4] == b"PAR1" or start[:4] == b"\xd0\xcf\x11\xe0" or start[:4] == b"PK\x03\x04":
        kind = "parquet" if start[:4] == b"PAR1" else "excel"
        if path is None:
            name = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip or an Excel file"}.get(start[:4], "an Excel file")
            raise TableError(f"{where}: expected {name} on its own, found it packed: unpack it first")
        return Opened(file, binary, kind)
    if file.suffix in (".parquet", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".zip"):
        raise TableError(f"{where}: expected what {file.suffix} stands for, found something else: check the file")
    for magic, name, remedy in _OTHERS:
        if start.startswith(magic):
            raise TableError(f"{where}: expected a table ({_KNOWN}), found {name}: {remedy}")
    if _is_tar(binary):
        raise TableError(f"{where}: expected a table ({_KNOWN}), found a tar archive: unpack it and pass its files")
    return Opened(file, binary, "text")


def _is_tar(binary: Any) -> bool:
    return bytes(binary.peek(512)[257:262]) == b"ustar"


def is_tar(path: Path) -> bool:
    """Whether the file `path` is a tar archive, packed or not, by its content."""
    try:
        return path.is_file() and tarfile.is_tarfile(path)
    except (OSError, EOFError):
        return False


def _suffix(name: str) -> str:
    lower = PurePosixPath(name.lower())
    return PurePosixPath(lower.stem).suffix if lower.suffix == ".gz" else lower.suffix


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
