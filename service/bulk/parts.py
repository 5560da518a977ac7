"""Rows -> parts: what one process scores at a time. Where parts are cut depends on the rows alone."""

from collections.abc import Iterable, Iterator

from service.bulk.tables import BadRow, Row

MOST_ROWS = 512  # enough that sorted by length hardly anything is padded
MOST_CHARACTERS = 2**20

Part = list[Row | BadRow]


def cut(rows: Iterable[Row | BadRow]) -> Iterator[Part]:
    """Yields the rows in parts, in order."""
    part: Part = []
    characters = 0
    for row in rows:
        part.append(row)
        if isinstance(row, Row):
            characters += max(len(row.text), sum(len(v) for v in row.values.values() if isinstance(v, str)))
        if len(part) == MOST_ROWS or characters >= MOST_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part
