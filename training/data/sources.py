"""Labelled reviews on disk, as a stream that can be read again and again in the same order.

A source is the Large Movie Review Dataset (its archive, read without unpacking, or its folder) or whatever
`service.bulk.tables` reads.
"""

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from service.bulk import tables
from service.bulk.tables import BadRow, Reading, TableError, Tally
from service.model.tokenizer import is_blank
from training.data.labels import UNCHANGED, LabelMap

_LABELS = {"neg": "negative", "pos": "positive", "unsup": None}
_FILE = re.compile(r"(?:.*/)?(train|test)/(neg|pos|unsup)/(\d+)_(\d+)\.txt")
_ARCHIVES = (".tar.gz", ".tgz", ".tar")


class DataError(Exception):
    """Data that cannot be used; the message says what was expected, what was found and what to do."""


class Review(NamedTuple):
    """One text and what is known of it."""

    text: str
    label: str | None  # None: unlabelled
    split: str | None = None  # "train", "test" or "unlabelled" where the source says so
    place: str = ""  # for messages: file and line
    number: int | None = None  # the file id, where the source numbers its reviews: those of one film stand together
    rating: int = 0  # stars, 1 to 10; 0: none
    group: str | None = None  # reviews of one group stay in one split


@dataclass
class Source:
    """Reviews in the file or folder `path`.

    Iterating raises DataError and, each time anew, fills `bad`, `notes` and `seen`.
    """

    path: Path
    reading: Reading = tables.JUDGED
    labels: LabelMap = UNCHANGED
    min_reviews: int = 0  # labels with fewer reviews are left out, by whoever has counted them
    labelled: bool = True  # False: the table's labels, if it has any, are not read
    bad: Tally = field(default_factory=Tally)  # rows that could not be used, by reason
    notes: Tally = field(default_factory=Tally)  # what was guessed, repaired or passed over
    seen: set[str] = field(default_factory=set)  # the table's labels, before they are renamed

    def __iter__(self) -> Iterator[Review]:
        self.bad, self.notes, self.seen = Tally(), Tally(), set()
        return self._imdb() if self.is_imdb else self._table()

    @property
    def is_imdb(self) -> bool:
        """Whether this is the Large Movie Review Dataset, as an archive (any tar, whatever its name) or a folder."""
        if self.path.is_dir():
            return any(True for _ in _folder(self.path))
        return tables.is_tar(self.path) or (self.path.name.endswith(_ARCHIVES) and self.path.is_file())

    def digest(self) -> str:
        """SHA-256 of the file's bytes, or of a folder's names and contents in sorted order. Raises DataError."""
        try:
            files = [self.path] if self.is_imdb else tables.tables_at(self.path)
            if self.path.is_file():
                with self.path.open("rb") as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            total = hashlib.sha256()
            for path in sorted(self.path.rglob("*.txt")) if self.is_imdb else files:
                total.update(path.relative_to(self.path).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        except (TableError, OSError) as error:
            raise DataError(str(error)) from error
        return total.hexdigest()

    def _imdb(self) -> Iterator[Review]:
        found = _folder(self.path) if self.path.is_dir() else _archive(self.path)
        # Sorted, so that an archive and its folder, in whatever order they list their files, give the same run.
        keyed = sorted((match[1], match[2], int(match[3]), int(match[4]), read()) for match, read in found)
        for split, folder, number, rating, raw in keyed:
            label, place = _LABELS[folder], f"{split}/{folder}/{number}_{rating}.txt"
            text = raw.decode("utf-8", "surrogateescape")
            if reason := _unusable(text):
                self.bad.add(reason, place)
                continue
            yield Review(text, label, split if label else "unlabelled", place, number, rating if label else 0)

    def _table(self) -> Iterator[Review]:
        rows = tables.read(self.path, self.reading, labelled=self.labelled, every_column=False, notes=self.notes)
        try:
            for row in rows:
                if isinstance(row, BadRow):
                    self.bad.add(row.reason, row.place)
                    continue
                label = None
                if row.label is not None:
                    self.seen.add(row.label)
                    label = self.labels.apply(row.label)
                    if label is None:
                        self.bad.add(f"the label {row.label} is left out by --map-labels", row.place)
                        continue
                yield Review(row.text, label, None if self.labelled else "unlabelled", row.place, group=row.group)
        except TableError as error:
            raise DataError(str(error)) from error


def _unusable(text: str) -> str | None:
    """Why a text of the film reviews cannot be used, or None."""
    if is_blank(text):
        return "no text"
    return "bad encoding (expected UTF-8)" if any("\ud800" <= c <= "\udfff" for c in text) else None


def _archive(path: Path) -> Iterator[tuple[re.Match[str], Callable[[], bytes]]]:
    others: list[str] = []
    none = True
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file and (match := _FILE.fullmatch(member.name)):
                    none = False
                    content = file.read()
                    yield match, lambda content=content: content  # type: ignore[misc]
                elif file and len(others) < 3:
                    others.append(member.name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path}: expected a whole tar archive, found a damaged one ({error})") from error
    if none:
        raise DataError(
            f"{path}: expected files such as train/pos/0_9.txt (the Large Movie Review Dataset), found a tar of "
            f"{', '.join(others) or 'nothing'}: unpack it and pass its file or folder"
        )


def _folder(path: Path) -> Iterator[tuple[re.Match[str], Callable[[], bytes]]]:
    for file in path.rglob("*.txt"):
        if match := _FILE.fullmatch("/" + file.relative_to(path).as_posix()):
            yield match, file.read_bytes
