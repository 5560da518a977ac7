"""Formats numbers and tables as Markdown."""

from collections.abc import Sequence
from statistics import median


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; all columns but the first are aligned to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """The median of `values`; if there are several, also the least and the greatest."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def mebibytes(count: float) -> str:
    """`count` bytes in MiB."""
    return f"{count / 2**20:.1f}"
