"""CSV, TSV and their relatives: which delimiter, which header, then the records."""

import csv
import re
from collections.abc import Collection, Iterator, Sequence, Set
from itertools import islice
from typing import Any, Literal

from service.bulk.tables import quotes
from service.bulk.tables.columns import distinct
from service.bulk.tables.encodings import MAX_CHARACTERS, Text
from service.bulk.tables.files import File
from service.bulk.tables.quotes import shown
from service.bulk.tables.rows import Fault, Reading, TableError, Tally

_DELIMITERS = (",", ";", "\t", "|")
_STATED = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # Excel's first line
_MAX_HEADER_LINES = 20
_QUOTES_KEPT = "cells that begin with a quote, read as text between tabs (--quoting csv reads quotes as CSV does)"


class Delimited:
    """A table of lines. `known` are the names, lower case, by which a delimiter is recognised in the header."""

    def __init__(self, text: Text, file: File, reading: Reading, known: Set[str], notes: Tally) -> None:
        csv.field_size_limit(MAX_CHARACTERS)
        self._text, self._file, self._reading, self._notes = text, file, reading, notes
        sample = text.sample()
        self._skipped = next((i for i, line in enumerate(sample) if line.strip()), len(sample))
        if self._skipped == len(sample):
            raise TableError(f"{file.name}: expected a header and rows, found only blank lines")
        stated = _STATED.fullmatch(sample[self._skipped])
        if stated:
            self._skipped += 1
            notes.add(f"{file.name}: its first line names the delimiter {shown(stated[1])}")
        sample = sample[self._skipped :]
        self._quotes = reading.quoting == "csv"
        self._delimiter = reading.delimiter or (stated and stated[1]) or self._guessed(sample, known)
        if reading.quoting is None:
            self._quotes = self._delimiter != "\t" or self._has_quoted_breaks(sample)
        if reading.quoting is None and self._quotes and self._delimiter == "\t":
            notes.add(f"{file.name}: between tabs, too, quotes enclose cells (--quoting none reads quotes as text)")
        header, self._header_lines = self._header(sample)
        self._blanks = any(name.startswith(" ") for name in header)
        self._names_told(header)
        self.columns = [name.strip() for name in header]
        self.hint = self._hint(header, sample) or self._late_header(sample, known)
        if not reading.header:
            self.columns, self._header_lines = [str(number + 1) for number in range(len(header))], 0
        self._sample = sample[self._header_lines :]

    def rows(self, label: str | None, only: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
        """See `Table`."""
        shape = quotes.Shape(len(self.columns), None if label is None else self.columns.index(label))
        plain = (line.split(self._delimiter) for line in self._sample if '"' not in line)
        shape.learn(self._lenient(self._sample), plain)
        skipped = self._skipped + self._header_lines
        lines = islice(self._text.lines(), skipped, None)
        records = quotes.Records(
            lines, skipped + 1, self._delimiter, len(self.columns), shape, self._file.name, self._notes
        )
        records.quotes, records.blanks = self._quotes, self._blanks
        keys = distinct(self.columns)
        kept = self._reading.quoting is None and not self._quotes
        for number, cells in records:
            if isinstance(cells, Fault):
                yield number, cells
            elif self._is_header(cells):
                self._notes.add("rows that repeat the column names, not read", f"{self._file.name}:{number}")
            else:
                if kept and any(cell.startswith('"') for cell in cells):
                    self._notes.add(_QUOTES_KEPT, f"{self._file.name}:{number}")
                yield number, dict(zip(keys, cells, strict=True))

    def _guessed(self, sample: Sequence[str], known: Collection[str]) -> str:
        """The delimiter that gives the header known names, or most lines as many cells as the first."""
        usual = "\t" if self._file.suffix in (".tsv", ".tab") else ","
        best, best_score = usual, (0, 0.0)
        for delimiter in sorted(_DELIMITERS, key=lambda d: d != usual):
            first, *others = self._lenient(sample[:100], delimiter) or [[]]
            if len(first) < 2:
                continue
            names = sum(name.strip().lower() in known for name in first) if self._reading.header else 0
            alike = sum(len(cells) == len(first) for cells in others) / max(1, len(others))
            if (names, alike) > best_score:
                best, best_score = delimiter, (names, alike)
        if best != usual:
            self._notes.add(f"{self._file.name}: read with the delimiter {shown(best)}")
        return best

    def _lenient(self, lines: Sequence[str], delimiter: str | None = None) -> list[list[str]]:
        """The records of `lines` as the csv module reads them, up to what it refuses."""
        delimiter = delimiter or self._delimiter
        as_text = self._reading.quoting == "none" or (delimiter == "\t" and not self._quotes)
        quoting: Literal[0, 3] = csv.QUOTE_NONE if as_text else csv.QUOTE_MINIMAL
        records: list[list[str]] = []
        try:
            for record in csv.reader([f"{line}\n" for line in lines], delimiter=delimiter, quoting=quoting):
                records += [record] if record else []
        except csv.Error:
            pass
        return records

    def _has_quoted_breaks(self, sample: Sequence[str]) -> bool:
        """Whether cells between tabs are quoted as in CSV: only then all records have as many cells as the header."""
        count = len(sample[0].split("\t"))
        if not self._reading.header or all(len(line.split("\t")) == count for line in sample if line.strip()):
            return False
        reader = csv.reader([f"{line}\n" for line in sample], delimiter="\t", strict=True)
        begun = 0
        try:
            for record in reader:
                if record and len(record) != count:
                    return False
                begun = reader.line_num
        except csv.Error:  # also of a last record that the sample has cut off
            return len(sample) - begun < _MAX_HEADER_LINES <= begun
        return True

    def _header(self, sample: Sequence[str]) -> tuple[list[str], int]:
        """The cells of the first record, and how many lines it takes."""
        if self._quotes and '"' in sample[0]:
            reader = csv.reader([f"{line}\n" for line in sample[:_MAX_HEADER_LINES]], delimiter=self._delimiter)
            try:
                header = next(reader)
            except csv.Error:  # a CR outside of quotes
                return sample[0].split(self._delimiter), 1
            if reader.line_num < len(sample[:_MAX_HEADER_LINES]):
                return header, reader.line_num
        return sample[0].split(self._delimiter), 1

    def _is_header(self, cells: Sequence[str]) -> bool:
        """Whether a row is the header again, as files that were put together have it."""
        if not self._reading.header or len(cells) < 2 or cells[-1].strip() != self.columns[-1]:
            return False
        return [cell.strip("\ufeff ") for cell in cells] == self.columns

    def _names_told(self, header: Sequence[str]) -> None:
        if self._reading.header and any(name != name.strip() for name in header):
            self._notes.add(f"{self._file.name}: blanks around column names, left out")

    def _late_header(self, sample: Sequence[str], known: Set[str]) -> str:
        """What to do where a later line has the names; "" where none of the next ones has."""
        for number, line in enumerate(sample[1:_MAX_HEADER_LINES], self._skipped + 2):
            for delimiter in _DELIMITERS:
                cells = [cell.strip().strip('"').lower() for cell in line.split(delimiter)]
                if len(cells) > 1 and not known.isdisjoint(cells):
                    return f"line {number} looks like the header: remove the lines before it"
        return ""

    def _hint(self, header: Sequence[str], sample: Sequence[str]) -> str:
        """What to do where the first row looks like data; "" where it looks like names."""
        records = [record for record in self._lenient(sample) if len(record) == len(header)][1:]
        if len(header) == 1 and re.search(r"\w[^\w\s]\w", header[0]):
            return "name yours with --text-column, or the character between cells with --delimiter"
        if not records or not self._reading.header:
            return ""
        odd = any(
            len(name) > 40 or name.replace(".", "").lstrip("-").isdigit() or sum(r[i] == name for r in records) > 1
            for i, name in enumerate(header)
            if name.strip()
        )
        if not odd or len(header) < 2:
            return ""
        lengths = [sum(len(record[i]) for record in records) for i in range(len(header))]
        distinct = [len({record[i] for record in records}) for i in range(len(header))]
        text = lengths.index(max(lengths))
        label = min((i for i in range(len(header)) if i != text), key=lambda i: (distinct[i] < 2, distinct[i]))
        return (
            "the first row looks like data, not like names: --no-header with column numbers, here perhaps "
            f"--text-column {text + 1} --label-column {label + 1}"
        )
