"""Labelled reviews on disk, as a stream that can be read again and again in the same order.

A source is the Large Movie Review Dataset (its archive, read without unpacking, or its folder) or a table.
"""

import hashlib
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from service.model.tokenizer import is_blank
from training.data import tables

_BAD_PLACES_KEPT = 20
_LABELS = {"neg": "negative", "pos": "positive", "unsup": None}
_FILE = re.compile(r"(?:.*/)?(train|test)/(neg|pos|unsup)/(\d+)_(\d+)\.txt")


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
class BadRows:
    """Rows that could not be used: every one is counted, the first ones are listed."""

    counts: Counter[str] = field(default_factory=Counter)  # by reason
    places: list[str] = field(default_factory=list)

    def add(self, place: str, reason: str) -> None:
        """Notes one."""
        self.counts[reason] += 1
        if len(self.places) < _BAD_PLACES_KEPT:
            self.places.append(f"{place}: {reason}")


@dataclass
class Source:
    """Reviews in the file or folder `path`. Iterating raises DataError and, each time anew, fills `bad`."""

    path: Path
    text_column: str = "text"
    label_column: str | None = "label"  # None: the table is unlabelled
    group_column: str | None = None
    bad: BadRows = field(default_factory=BadRows)

    def __iter__(self) -> Iterator[Review]:
        self.bad = BadRows()
        if not self.path.exists():
            raise DataError(f"{self.path}: expected a file or folder of reviews, found nothing")
        if self.is_imdb:
            return self._imdb()
        return self._table()

    @property
    def is_imdb(self) -> bool:
        """Whether this is the Large Movie Review Dataset, as an archive or a folder."""
        return self.path.is_dir() or self.path.name.endswith((".tar.gz", ".tgz", ".tar"))

    def digest(self) -> str:
        """SHA-256 of the file's bytes, or of a folder's names and contents in sorted order."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        found = hashlib.sha256()
        for path in sorted(self.path.rglob("*.txt")):
            found.update(path.relative_to(self.path).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
        return found.hexdigest()

    def _imdb(self) -> Iterator[Review]:
        files = _folder(self.path) if self.path.is_dir() else _archive(self.path)
        # Sorted, so that an archive and its folder, in whatever order they list their files, give the same run.
        keyed = sorted((match[1], match[2], int(match[3]), int(match[4]), read()) for match, read in files)
        if not keyed:
            raise DataError(
                f"{self.path}: expected files such as train/pos/0_9.txt (the Large Movie Review Dataset), found none"
            )
        for split, folder, number, rating, raw in keyed:
            label, place = _LABELS[folder], f"{split}/{folder}/{number}_{rating}.txt"
            text = raw.decode("utf-8", "surrogateescape")
            if reason := _unusable(text):
                self.bad.add(place, reason)
                continue
            yield Review(text, label, split if label else "unlabelled", place, number, rating if label else 0)

    def _table(self) -> Iterator[Review]:
        wanted = [column for column in (self.text_column, self.label_column, self.group_column) if column]
        try:
            for place, row in tables.rows(self.path, wanted):
                label = row.get(self.label_column) if isinstance(row, dict) and self.label_column else None
                reason = row if isinstance(row, str) else _unusable(row[self.text_column])
                if reason is None and self.label_column and not str("" if label is None else label).strip():
                    reason = "no label"
                if reason is not None or isinstance(row, str):
                    self.bad.add(place, str(reason))
                    continue
                group = row[self.group_column] if self.group_column else None
                yield Review(
                    str(row[self.text_column]),
                    None if self.label_column is None else str(label).strip(),
                    None if self.label_column else "unlabelled",
                    place,
                    group=None if group is None else str(group),
                )
        except tables.TableError as error:
            raise DataError(str(error)) from error


def _unusable(text: object) -> str | None:
    """Why a row's text cannot be used, or None."""
    if text is None or not isinstance(text, str) or is_blank(text):
        return "no text"
    # What does not decode has been smuggled through as lone surrogates, so that only its own row is lost.
    return "bad encoding (expected UTF-8)" if any("\ud800" <= c <= "\udfff" for c in text) else None


def _archive(path: Path) -> Iterator[tuple[re.Match[str], Callable[[], bytes]]]:
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file and (match := _FILE.fullmatch(member.name)):
                    content = file.read()
                    yield match, lambda content=content: content  # type: ignore[misc]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path}: expected a whole tar archive, found a damaged one ({error})") from error


def _folder(path: Path) -> Iterator[tuple[re.Match[str], Callable[[], bytes]]]:
    for file in path.rglob("*.txt"):
        if match := _FILE.fullmatch("/" + file.relative_to(path).as_posix()):
            yield match, file.read_bytes
