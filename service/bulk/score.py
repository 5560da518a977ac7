"""`ovation score IN OUT`: every row of a table with its answer, on one machine."""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import IO, Any, get_args

import service
from service import cgroup
from service.bulk import parts, shards, tables
from service.bulk.layout import ANSWER, SENTENCE, Format, Layout
from service.bulk.output import Kept, Piped
from service.bulk.parts import Part
from service.bulk.processes import scored
from service.bulk.progress import Progress
from service.bulk.scorers import Source, Stopped
from service.bulk.tables import Position, Reading, Row, TableError, Tally
from service.bulk.work import Counts

PIPE = "-"
SUFFIXES: dict[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
}  # fmt: skip
TYPES = {"label": str, "score": float, "uncertain": bool, "tokens": int, "truncated": bool,
          "sentence": str, "start": int, "end": int}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What is asked for."""

    read: str  # a path, or PIPE
    write: str  # a path, or PIPE
    source: Source
    reading: Reading
    prefix: str = ""
    format: Format | None = None  # None: by the name of `write`
    sentences: bool = False
    replace: bool = False
    workers: int | None = None  # None: one a core


@dataclass(frozen=True)
class Summary:
    """What came of it."""

    counts: Counts
    rejected: Path | None  # where the rejected rows are
    seconds: float  # of this run
    rate: float  # rows a second of this run


def score(job: Job) -> Summary:
    """Scores all rows, or goes on where an earlier run of the same job was ended. Raises Stopped, TableError.

    Rows in work at a time: 512 a part, and two parts a process; they are lost when it is killed, and scored again.
    """
    format, packed = _format(job)
    _check_place(job)
    model = job.source.model()
    source = _source(job)
    notes, position = Tally(), Position()
    read: Path | IO[bytes] = sys.stdin.buffer if job.read == PIPE else Path(job.read)
    rows = parts.cut(tables.read(read, job.reading, labelled=False, notes=notes, position=position))
    first, rows = _first(rows, job)
    layout = _layout(job, format, packed, first, model.labels)
    told = set(notes.counts)
    for line in notes.lines():
        _tell(line)
    output = Piped(layout) if job.write == PIPE else _kept(job, layout, model.name, source)
    if output.parts:
        _tell(f"going on after {output.counts.rows:,} rows")
    progress = Progress(position)
    rows = islice(rows, output.parts, None)
    following = next(rows, None)  # what is there already is read past now
    progress.begin()
    left = chain(() if following is None else (following,), rows)
    for done in scored(left, layout, job.source, model, job.workers or cgroup.cores()):
        output.write(done)
        progress.add(done.counts.rows, output.counts.rows)
    progress.end()
    if _is_changed(job, source):
        raise Stopped(f"{job.read}: expected a table that stays as it is, found it changed since: --force starts over")
    late = Counter({what: count for what, count in notes.counts.items() if what not in told})
    for line in Tally(late, notes.places).lines():
        _tell(line)
    return Summary(output.counts, output.finish(), progress.seconds, progress.rate)


def _first(rows: Iterator[Part], job: Job) -> tuple[list[Row], Iterator[Part]]:
    """The first rows that can be used, by which the columns are known, and all parts. Raises Stopped."""
    seen = list[Part]()
    for part in rows:
        seen.append(part)
        if usable := [row for row in part if isinstance(row, Row)]:
            return usable, chain(seen, rows)
    where = "standard input" if job.read == PIPE else job.read
    reasons = sorted({row.reason for part in seen for row in part if not isinstance(row, Row)})
    found = f"none that can be used ({'; '.join(reasons[:3])})" if reasons else "none"
    raise Stopped(f"{where}: expected rows with texts, found {found}")


def _layout(job: Job, format: Format, packed: bool, first: list[Row], labels: tuple[str, ...]) -> Layout:
    """The columns. Raises Stopped where an old name is a new one, too."""
    columns = tuple(dict.fromkeys(name for row in first for name in row.values))
    layout = Layout(format, packed, columns, labels, job.prefix, job.sentences)
    if clash := [name for name in layout.added if name in columns]:
        raise Stopped(
            f"expected new names for the answer's columns, found {', '.join(clash)} in the table, too: --prefix names "
            f"those of the answer otherwise, such as --prefix predicted_"
        )
    if repeated := {name for name in layout.added if layout.added.count(name) > 1}:
        raise Stopped(f"expected labels other than {', '.join((*SENTENCE, *ANSWER))}, found {', '.join(repeated)}")
    if format == "parquet":
        names = (*(SENTENCE if job.sentences else ()), *ANSWER, *labels)
        added = [(name, TYPES.get(kind, float)) for name, kind in zip(layout.added, names, strict=True)]
        read = None if job.read == PIPE else Path(job.read)
        return replace(layout, schema=shards.schema(read, columns, added))
    return layout


def _format(job: Job) -> tuple[Format, bool]:
    """The format of OUT, and whether it is packed. Raises Stopped."""
    path = PurePosixPath(job.write.lower())
    packed = path.suffix == ".gz"
    suffix = PurePosixPath(path.stem).suffix if packed else path.suffix
    format = job.format or SUFFIXES.get(suffix)
    if format is None and job.write == PIPE:
        read = PurePosixPath(job.read.lower().removesuffix(".gz")).suffix
        format = SUFFIXES.get(read, "csv") if read != ".parquet" else "csv"
    if format is None:
        raise Stopped(
            f"{job.write}: expected a name that ends in {', '.join(SUFFIXES)} (text also in .gz), found another: "
            f"--format names one of {', '.join(get_args(Format))}"
        )
    if format == "parquet" and (packed or job.write == PIPE):
        raise Stopped(f"{job.write}: expected a folder for Parquet, found {'a pipe' if job.write == PIPE else '.gz'}")
    return format, packed


def _check_place(job: Job) -> None:
    if job.write == PIPE:
        return
    if not (folder := Path(job.write).parent).is_dir():
        raise Stopped(f"{job.write}: expected a folder to write it in, found none at {folder}: make it")
    if not Path(job.write).exists():
        return
    read = [] if job.read == PIPE else [Path(job.read), *tables.tables_at(Path(job.read))]
    if any(path.samefile(job.write) for path in read):
        raise Stopped(f"{job.write}: expected another OUT than IN, whose rejected rows would be lost, found the same")
    if not job.replace:
        raise Stopped(f"{job.write}: expected no such file (--force replaces it), found one: it is finished")


def _is_changed(job: Job, source: list[list[Any]] | None) -> bool:
    """Whether IN is another than it was; one that was removed was read to its end before."""
    try:
        return _source(job) != source
    except TableError:
        return False


def _source(job: Job) -> list[list[Any]] | None:
    """The files of IN, each with its size and time; None of a pipe. Raises TableError."""
    if job.read == PIPE:
        return None
    stats = [(path.name, path.stat()) for path in tables.tables_at(Path(job.read))]
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]


def _kept(job: Job, layout: Layout, model: str, source: Any) -> Kept:
    """OUT as a file or folder; its settings are all that its bytes depend on."""
    settings = {
        "file": source,
        "model": model,
        "version": service.__version__,
        "reading": asdict(job.reading),
        "columns": [*layout.columns, *layout.added],
        "format": layout.format,
        "sentences": layout.sentences,
    }
    return Kept(Path(job.write), layout, settings, job.read != PIPE, job.replace)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
