"""`ovation score --engine ray`: Ray Data reads, scores and writes on a cluster. Needs the extra `ray`.

A row that cannot be scored stays where it is, with the reason in `rejected` and no answer. A task whose node is lost
runs again on another.
"""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from time import monotonic
from typing import Any

from service.bulk import parts
from service.bulk.layout import ANSWER, SENTENCE
from service.bulk.score import PIPE, SUFFIXES, TYPES, Job
from service.bulk.scorers import MAX_CHARACTERS, Answer, Model, Source, Stopped
from service.bulk.tables import Reading, Tally, columns
from service.bulk.tables.cells import text_of
from service.bulk.tables.rows import Fault
from service.bulk.work import Span, spans

_REJECTED = "rejected"
_BLOCK_BYTES = 2**24  # of a CSV that are read at once; a row must fit in


def score(job: Job) -> None:
    """Scores all rows on the cluster that RAY_ADDRESS names, or that runs here. Raises Stopped, TableError."""
    try:
        import pyarrow
        import ray
        import ray.data
    except ImportError:
        raise Stopped(
            "expected the extra `ray` for --engine ray, found no Ray: pip install '.[ray]' in the repository's folder, "
            "elsewhere pip install 'ray[data]'"
        ) from None
    kind, written = _format(job.read), job.format or _format(job.write)
    if job.reading != Reading(text=job.reading.text) or job.workers is not None or job.write.endswith(".gz"):
        raise Stopped(
            "expected no --encoding, --delimiter, --quoting, --no-header and --workers and no OUT in .gz with "
            "--engine ray, found one: convert the table, or take --engine local"
        )
    model = job.source.model()
    began = monotonic()
    ray.init(log_to_driver=False)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = sys.stderr.isatty()
    try:
        rows = _read(kind, _files(job.read))
        names = list(rows.schema().names)
        texts = _texts(names, job)
        names_added = [*(SENTENCE if job.sentences else ()), *ANSWER, *model.labels, _REJECTED]
        added = [job.prefix + name for name in names_added]
        if clash := sorted(set(added) & set(names)):
            raise Stopped(f"expected new names for the answer's columns, found {', '.join(clash)}, too: --prefix")
        scored = rows.map_batches(
            Scoring,
            fn_constructor_args=(job.source, model, Columns(texts, tuple(added), model.labels, job.sentences)),
            batch_size=parts.MOST_ROWS,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=int(ray.cluster_resources()["CPU"])),
            num_cpus=1,
        )
        mode = ray.data.SaveMode.OVERWRITE if job.replace else ray.data.SaveMode.ERROR
        {"csv": scored.write_csv, "jsonl": scored.write_json, "parquet": scored.write_parquet}[written](
            job.write, mode=mode
        )
    except (ray.exceptions.RayError, pyarrow.ArrowException, ValueError, OSError) as error:
        raise Stopped(f"{job.read}: {_first_line(error)}") from error
    sys.stderr.write(f"{monotonic() - began:.1f} s\n")


@dataclass(frozen=True)
class Columns:
    """Which columns hold the text, and which are added."""

    texts: Sequence[str]
    added: tuple[str, ...]
    labels: tuple[str, ...]
    sentences: bool


