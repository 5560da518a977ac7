"""Lines -> the cells of each record: which quotes enclose a cell, and which are part of a text.

The csv module parses whatever is well formed. Where a line is not, or where its last cell goes on in the next line, the
lines after it tell: a quote encloses a cell that ends in another quote, unless the cell would swallow a line that is a
record by itself. `Shape` knows what a record looks like.
"""

import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from service.bulk.tables.rows import Fault, Tally

MAX_CELL_CHARACTERS = 2**20
_MAX_VALUES = 100
_MIN_RECORDS = 4
_MAX_SWALLOWED = 3  # lines that look like records, in a cell that is well formed
_INTEGER = re.compile(r"[-+]?\d+")


class Shape:
    """What the cells of a record look like: labels are among the known ones; without labels, any telling column."""

    def __init__(self, columns: int, label: int | None) -> None:
        self._columns, self._label = columns, label
        # Known values by column; None: any integer. A column that is not here may hold anything.
        self._known: dict[int, set[str] | None] = {} if label is None else {label: set()}

    def learn(self, parsed: Iterable[Sequence[str]], plain: Iterable[Sequence[str]]) -> None:
        """Learns from a sample: its records as the csv module parses them, and its lines without quotes.

        A quote that encloses too much costs parsed records, but the labels of the others are labels; where it costs
        most of them, the plain lines tell more. They may be lines of paragraphs, so they come second.
        """
        whole, others = ([record for record in records if len(record) == self._columns] for records in (parsed, plain))
        if len(whole) < len(others) / 4:
            whole = others
        if self._label is not None:
            self._known = {self._label: {record[self._label] for record in whole}}
        elif len(whole) >= _MIN_RECORDS:
            for column in range(self._columns):
                values = [record[column] for record in whole]
                distinct = set(values)
                if len(distinct) <= min(20, len(whole) // 4 + 1):
                    self._known[column] = distinct
                elif all(map(_INTEGER.fullmatch, values)):
                    self._known[column] = None
        self._drop_open()

    def add(self, record: Sequence[str]) -> None:
        """Learns the label of one more record: in a sorted file a label may come late."""
        values = None if self._label is None else self._known.get(self._label)
        if values is not None and record[self._label or 0] not in values:
            values.add(record[self._label or 0])
            self._drop_open()

    def fits(self, cells: Sequence[str], first: int = 0, end: int | None = None) -> bool:
        """Whether `cells` are a record, and one of the columns from `first` to before `end` tells so."""
        end = self._columns if end is None else end
        if len(cells) != self._columns or not any(first <= column < end for column in self._known):
            return False
        return all(
            bool(_INTEGER.fullmatch(cells[column])) if values is None else cells[column] in values
            for column, values in self._known.items()
        )

    def _drop_open(self) -> None:
        """Forgets columns of so many values that these are no closed set."""
        self._known = {c: values for c, values in self._known.items() if values is None or len(values) <= _MAX_VALUES}


class Records:
    """The records of `lines`, numbered from `first`, each with `columns` cells; a Fault where the number differs."""

    def __init__(
        self, lines: Iterator[str], first: int, delimiter: str, columns: int, shape: Shape, name: str, notes: Tally
    ) -> None:
        self._lines, self._number = lines, first - 1
        self._back: deque[str] = deque()  # lines that were looked at and are still to be read
        self._scanned = 0  # up to this line no quote is known to end a cell
        self._delimiter, self._columns, self._shape = delimiter, columns, shape
        self._name, self._notes = name, notes
        self.quotes = True  # False: quotes are text
        self.blanks = False  # whether blanks may stand between a delimiter and a quote

    def __iter__(self) -> Iterator[tuple[int, list[str] | Fault]]:
        while (line := self._next()) is not None:
            if not line.strip():
                continue
            line, number = self._first_of(line), self._number
            cells = self._quoted(line) if self.quotes and '"' in line else line.split(self._delimiter)
            # In a table of one column the csv module writes a blank text as "", so that it is no empty line.
            is_text = self._columns == 1 and self.quotes and '"' in line
            if not is_text and not cells[0].strip() and not any(map(str.strip, cells)):
                self._notes.add("empty rows, not read", self._place(number))
                continue
            if len(cells) != self._columns:
                fitted = self._fitted(cells)
                if fitted is None:
                    yield number, self._wrong_number(cells)
                    continue
                self._notes.add("empty cells beyond the last column, not read", self._place(number))
                cells = fitted
            self._shape.add(cells)
            yield number, cells

    def _next(self) -> str | None:
        self._number += 1
        return self._back.popleft() if self._back else next(self._lines, None)

    def _first_of(self, line: str) -> str:
        """The first record of a line that holds several, each ended by a CR alone; the others are to be read next."""
        if "\r" not in line:
            return line
        pieces = [piece for piece in line.split("\r") if piece.strip()]
        cells = (self._parsed(piece) if self.quotes else piece.split(self._delimiter) for piece in pieces)
        if not all(found is not None and self._fitted(found) for found in cells):
            return line
        self._back.extendleft(reversed(pieces[1:]))
        return pieces[0]

    def _quoted(self, line: str) -> list[str]:
        """The record that begins with `line`, which holds a quote; takes the lines that belong to it."""
        number = self._number
        cells = self._parsed(line)
        if cells is not None and self._fitted(cells):
            return cells
        cells, opened = self._split(line)
        if opened is None and self._fitted(cells):
            self._notes.add("quotes inside of quoted cells, read as text", self._place(number))
            return cells
        if opened is not None and not self._is_record(line, opened + 1, None):
            gathered = self._gathered(line, opened)
            if gathered is not None:
                return gathered
        literal = line.split(self._delimiter)
        fitted = self._fitted(literal)
        if fitted and (fitted is literal or self._shape.fits(fitted)):  # else a text with delimiters, cut in parts
            self._notes.add("quotes that enclose no cell, read as text", self._place(number))
            return literal
        return cells if opened is None or fitted else literal

    def _gathered(self, line: str, opened: int) -> list[str] | None:
        """The record whose cell `opened` goes on after `line`; None where the quote has no end, or one too late."""
        if self._scanned > self._number + len(self._back):
            return None
        taken, size = [line], len(line)
        # A line that is no record without the lines after it needs them: there a few may look like records by chance.
        spare = 0 if self._shape.fits(line.split(self._delimiter)) else _MAX_SWALLOWED
        while size <= MAX_CELL_CHARACTERS and (line := self._next()) is not None:  # type: ignore[assignment]
            taken.append(line)
            size += len(line)
            if '"' in line:
                cells, still_opened = self._split("\n".join(taken))
                if still_opened is None:
                    whole = self._parsed("\n".join(taken))
                    begins_anew = self._is_record(line, 0, opened) and not (spare and whole)
                    if begins_anew or self._is_quoted_record(line, opened) or not self._fitted(cells):
                        break
                    return whole or cells
                if still_opened != opened:
                    opened = still_opened
                    continue
            if self._is_record(line, 0, None):
                if not spare:
                    break
                spare -= 1
        else:
            self._scanned = self._number
            if size <= MAX_CELL_CHARACTERS:
                self._number -= 1  # the line that was asked for and not there
        self._back.extendleft(reversed(taken[1:]))
        self._number -= len(taken) - 1
        return None

    def _is_record(self, line: str, first: int, end: int | None) -> bool:
        """Whether `line` is a record by itself, with its quotes as text or as the csv module reads them."""
        if self._shape.fits(line.split(self._delimiter), first, end):
            return True
        return '"' in line and self._shape.fits(self._parsed(line) or (), first, end)

    def _is_quoted_record(self, line: str, opened: int) -> bool:
        """Whether `line` is a well-formed record whose cell `opened` is quoted: no cell with doubled quotes ends so."""
        cells = self._parsed(line) or ()
        start = self._delimiter.join([*cells[:opened], '"'])
        return line.startswith(start) and self._shape.fits(cells)

    def _wrong_number(self, cells: list[str]) -> Fault:
        reason = f"wrong number of columns (expected {self._columns}, found {len(cells)})"
        if len(cells) > self._columns:
            reason += f"; a cell that holds the delimiter {shown(self._delimiter)} needs quotes around it"
        return Fault(reason)

    def _fitted(self, cells: list[str]) -> list[str] | None:
        """`cells` where they are as many as the columns, but for empty ones at the end."""
        if len(cells) > self._columns and not any(map(str.strip, cells[self._columns :])):
            return cells[: self._columns]
        return cells if len(cells) == self._columns else None

    def _parsed(self, record: str) -> list[str] | None:
        """The cells of a record that is well formed."""
        try:
            rows = list(csv.reader([record], delimiter=self._delimiter, strict=True, skipinitialspace=self.blanks))
        except csv.Error:
            return None
        return rows[0] if len(rows) == 1 else None

    def _split(self, record: str) -> tuple[list[str], int | None]:
        """The cells of a record that need not be well formed, and the index of the cell that stays open at its end.

        A quote ends a cell only in front of a delimiter or at the end of the record; an escaped one (doubled, or after
        a backslash) never does.
        """
        cells: list[str] = []
        start = 0
        while True:
            if self.blanks:
                start += len(record) - start - len(record[start:].lstrip(" "))
            if record.startswith('"', start):
                end = self._end(record, start + 1)
                if end < 0:
                    return [*cells, record[start:]], len(cells)
                cells.append(record[start + 1 : end].replace('""', '"').replace('\\"', '"'))
                start = end + 2
                if end + 1 == len(record):
                    return cells, None
            else:
                end = record.find(self._delimiter, start)
                cells.append(record[start : end if end >= 0 else None])
                if end < 0:
                    return cells, None
                start = end + 1

    def _end(self, record: str, start: int) -> int:
        """Where the quote stands that ends the cell whose content starts at `start`; -1: nowhere."""
        at = record.find('"', start)
        while at >= 0:
            if record.startswith('"', at + 1):
                at += 1
            elif record[at - 1] != "\\" and (at + 1 == len(record) or record[at + 1] == self._delimiter):
                return at
            at = record.find('"', at + 1)
        return -1

    def _place(self, number: int) -> str:
        return f"{self._name}:{number}"


def shown(delimiter: str) -> str:
    """A delimiter for people."""
    return "tab" if delimiter == "\t" else f'"{delimiter}"'
