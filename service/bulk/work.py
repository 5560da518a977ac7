"""What becomes of a part: its rows with their answers, as bytes; those that cannot be scored, with the reason."""

import json
from dataclasses import dataclass, field
from typing import NamedTuple

from service.bulk.layout import Layout, Scored
from service.bulk.parts import Part
from service.bulk.scorers import MAX_CHARACTERS, Scorer
from service.bulk.tables import BadRow, Row

Span = tuple[int, int]  # where a text, or a sentence of it, begins and ends


@dataclass
class Counts:
    """What there is to tell at the end."""

    rows: int = 0  # read
    rejected: int = 0
    written: int = 0
    uncertain: int = 0
    labels: dict[str, int] = field(default_factory=dict)  # rows written, by label

    def add(self, other: "Counts") -> None:
        """Adds the counts of a part."""
        self.rows += other.rows
        self.rejected += other.rejected
        self.written += other.written
        self.uncertain += other.uncertain
        for label, count in other.labels.items():
            self.labels[label] = self.labels.get(label, 0) + count


class Done(NamedTuple):
    """A part that was scored."""

    content: bytes  # of the rows
    rejected: bytes  # JSON lines
    counts: Counts


def work(part: Part, layout: Layout, scorer: Scorer) -> Done:
    """Scores a part. Raises Stopped."""
    reasons = [_reason(row, layout) for row in part]
    texts, placed = list[str](), list[list[Span]]()
    for row, reason in zip(part, reasons, strict=True):
        placed.append(spans(row.text, layout.sentences) if isinstance(row, Row) and reason is None else [])
        texts += [row.text[start:end] for start, end in placed[-1] if isinstance(row, Row)]
    answers = iter(scorer(texts))
    counts, rows, rejected = Counts(rows=len(part)), list[Scored](), list[str]()
    for row, reason, found in zip(part, reasons, placed, strict=True):
        scored = [(span, next(answers)) for span in found]
        if isinstance(row, Row) and reason is None:
            good = [(span, answer) for span, answer in scored if not isinstance(answer, str)]
            for (start, end), answer in good:
                rows.append(Scored(row.values, (row.text[start:end], start, end) if layout.sentences else None, answer))
                counts.labels[answer.label] = counts.labels.get(answer.label, 0) + 1
                counts.uncertain += answer.uncertain
            if good:
                continue
            # Of a text in sentences those that hold nothing but broken HTML are left out.
            reason = next((answer for _, answer in scored if isinstance(answer, str)), "no sentence")
        rejected.append(json.dumps({"file": row.file, "line": row.line, "reason": reason}, ensure_ascii=False) + "\n")
    counts.written, counts.rejected = len(rows), len(rejected)
    return Done(layout.encode(rows), "".join(rejected).encode("utf-8", "replace"), counts)


def spans(text: str, sentences: bool) -> list[Span]:
    """What is scored of a text: all of it, or each of its sentences."""
    if not sentences:
        return [(0, len(text))]
    from service.model.sentences import sentences as split

    return split(text)


def _reason(row: Row | BadRow, layout: Layout) -> str | None:
    """Why a row is not scored; None where it is."""
    if isinstance(row, BadRow):
        return row.reason
    if len(row.text) > MAX_CHARACTERS:
        return f"expected a text of at most {MAX_CHARACTERS:,} characters, found {len(row.text):,}"
    return layout.misfit(row.values)
