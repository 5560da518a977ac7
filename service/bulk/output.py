"""Where scored parts go: a pipe, or a file or folder that is complete or not there, and that a later run goes on with.

While OUT is written there is a folder OUT.partial: the rows, the rejected rows, and a journal of what is whole in them.
"""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from service.bulk import shards
from service.bulk.layout import Layout
from service.bulk.scorers import Stopped
from service.bulk.work import Counts, Done

REJECTED = ".rejected.jsonl"


class Rows(Protocol):
    """The rows as they are written; a mark is where a run may go on."""

    def resume(self, mark: int) -> bool:
        """Cuts off what was written after `mark`; whether all before is there."""

    def add(self, content: bytes) -> None:
        """Adds the rows of a part."""

    def mark(self) -> int:
        """The mark after the last part."""

    def close(self) -> None:
        """Writes what is left."""


class Appended:
    """Rows in one file; a mark is its length."""

    def __init__(self, path: Path, header: bytes = b"") -> None:
        self._header = header
        self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")

    def resume(self, mark: int) -> bool:
        """See `Rows`."""
        is_there = self._file.seek(0, os.SEEK_END) >= mark
        self._file.truncate(mark if is_there else 0)
        self._file.seek(0, os.SEEK_END)
        if self._file.tell() == 0:
            self._file.write(self._header)
        return is_there

    def add(self, content: bytes) -> None:
        """See `Rows`."""
        self._file.write(content)

    def mark(self) -> int:
        """See `Rows`."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """See `Rows`."""
        self._file.close()


class Sharded:
    """Rows in a folder of Parquet files; a mark is the number of parts.

    The parts of a shard that is not full wait as files in the folder `waiting`.
    """

    def __init__(self, folder: Path, waiting: Path, schema: bytes) -> None:
        self._folder, self._waiting, self._schema = folder, waiting, schema
        self._count = 0  # parts
        folder.mkdir(exist_ok=True)
        waiting.mkdir(exist_ok=True)

    def resume(self, mark: int) -> bool:
        """See `Rows`."""
        first = mark - mark % shards.PARTS  # of the parts that wait
        kept = {self._shard(number) for number in range(mark // shards.PARTS)}
        kept |= {self._part(number) for number in range(first, mark)}
        is_there = all(path.exists() for path in kept)
        self._count = mark if is_there else 0
        for path in (*self._folder.iterdir(), *self._waiting.iterdir()):
            if not is_there or path not in kept:
                path.unlink()
        return is_there

    def add(self, content: bytes) -> None:
        """See `Rows`."""
        if self._count % shards.PARTS == 0:
            # Only here: the journal has noted the shard that these parts are in by now.
            for path in self._waiting.iterdir():
                path.unlink()
        self._part(self._count).write_bytes(content)
        self._count += 1
        if self._count % shards.PARTS == 0:
            self._write(self._count - shards.PARTS)

    def mark(self) -> int:
        """See `Rows`."""
        return self._count

    def close(self) -> None:
        """See `Rows`."""
        if (left := self._count % shards.PARTS) or not self._count:
            self._write(self._count - left)

    def _write(self, first: int) -> None:
        """Writes the shard of the parts from `first` on."""
        batches = [self._part(number).read_bytes() for number in range(first, self._count)]
        shards.write(self._shard(first // shards.PARTS), self._schema, batches)

    def _shard(self, number: int) -> Path:
        return self._folder / f"part-{number:05}.parquet"

    def _part(self, number: int) -> Path:
        return self._waiting / f"{number:07}.batch"


class Kept:
    """The file or folder `out`. `settings` are all that its bytes depend on: with others a run does not go on.

    Raises Stopped where `out` is there, unless `replace`, or where another run writes it.
    """

    def __init__(self, out: Path, layout: Layout, settings: Mapping[str, Any], resumable: bool, replace: bool) -> None:
        self._out, self._settings = out, dict(settings)
        self._folder = partial(out)
        self._folder.mkdir(exist_ok=True)
        self._lock = _locked(self._folder)
        journal = self._journal(resumable, replace)
        rows = self._folder / "rows"
        self._rows: Rows = (
            Sharded(rows, self._folder / "waiting", layout.schema)
            if layout.format == "parquet"
            else Appended(rows, layout.header())
        )
        self._rejected = Appended(self._folder / "rejected")
        is_whole = [self._rows.resume(journal["mark"]), self._rejected.resume(journal["rejected"])]
        if not all(is_whole):
            journal = {**journal, "parts": 0, "counts": asdict(Counts())}
            self._rows.resume(0)
            self._rejected.resume(0)
        self.parts: int = journal["parts"]  # that were written by earlier runs
        self.counts = Counts(**journal["counts"])
        self._written = self.parts
        self._note()

    def write(self, done: Done) -> None:
        """Adds a part."""
        self._rows.add(done.content)
        self._rejected.add(done.rejected)
        self.counts.add(done.counts)
        self._written += 1
        self._note()

    def finish(self) -> Path | None:
        """Makes it `out`; returns the path of the rejected rows where there are some."""
        self._rows.close()
        self._rejected.close()
        rejected = self._out.with_name(self._out.name + REJECTED)
        rejected.unlink(missing_ok=True)
        if self.counts.rejected:
            shutil.copyfile(self._folder / "rejected", rejected)
        if self._out.is_dir():
            shutil.rmtree(self._out)
        (self._folder / "rows").rename(self._out)
        shutil.rmtree(self._folder)
        os.close(self._lock)
        return rejected if self.counts.rejected else None

    def _journal(self, resumable: bool, replace: bool) -> dict[str, Any]:
        new = {"settings": self._settings, "parts": 0, "mark": 0, "rejected": 0, "counts": asdict(Counts())}
        path = self._folder / "journal.json"
        if not path.exists():
            return new
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        others = {name for name, value in self._settings.items() if found["settings"].get(name) != value}
        if not others and resumable:
            return found
        if others and not replace:
            raise Stopped(
                f"{self._folder}: expected what an unfinished run of this command left, found that of one with another "
                f"{', '.join(sorted(others))}: --force starts over"
            )
        return new

    def _note(self) -> None:
        """Notes in the journal that all is whole so far."""
        journal = {
            "settings": self._settings,
            "parts": self._written,
            "mark": self._rows.mark(),
            "rejected": self._rejected.mark(),
            "counts": asdict(self.counts),
        }
        new = self._folder / "journal.new"
        new.write_text(json.dumps(journal), encoding="utf-8")
        new.replace(self._folder / "journal.json")


class Piped:
    """Standard output; rejected rows go to standard error."""

    def __init__(self, layout: Layout) -> None:
        self.parts, self.counts = 0, Counts()
        self._header = layout.header()

    def write(self, done: Done) -> None:
        """Adds a part. Raises BrokenPipeError where the reader has left."""
        sys.stdout.buffer.write(self._header + done.content)
        sys.stdout.buffer.flush()
        self._header = b""
        sys.stderr.buffer.write(done.rejected)
        sys.stderr.buffer.flush()
        self.counts.add(done.counts)

    def finish(self) -> Path | None:
        """All is written already."""
        return None


def partial(out: Path) -> Path:
    """The folder of what is not finished."""
    return out.with_name(out.name + ".partial")


def _locked(folder: Path) -> int:
    """A descriptor that keeps other runs away until it is closed. Raises Stopped where another run holds one."""
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.suppress(ImportError):  # not on Windows
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stopped(f"{folder}: expected no other run, found one that writes it: wait for its end") from None
    return descriptor
