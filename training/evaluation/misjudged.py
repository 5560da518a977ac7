"""The texts that a bundle misjudges, as a table for people: they show which labels are wrong and what to add."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from service.model.bundle import Manifest
from training.data.corpus import Labelled
from training.data.sources import DataError
from training.evaluation.evaluate import Answers

_FORMULA = re.compile(r"[\t\r\n]|\s*[-=+@|%\uff0d\uff1d\uff0b\uff20]")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


class Misjudged(NamedTuple):
    """One row of the table, in the order of its columns."""

    split: str
    place: str  # file and line
    label: str
    answer: str
    score: str  # of the answer, its calibrated probability
    score_of_label: str
    uncertain: str
    text: str


def rows(split: str, reviews: Sequence[Labelled], answers: Answers, manifest: Manifest) -> Iterator[Misjudged]:
    """The misjudged `reviews`, surest answers first: among those are the labels that are wrong themselves."""
    names, kept = manifest.labels, answers.kept(manifest.uncertain_below)
    for row in sorted((~answers.right).nonzero()[0].tolist(), key=lambda row: -answers.score[row]):
        review, probabilities = reviews[row], answers.probabilities[row]
        yield Misjudged(
            split,
            review.place,
            names[review.label],
            names[int(probabilities.argmax())],
            f"{probabilities.max():.4f}",
            f"{probabilities[review.label]:.4f}",
            "no" if kept[row] else "yes",
            review.text,
        )


def prepare(path: Path) -> None:
    """Raises DataError where `write` could not write to `path`, or would replace what it has not written."""
    if not path.parent.is_dir():
        raise DataError(f"{path}: expected a folder to write the misjudged texts into, found none: make it first")
    try:
        with path.open("a+", encoding="utf-8", errors="replace", newline="") as file:
            file.seek(0)
            before = file.readline().removeprefix("\ufeff")
        if not before:
            path.unlink()
    except OSError as error:
        raise DataError(f"{path}: expected a file that can be written, found {error.strerror}") from error
    if before and before != _line(Misjudged._fields):
        raise DataError(f"{path}: expected no such file, or one of misjudged texts, found another: name a new one")


def write(path: Path, found: Iterable[Misjudged]) -> None:
    """Writes the table as CSV that a spreadsheet opens in UTF-8, and takes no cell of for a formula."""
    lines = map(_line, (Misjudged._fields, *found))
    path.write_text("".join(lines), encoding="utf-8-sig", newline="")


def _line(cells: Sequence[str]) -> str:
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL, lineterminator="\n").writerow(map(_inert, cells))
    return written.getvalue()


def _inert(cell: str) -> str:
    """`cell` behind an apostrophe where a spreadsheet would compute it (OWASP, CSV Injection)."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell
