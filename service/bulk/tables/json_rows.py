"""JSON lines, JSON arrays and objects one after another, pretty-printed or not."""

import json
import re
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

from service.bulk.tables.encodings import MAX_CHARACTERS, Text
from service.bulk.tables.files import File
from service.bulk.tables.rows import Fault, TableError

_LOOKED_AT = 1000  # values from which the columns are known
_STRING = "text"  # the column of a table of strings alone
_BETWEEN = re.compile(r"[\s,\[\]\ufeff]*")

Value = tuple[int, Any]  # the line where it starts, or its number in an array; a Fault where it is no JSON


def looks_like(text: Text, file: File) -> bool:
    """Whether `text` is JSON: its name says so, or its first characters do."""
    if file.suffix in (".json", ".jsonl", ".ndjson"):
        return True
    start = text.beginning.lstrip()
    return file.suffix not in (".csv", ".tsv", ".tab") and bool(re.match(r'\{\s*"|\[\s*\{', start))


class JsonRows:
    """A table of JSON objects. Raises TableError where the file is no such thing."""

    hint = ""

    def __init__(self, text: Text, file: File) -> None:
        self._text, self._file = text, file
        self._arrays = 0  # that were begun
        start = text.beginning.lstrip("\ufeff \t\r\n")
        if not start:
            raise TableError(f"{file.name}: expected JSON objects, found only blank lines")
        values = self._elements() if start.startswith("[") else self._lines()
        first = list(islice(values, _LOOKED_AT))
        if len(first) == 1 and isinstance(first[0][1], dict):
            first = self._unwrapped(first[0][1])
        self._strings = bool(first) and self._arrays < 2 and all(isinstance(value, str) for _, value in first)
        self._values = chain(first, values)
        objects = [value for _, value in first if isinstance(value, dict) and value]
        if not objects and not self._strings:
            found = "arrays" if self._arrays > 1 else _kind(first[0][1]) if first else "none"
            expected = "expected JSON objects with names, one a row"
            raise TableError(f'{file.name}: {expected}, found {found}: write {{"text": ...}}')
        names = [_STRING] if self._strings else [name for value in objects for name in _names(value)]
        self.columns = list(dict.fromkeys(names))

    def rows(self, label: str | None, only: Sequence[str] | None) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
        """See `Table`."""
        for line, value in self._values:
            if isinstance(value, dict | Fault):
                yield line, value
            elif self._strings and isinstance(value, str):
                yield line, {_STRING: value}
            else:
                yield line, Fault("no JSON object")

    def _lines(self) -> Iterator[Value]:
        """A value a line; an object that begins in a line and does not end there is read on."""
        # In JSON a CR is no part of a string: alone it ends a line as LF does.
        lines = (piece for line in self._text.lines() for piece in line.split("\r"))
        back, number = deque[str](), 0
        while (line := back.popleft() if back else next(lines, None)) is not None:
            number += 1
            stripped = line.strip(" \t\r\ufeff\x1e")  # \x1e: begins a JSON text sequence's records
            if not stripped:
                continue
            value = _parsed(stripped)
            if isinstance(value, Fault) and (together := _several(stripped)):
                yield from ((number, one) for one in together)
                continue
            if isinstance(value, Fault) and stripped.startswith("{"):
                taken, size = [line], len(line)
                while size < MAX_CHARACTERS and (more := back.popleft() if back else next(lines, None)) is not None:
                    taken.append(more)
                    size += len(more)
                    if isinstance(_parsed(more), dict):  # a whole object by itself: the first line was damaged
                        break
                    if more.rstrip().endswith("}") and isinstance(whole := _parsed("\n".join(taken)), dict):
                        yield number, whole
                        number += len(taken) - 1
                        break
                else:
                    whole = None
                if isinstance(_parsed(taken[-1]), dict) or whole is None:
                    back.extendleft(reversed(taken[1:]))
                    yield number, value
                continue
            yield number, value

    def _elements(self) -> Iterator[Value]:
        """The elements of an array, numbered from 1, in bounded memory; of several arrays one after another, too.

        Raises TableError.
        """
        decoder, chunks = json.JSONDecoder(), self._text.chunks()
        buffer, at, line, last, number = "", 0, 1, "", 0
        while True:
            between = _BETWEEN.match(buffer, at)
            assert between
            self._arrays += between.group().count("[")
            line += between.group().count("\n")
            last = between.group().strip(" \t\r\n\ufeff")[-1:] or last
            at = between.end()
            value: Any = None
            if at < len(buffer):
                try:
                    value, end = decoder.raw_decode(buffer, at)
                except (ValueError, RecursionError):
                    end = -1
                if 0 <= end < len(buffer):
                    number += 1
                    yield number, value
                    line += buffer.count("\n", at, end)
                    at, last = end, ""
                    continue
            more = next(chunks, None)
            if more is None and at == len(buffer) and last == "]":
                return
            if more is None or len(buffer) - at > MAX_CHARACTERS:
                raise TableError(
                    f"{self._file.name}:{line}: expected a whole JSON array, found it damaged or cut off here: "
                    "write the file again"
                )
            buffer, at = buffer[at:] + more, 0

    def _unwrapped(self, value: dict[str, Any]) -> list[Value]:
        """The rows in the one object of a file, where it is not a row itself. Raises TableError."""
        lists = [v for v in value.values() if isinstance(v, list) and v and all(isinstance(e, dict) for e in v)]
        if len(lists) == 1:
            return [(number, element) for number, element in enumerate(lists[0], 1)]
        if value and all(isinstance(v, dict | list) and len(v) > 1 for v in value.values()):
            raise TableError(
                f"{self._file.name}: expected JSON objects, one a row, found one object that holds whole columns: "
                "write rows (pandas: to_json(path, orient='records', lines=True))"
            )
        return [(1, value)]


def _kind(value: Any) -> str:
    """What a value is that is no row, for people."""
    kinds = {list: "an array", dict: "an object without names", str: "a string", Fault: "no JSON"}
    return kinds.get(type(value), "a number, true, false or null")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return Fault("invalid JSON")


def _several(text: str) -> list[dict[str, Any]]:
    """The objects in a line that holds them one after another, or with commas; none where it holds anything else."""
    found: list[dict[str, Any]] = []
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            return []
        if not isinstance(value, dict):
            return []
        found.append(value)
        while at < len(text) and text[at] in ", \t":
            at += 1
    return found


def _names(value: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The names of a row's columns, those of nested objects with dots."""
    for name, inner in value.items():
        if isinstance(inner, dict) and inner and prefix.count(".") < 3:
            yield from _names(inner, f"{prefix}{name}.")
        else:
            yield prefix + name
