"""How each label fares, for people: on the screen, in the card and as a picture.

Everywhere `found` is what `by_label.report` gives of one split.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

from training.evaluation.by_label import never_answered
from training.release.findings import table

_WIDEST = 14  # cells of a name in a table on the screen
_MATRIX_LABELS = 8  # of more labels, only the most frequent mistakes are told
_MISTAKES = 10
_HEAD = ("label", "texts", "answers", "precision", "recall", "F1")

ByLabel = Mapping[str, Mapping[str, Any]]


def on_screen(found: ByLabel) -> Iterator[str]:
    """Tables in plain text, a line at a time, and a warning for each label that is never answered."""
    yield from _aligned([_HEAD, *_figures(found)])
    if len(found) <= _MATRIX_LABELS:
        yield "  texts of each label (a line each), by the label answered:"
        yield from _aligned([("", *found), *_matrix(found)])
    else:
        yield from (f"  {label} taken for {answer}: {count:,}" for count, label, answer in _mistakes(found))
    yield from (f"warning: {line}" for line in warnings(found))


def in_card(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The section of the card, from the figures of each split; empty where none were measured by label."""
    splits = {name: split["by_label"] for name, split in metrics.items() if "by_label" in split}
    lines = []
    for name, found in splits.items():
        lines += [*_table([(name, *_HEAD[1:]), *_figures(found)]), ""]
        for line in warnings(found):
            lines += [f"**Warning**: {line}.", ""]
        if len(found) <= _MATRIX_LABELS:
            lines += [*_table([(f"{name}: the label, and what was answered", *found), *_matrix(found)]), ""]
        else:
            mistakes = [f"{label} for {answer} ({count:,})" for count, label, answer in _mistakes(found)]
            lines += [f"Most often taken: {', '.join(mistakes) or 'none'}.", ""]
    return ["## By label", "", *lines, "![confusion](figures/confusion.png)", ""] if splits else []


def warnings(found: ByLabel) -> list[str]:
    """A sentence for each label that has texts and is never answered."""
    return [
        f"the label {name} is never answered, though {found[name]['reviews']:,} texts have it: more texts of it, or "
        "--balance if it was not given, would help"
        for name in never_answered(found)
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown whose names may hold anything."""
    head, *lines = ([" ".join(cell.replace("|", "\\|").split()) for cell in row] for row in rows)
    return table(head, lines)


def _figures(found: ByLabel) -> list[tuple[str, ...]]:
    return [
        (name, f"{of['reviews']:,}", f"{of['answers']:,}", *(_share(of[key]) for key in ("precision", "recall", "f1")))
        for name, of in found.items()
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _matrix(found: ByLabel) -> list[tuple[str, ...]]:
    return [(name, *(f"{of['taken_for'].get(other, 0):,}" for other in found)) for name, of in found.items()]


def _mistakes(found: ByLabel) -> list[tuple[int, str, str]]:
    """Count, label and answer of the most frequent mistakes."""
    every = [
        (count, name, other) for name, of in found.items() for other, count in of["taken_for"].items() if other != name
    ]
    return sorted(every, reverse=True)[:_MISTAKES]


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns of equal width on a terminal; the first one is aligned left."""
    rows = [[_short(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [" " * (width - cell_len(cell)) + cell for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join(["", set_cell_size(first, widths[0]), *cells])


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if cell_len(name) <= _WIDEST else set_cell_size(name, _WIDEST - 1) + "…"
