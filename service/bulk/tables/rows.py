"""What reading a table takes and gives: how it is to be read, its rows, and what there is to tell of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

PLACES_KEPT = 3


class TableError(Exception):
    """A file that cannot be read as a table; the message says what was expected, what was found and what to do."""


@dataclass(frozen=True)
class Reading:
    """How a person wants a table to be read; None: judged by the file itself, and told."""

    text: str | None = None  # name of the column; several, separated by commas, are joined by a line break
    label: str | None = None
    group: str | None = None  # None: no such column
    encoding: str | None = None
    delimiter: str | None = None  # one character
    quoting: Literal["none", "csv"] | None = None  # "none": quotes are text
    header: bool = True  # False: columns are named "1", "2", ...


JUDGED = Reading()  # everything is left to the file


class Row(NamedTuple):
    """A row that can be used."""

    file: str
    line: int  # where the row starts, from 1; in a JSON array, Parquet and Excel its number
    text: str
    label: str | None  # None where no labels were asked for
    group: str | None
    values: Mapping[str, Any]  # every column of the row, by its name

    @property
    def place(self) -> str:
        """For people: file and line."""
        return f"{self.file}:{self.line}"


class BadRow(NamedTuple):
    """A row that cannot be used, and why."""

    file: str
    line: int
    reason: str

    @property
    def place(self) -> str:
        """For people: file and line."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Fault:
    """Why a row or a cell cannot be used."""

    reason: str


class Table(Protocol):
    """One file (or sheet) in one format, opened and ready to be read once."""

    columns: list[str]  # the names as the file has them, a repeated one repeated; nested ones with dots
    hint: str  # what is odd about the names, for an error that has to list them; "" where nothing is

    def rows(self, label: str | None, only: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
        """Yields (line, values by column). `only`: the columns that the caller needs, None for all of them.

        `label` is the label's column, whose values tell a row from a line inside a cell.
        """


@dataclass
class Tally:
    """What there is to tell, counted, with the first places of each."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, place: str = "") -> None:
        """Notes one occurrence of `what`."""
        self.counts[what] += 1
        places = self.places.setdefault(what, [])
        if place and len(places) < PLACES_KEPT:
            places.append(place)

    def lines(self) -> list[str]:
        """A line for each thing: with its count and first places, unless it was noted once and has no place."""
        told = []
        for what, count in self.counts.items():
            places = self.places[what]
            more = ", ..." if count > len(places) else ""
            told.append(f"{what}: {count:,} ({', '.join(places)}{more})" if places else what)
        return told


@dataclass
class Position:
    """How far a reading has come."""

    total: int = 0  # bytes of all files
    before: int = 0  # bytes of the files that were read to their end
    size: int = 0  # bytes of the file that is read now
    inside: Callable[[], float] | None = None  # the share of it that was read, where that can be told

    @property
    def share(self) -> float | None:
        """From 0 to 1, by bytes; None where it is not known."""
        if not self.total or self.inside is None:
            return None
        return min(1.0, (self.before + self.size * self.inside()) / self.total)

    def begin(self, size: int) -> None:
        """The next file, of `size` bytes, begins."""
        self.before += self.size
        self.size, self.inside = size, None
