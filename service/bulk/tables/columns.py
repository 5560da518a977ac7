"""Which columns of a table hold text, label and group: as named, or guessed by their names and told."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service.bulk.tables.rows import Reading, Table, TableError, Tally

# In lower case, without what is neither letter nor digit.
TEXTS = (
    *("text", "review", "reviews", "reviewtext", "reviewbody", "content", "body", "comment", "comments", "sentence"),
    *("tweet", "tweettext", "message", "feedback", "description", "document", "utterance", "cleantext", "fulltext"),
)
LABELS = (
    *("label", "labels", "sentiment", "polarity", "class", "target", "rating", "stars", "star", "overall", "score"),
    *("category", "sentimentlabel", "airlinesentiment", "starrating", "labeltext"),
)
_TITLES = ("title", "reviewtitle", "summary", "headline", "subject", "reviewsummary", "heading")
_JOIN = "\n"


class Columns(NamedTuple):
    """The columns of one table."""

    texts: list[str]
    label: str | None
    group: str | None

    def all(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys([*self.texts, *(name for name in (self.label, self.group) if name is not None)]))


def known(reading: Reading) -> set[str]:
    """The names, in lower case, that a header is recognised by."""
    asked = {part.strip().lower() for name in (reading.text, reading.label, reading.group) if name
             for part in name.split(",")}  # fmt: skip
    return asked | {*TEXTS, *LABELS}


def choose(table: Table, name: str, where: str, reading: Reading, labelled: bool, notes: Tally) -> Columns:
    """The columns of `table`. Raises TableError where one is missing, named twice or cannot be guessed safely."""
    names = table.columns
    if not reading.header and not (reading.text and (reading.label or not labelled)):
        raise TableError(
            f"{where}: expected column numbers with --no-header, found none: --text-column N"
            f"{' --label-column N' if labelled else ''} (1 to {len(names)})"
        )
    hint = table.hint if labelled else table.hint.partition(" --label-column")[0]
    finder = _Finder(table, hint, name, where, notes)
    texts = list(finder.texts(reading.text))
    label = finder.one(reading.label, "label", LABELS, "--label-column") if labelled else None
    group = finder.named(reading.group, "--group-column") if reading.group else None
    return Columns(texts, label, group)


class _Finder:
    """Finds columns by name; `file` stands in notes, `where`, its whole path, in errors."""

    def __init__(self, table: Table, hint: str, file: str, where: str, notes: Tally) -> None:
        self._names, self._hint, self._notes = table.columns, hint, notes
        self._file, self._where = file, where

    def texts(self, wanted: str | None) -> Iterator[str]:
        """The columns of the text: those named, joined in this order."""
        if wanted is not None:
            whole = [name for name in self._names if _folded(name) == _folded(wanted)]
            for part in [wanted] if whole else wanted.split(","):
                yield self.named(part, "--text-column")
            return
        found = self.one(None, "text", TEXTS, "--text-column")
        if titles := [name for name in self._names if _key(name) in _TITLES]:
            self._notes.add(
                f"{self._file}: the column {titles[0]} is not read: --text-column {titles[0]},{found} joins them"
            )
        yield found

    def one(self, wanted: str | None, usual: str, candidates: Sequence[str], option: str) -> str:
        """The column named `wanted`, or the one that is named `usual` or like one of `candidates`."""
        if wanted is not None:
            return self.named(wanted, option)
        if any(_folded(name) == usual for name in self._names):
            return self.named(usual, option)
        found = list(dict.fromkeys(name for name in self._names if _key(name.rsplit(".", 1)[-1]) in candidates))
        if len(found) == 1:
            self._notes.add(f"{self._file}: the {usual} is guessed to be in the column {found[0]} ({option} names it)")
            return self.named(found[0], option)
        if found:
            options = " or ".join(f"{option} {name}" for name in found)
            joined = f", or {option} {','.join(found)} for all of them joined" if usual == "text" else ""
            told = f"{options}{joined}"
            raise TableError(f"{self._where}: expected one column of the {usual}, found {len(found)}: {told}")
        raise self._missing(usual, option)

    def named(self, wanted: str, option: str) -> str:
        """The column of that name; case and outer blanks do not count, unless names differ in nothing else."""
        exact = [i for i, name in enumerate(self._names) if name == wanted.strip()]
        found = exact or [i for i, name in enumerate(self._names) if _folded(name) == _folded(wanted)]
        if not found:
            raise self._missing(wanted.strip(), option)
        if len(found) > 1:
            numbers = " and ".join(str(i + 1) for i in found)
            names = " and ".join(self._names[i] for i in found)
            raise TableError(
                f"{self._where}: expected one column {wanted.strip()}, found {len(found)}: {names}, columns {numbers}: "
                f"rename one, or {option} names another"
            )
        name = self._names[found[0]]
        if name != wanted.strip():
            self._notes.add(f"{self._file}: the column {name} is taken for {wanted.strip()}")
        return name

    def _missing(self, wanted: str, option: str) -> TableError:
        nested = [name for name in self._names if _folded(name).endswith("." + _folded(wanted))]
        remedy = self._hint or (f"{option} {nested[0]}" if nested else f"name yours with {option}")
        shown = ", ".join(name[:40] or '""' for name in self._names[:30]) + (", ..." if len(self._names) > 30 else "")
        return TableError(f"{self._where}: expected the column {wanted}; {wanted} not found among {shown}: {remedy}")


def distinct(names: Sequence[str]) -> list[str]:
    """The names, a repeated one with a number, as pandas does it."""
    keys: list[str] = []
    for name in names:
        key, number = name, 0
        while key in keys:
            number += 1
            key = f"{name}.{number}"
        keys.append(key)
    return keys


def _folded(name: str) -> str:
    return name.strip().lower()


def _key(name: str) -> str:
    """A name without case, marks and what stands in brackets."""
    return re.sub(r"[\W_]+", "", re.sub(r"\(.*?\)|\[.*?\]", "", name.lower()))
