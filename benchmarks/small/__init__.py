"""Few labelled texts: a run, from the bundle that ships or from nothing, beside TF-IDF and logistic regression."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.report import markdown

LINEAR, WARM, SCRATCH = "TF-IDF + logistic regression", "run, from the bundle", "run, from nothing"
ARMS = (LINEAR, WARM, SCRATCH)
DOMAINS = ("sports_outdoors", "electronics", "toys_games")
SIZES = (100, 500, 1_400)
SEEDS = (1, 2, 3)
Cell = dict[str, Any]  # one run: its domain, size, seed and arm, and what came of it


def table(found: dict[str, Any]) -> str:
    """The accuracy of each arm by size and domain; and how often a run's interval held its test figure."""
    cells: list[Cell] = found["cells"]
    domains, sizes = (list(dict.fromkeys(cell[of] for cell in cells)) for of in ("domain", "size"))
    rows = []
    for size in sizes:
        for domain in domains:
            rows.append([f"{size:,}, {domain}", *(_accuracy(_of(cells, arm, size, domain)) for arm in ARMS)])
        rows.append([f"**{size:,}, mean**", *(_accuracy(_of(cells, arm, size)) for arm in ARMS)])
    rows.append(["**all, mean**", *(_accuracy(_of(cells, arm)) for arm in ARMS)])
    rows.append(["the run's interval holds its test figure", *(_held(_of(cells, arm)) for arm in ARMS)])
    rows.append(["median seconds of a fit", *(_seconds(_of(cells, arm)) for arm in ARMS)])
    lines = [markdown(("labelled texts, domain", *ARMS), rows)]
    if not found["left_out"]:
        lines.append(f"The bundle, {found['bundle']}, did not leave these domains out: its column means nothing.")
    return "\n\n".join(lines)


def _of(cells: Sequence[Cell], arm: str, size: int | None = None, domain: str | None = None) -> list[Cell]:
    return [
        cell
        for cell in cells
        if cell["arm"] == arm and size in (None, cell["size"]) and domain in (None, cell["domain"])
    ]


def _accuracy(cells: Sequence[Cell]) -> str:
    return f"{mean(cell['accuracy'] for cell in cells):.1%}" if cells else "-"


def _held(cells: Sequence[Cell]) -> str:
    told = [cell for cell in cells if "expected" in cell]
    held = sum(cell["expected"][0] <= cell["accuracy"] <= cell["expected"][1] for cell in told)
    return f"{held} of {len(told)}" if told else "-"


def _seconds(cells: Sequence[Cell]) -> str:
    seconds = sorted(cell["seconds"] for cell in cells)
    return f"{seconds[len(seconds) // 2]:.0f}" if seconds else "-"
