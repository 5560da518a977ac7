"""Pictures for people: the curves of a run, the reliability of its answers, the cell at work. All are PNG bytes."""

import csv
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from service.cell import Trace
from training.evaluate import ECE_BINS, Answers
from training.fit import Epoch

_BLUE, _ORANGE, _GREY = "#2a6f97", "#d1603d", "#888888"


def history_csv(history: Sequence[Epoch]) -> bytes:
    """One line an epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(vars(history[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(line) for line in history)
    return text.getvalue().encode()


def curves(history: Sequence[Epoch], title: str) -> bytes:
    """Accuracy and loss by epoch, for train and validation."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = [line.epoch for line in history]
    for axes, quantity in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for part, colour in (("train", _BLUE), ("validation", _ORANGE)):
            values = [getattr(line, f"{part}_{quantity}") for line in history]
            axes.plot(epochs, values, marker="o", markersize=4, color=colour, label=part)
        axes.set(xlabel="epoch", ylabel=quantity, xticks=epochs[:: max(1, len(epochs) // 10)])
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.suptitle(title)
    return _png(figure)


def reliability(answers: Answers, title: str) -> bytes:
    """How often answers of each score were right, in bins of equal mass."""
    figure = Figure(figsize=(4.4, 4.2), layout="constrained")
    axes = figure.subplots()
    order = np.argsort(answers.score, kind="stable")
    parts = [part for part in np.array_split(order, ECE_BINS) if len(part)]
    lowest = 1 / answers.probabilities.shape[1]
    axes.plot([lowest, 1], [lowest, 1], color=_GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    scores, right = ([float(values[part].mean()) for part in parts] for values in (answers.score, answers.right))
    axes.plot(scores, right, marker="o", color=_BLUE, label=f"{len(answers.labels):,} reviews")
    axes.set(xlabel="score", ylabel="share of right answers", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return _png(figure)


def cell(tokens: Sequence[str], forward: Trace, backward: Trace, title: str) -> bytes:
    """The cell along a text: gates averaged over the units, and the memory of each unit, for both directions."""
    figure = Figure(figsize=(max(6.0, 2.0 + 0.34 * len(tokens)), 8.5), layout="constrained")
    rows = figure.subplots(4, 1, sharex=True, height_ratios=[1, 1.3, 1, 1.3])
    steps = np.arange(len(tokens))
    for (gates, memory), trace, name in (
        (rows[:2], forward, "forward: read left to right"),
        (rows[2:], backward, "backward: read right to left"),
    ):
        for gate, colour in (("input_gate", _BLUE), ("forget_gate", _ORANGE), ("output_gate", _GREY)):
            mean = getattr(trace, gate).mean(axis=1)
            gates.plot(steps, mean, marker=".", color=colour, label=gate.replace("_", " "))
        gates.set(ylim=(0, 1), ylabel="gate, mean\nover units", title=name)
        gates.grid(alpha=0.3)
        # Units in the order of their last state, so that the ones that remember stand together.
        order = np.argsort(trace.cell[-1 if name.startswith("forward") else 0])
        limit = float(np.abs(trace.cell).max()) or 1.0
        image = memory.imshow(
            trace.cell[:, order].T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest"
        )
        memory.set(ylabel="unit", yticks=[])
        figure.colorbar(image, ax=memory, label="cell state")
    rows[0].legend(frameon=False, ncols=3, loc="upper right", fontsize="small")
    rows[-1].set_xticks(steps, tokens, rotation=90)
    figure.suptitle(title)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # No version inside: the same run draws the same bytes.
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return buffer.getvalue()
