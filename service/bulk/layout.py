"""What is written: which columns a row has, and its bytes in CSV, TSV, JSON lines or Arrow."""

import gzip
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any, Literal, NamedTuple

from service.bulk.scorers import Answer

Format = Literal["csv", "tsv", "jsonl", "parquet"]

ANSWER = ("label", "score", "uncertain", "tokens", "truncated")
SENTENCE = ("sentence", "start", "end")
_DELIMITERS = {"csv": ",", "tsv": "\t"}


class Scored(NamedTuple):
    """A row to be written: the columns that it came with, the sentence where there is one, and the answer."""

    values: Mapping[str, Any]
    sentence: tuple[str, int, int] | None  # its text, and where it stands in the row's text
    answer: Answer


@dataclass(frozen=True)
class Layout:
    """The columns of what is written; those of the answer come last and begin with `prefix`."""

    format: Format
    packed: bool  # with gzip
    columns: tuple[str, ...]  # as they came
    labels: tuple[str, ...]
    prefix: str
    sentences: bool
    schema: bytes = b""  # of Parquet: Arrow's schema, serialized

    @property
    def added(self) -> tuple[str, ...]:
        """The names of the new columns."""
        names = (*(SENTENCE if self.sentences else ()), *ANSWER, *self.labels)
        return tuple(self.prefix + name for name in names)

    def misfit(self, values: Mapping[str, Any]) -> str | None:
        """Why a row cannot be written; None where it can."""
        if clash := sorted(set(self.added) & values.keys()):
            return f"the row has the columns {', '.join(clash)}, which the answer has, too: --prefix names those others"
        if self.format != "jsonl" and (unknown := values.keys() - set(self.columns)):
            return f"the row has columns that the first rows have not ({', '.join(sorted(unknown))}): write JSON lines"
        return None

    def header(self) -> bytes:
        """What stands before the rows."""
        if self.format not in _DELIMITERS:
            return b""
        return self._packed(self._delimited([(*self.columns, *self.added)]))

    def encode(self, rows: Sequence[Scored]) -> bytes:
        """The rows; of Parquet a record batch."""
        if not rows:
            return b""
        if self.format == "parquet":
            from service.bulk import shards

            return shards.encode(self.schema, [(*self._values(row), *self._new(row)) for row in rows])
        if self.format == "jsonl":
            content = "".join(map(self._object, rows))
        else:
            content = self._delimited([[*map(cell, self._values(row)), *map(cell, self._new(row))] for row in rows])
        return self._packed(content)

    def _values(self, row: Scored) -> Iterator[Any]:
        return (row.values.get(column) for column in self.columns)

    def _new(self, row: Scored) -> list[Any]:
        """The values of the columns `added`."""
        answer = row.answer
        return [
            *(row.sentence or ()),
            *(answer.label, answer.score, answer.uncertain, answer.tokens, answer.truncated),
            *(answer.probabilities[label] for label in self.labels),
        ]

    def _delimited(self, lines: Iterable[Iterable[str]]) -> str:
        """Lines of cells, quoted where needed. csv.writer takes three times as long, and leaves a lone \\r unquoted."""
        delimiter = _DELIMITERS[self.format]
        needs_quotes = re.compile(f'[{delimiter}"\r\n]').search
        quoted = ([f'"{_doubled(text)}"' if needs_quotes(text) else text for text in line] for line in lines)
        return "".join([delimiter.join(line) + "\n" for line in quoted])

    def _object(self, row: Scored) -> str:
        content = dict(row.values) | dict(zip(self.added, self._new(row), strict=True))
        try:
            return json.dumps(content, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
        except ValueError:  # a NaN, which JSON has not
            finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in content.items()}
            return json.dumps(finite, ensure_ascii=False, default=_plain) + "\n"

    def _packed(self, content: str) -> bytes:
        # Bytes that did not decode are lone surrogates, which UTF-8 has not: "?" stands in their place.
        raw = content.encode("utf-8", "replace")
        # A member of its own for each part, so that what is written can be cut between any two.
        return gzip.compress(raw, mtime=0) if self.packed else raw


def _doubled(text: str) -> str:
    return text.replace('"', '""')


def cell(value: Any) -> str:
    """A value in CSV: what JSON writes for all that is no text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=_plain)
    return _plain(value)


def _plain(value: Any) -> str:
    """A value that JSON has not, as Parquet and Excel have them."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)