class Scoring:
    """An actor: loads the bundle and verifies it once, then scores batches."""

    def __init__(self, source: Source, model: Model, columns: Columns) -> None:
        self._scorer, self._columns = source.open(model), columns

    def __call__(self, batch: Any) -> Any:
        """`batch` (a pyarrow.Table) with the columns of the answer."""
        import pyarrow

        values = zip(*(batch.column(name).to_pylist() for name in self._columns.texts), strict=True)
        texts = [self._text(of_row) for of_row in values]
        placed = [spans(text, self._columns.sentences) if isinstance(text, str) else [] for text in texts]
        items = [
            text[start:end]
            for text, found in zip(texts, placed, strict=True)
            for start, end in found
            if isinstance(text, str)
        ]
        answers = iter(self._scorer(items))
        places, new = list[int](), list[tuple[Any, ...]]()
        for place, (text, found) in enumerate(zip(texts, placed, strict=True)):
            rows = self._rows(text, [(span, next(answers)) for span in found])
            new += rows
            places += [place] * len(rows)
        table = batch.take(places)
        for name, kind, column in zip(self._columns.added, self._types(), zip(*new, strict=True), strict=True):
            table = table.append_column(name, pyarrow.array(column, kind))
        return table

    def _rows(self, text: str | Fault, scored: Sequence[tuple[Span, Answer | str]]) -> list[tuple[Any, ...]]:
        """The added columns of what becomes of a row: of each sentence that has an answer, else the reason alone."""
        if isinstance(text, Fault):
            return [(*[None] * (len(self._columns.added) - 1), text.reason)]
        rows = []
        for (start, end), answer in scored:
            if not isinstance(answer, str):
                sentence = (text[start:end], start, end) if self._columns.sentences else ()
                told = (answer.label, answer.score, answer.uncertain, answer.tokens, answer.truncated)
                rows.append((*sentence, *told, *(answer.probabilities[label] for label in self._columns.labels), None))
        reasons = [answer for _, answer in scored if isinstance(answer, str)]
        return rows or self._rows(Fault(reasons[0] if reasons else "no sentence"), ())

    def _types(self) -> list[Any]:
        import pyarrow

        known = {str: pyarrow.string(), float: pyarrow.float64(), int: pyarrow.int64(), bool: pyarrow.bool_()}
        names = (*(SENTENCE if self._columns.sentences else ()), *ANSWER)
        return [
            *(known[TYPES[name]] for name in names),
            *[pyarrow.float64()] * len(self._columns.labels),
            pyarrow.string(),
        ]

    def _text(self, values: Sequence[Any]) -> str | Fault:
        found = [text_of(value) for value in values]
        good = [text for text in found if isinstance(text, str)]
        if not good:
            return next(fault for fault in found if isinstance(fault, Fault))
        text = "\n".join(good)
        if len(text) > MAX_CHARACTERS:
            return Fault(f"expected a text of at most {MAX_CHARACTERS:,} characters, found {len(text):,}")
        return text


def _files(path: str) -> list[str]:
    """The files that a glob matches, in order: Ray takes paths alone. Raises Stopped."""
    from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem

    if not (glob := re.search(r"[*?\[]", path)):
        return [path]
    folder = path[: glob.start()].rpartition("/")[0] or "."
    pattern = path.removeprefix(f"{folder}/")
    scheme = re.match(r"\w+://", folder)
    system, root = FileSystem.from_uri(folder) if scheme else (LocalFileSystem(), folder)
    found = sorted(
        one.path
        for one in system.get_file_info(FileSelector(root, recursive=True))
        if one.type == FileType.File and _matches(one.path.removeprefix(root).lstrip("/"), pattern)
    )
    if not found:
        raise Stopped(f"{path}: expected a glob that matches files, found none: check it")
    return [f"{scheme[0] if scheme else ''}{one}" for one in found]


def _matches(path: str, pattern: str) -> bool:
    """Whether `path` matches, where no `*` reaches over a `/`."""
    return path.count("/") == pattern.count("/") and PurePosixPath(path).match(pattern)


def _read(kind: str, path: str | list[str]) -> Any:
    import pyarrow.csv
    import ray.data

    if kind == "parquet":
        return ray.data.read_parquet(path)
    if kind == "jsonl":
        return ray.data.read_json(path)
    options = {
        "parse_options": pyarrow.csv.ParseOptions(delimiter="\t" if kind == "tsv" else ",", newlines_in_values=True),
        "read_options": pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES),
    }
    names = ray.data.read_csv(path, **options).schema().names
    # Each value as it stands in the file: 007 is no number.
    as_text = pyarrow.csv.ConvertOptions(
        column_types={name: pyarrow.string() for name in names}, strings_can_be_null=False
    )
    return ray.data.read_csv(path, convert_options=as_text, **options)


@dataclass
class _Names:
    """The names of columns, as `columns.choose` takes them."""

    columns: list[str]
    hint: str = ""

    def rows(self, label: str | None, only: Sequence[str] | None) -> Any:
        """Ray reads the rows itself."""
        raise NotImplementedError


def _texts(names: list[str], job: Job) -> list[str]:
    notes = Tally()
    chosen = columns.choose(_Names(names), job.read, job.read, job.reading, False, notes)
    for line in notes.lines():
        sys.stderr.write(f"{line}\n")
    return chosen.texts


def _format(path: str) -> str:
    """The format by the name; a glob has one, too. Raises Stopped."""
    lower = path.lower().removesuffix(".gz").rstrip("/")
    found = SUFFIXES.get(PurePosixPath(lower).suffix)
    if path == PIPE or found is None:
        raise Stopped(f"{path}: expected a path or glob that ends in {', '.join(SUFFIXES)}, found another")
    return found


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).strip().splitlines()[::-1] if line.strip()), type(error).__name__)
