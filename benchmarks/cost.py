"""The cost model of service/grouping.py, fitted to what calls took."""

from dataclasses import dataclass

import numpy as np

from service.grouping import Grouping


@dataclass(frozen=True)
class Cost:
    """`seconds = unit_seconds * (call + tokens * (step + row * rows))` with step + row = 1."""

    call: float
    step: float
    row: float
    unit_seconds: float  # a time step of one text alone
    worst: float  # the largest relative error of a call

    @classmethod
    def fit(cls, calls: list[tuple[int, int, float]]) -> "Cost":
        """Fits (rows, tokens, seconds); relative errors count, so that short calls do as much as long ones."""
        rows, tokens, seconds = np.array(calls, np.float64).T
        terms = np.stack([np.ones_like(tokens), tokens, tokens * rows], axis=1) / seconds[:, None]
        found, *_ = np.linalg.lstsq(terms, np.ones_like(seconds))
        unit_seconds = float(found[1] + found[2])
        call, step, row = (float(value) / unit_seconds for value in found)
        return cls(call, step, row, unit_seconds, float(np.abs(terms @ found - 1).max()))


HEADER = ["cost model", "call", "step", "row", "µs a step alone", "largest error"]


def row(name: str, cost: dict[str, float]) -> list[str]:
    """A line under HEADER for the fields of a Cost."""
    figures = [f"{cost['call']:.1f}", f"{cost['step']:.3f}", f"{cost['row']:.3f}"]
    return [name, *figures, f"{cost['unit_seconds'] * 1e6:.2f}", f"{cost['worst']:.0%}"]


def constants(name: str, grouping: Grouping) -> list[str]:
    """A line under HEADER for what the service reckons with."""
    return [name, f"{grouping.call:.1f}", f"{grouping.step:.3f}", f"{grouping.row:.3f}", "", ""]
