"""Pictures for people: the curves of a run, what its answers are worth, the cell at work. All are PNG bytes."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from service.model.cell import Trace
from training.evaluation.intervals import wilson_interval
from training.fitting.loop import Epoch

_BLUE, _ORANGE, _GREY = "#2a6f97", "#d1603d", "#888888"
_COLOURS = {"validation": _ORANGE, "test": _BLUE}
_COUNTED_LABELS = 20  # of more labels, a picture has no room for counts
_DELETED = {"random": "at random", "evidence": "most evidence first", "occlusion": "most lost alone first (occlusion)"}


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


def ladder(rungs: Mapping[str, Mapping[str, float]], reviews: int, title: str) -> bytes:
    """Accuracy, with its 95 % interval, and loss of each stage on so many validation `reviews`, first stage on top."""
    figure = Figure(figsize=(9, 1.2 + 0.4 * len(rungs)), layout="constrained")
    places = np.arange(len(rungs))[::-1]
    accuracies, losses = figure.subplots(1, 2, sharey=True)
    found = np.array([rung["accuracy"] for rung in rungs.values()])
    low, high = np.array([wilson_interval(round(one * reviews), reviews) for one in found]).T
    accuracies.errorbar(
        found, places, xerr=np.maximum(0, (found - low, high - found)), fmt="o", color=_ORANGE, capsize=3
    )
    accuracies.set(xlabel="accuracy, 95 % interval", yticks=places, yticklabels=list(rungs))
    accuracies.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    accuracies.xaxis.set_major_locator(MaxNLocator(5))
    losses.plot([rung["negative_log_likelihood"] for rung in rungs.values()], places, "o", color=_ORANGE)
    losses.set(xlabel="negative log-likelihood")
    losses.xaxis.set_major_locator(MaxNLocator(5))
    for axes in (accuracies, losses):
        axes.grid(alpha=0.3)
        axes.set_ylim(-0.5, len(rungs) - 0.5)
    figure.suptitle(f"{title}, {reviews:,} validation reviews")
    return _png(figure)


def reliability(splits: Mapping[str, Any], title: str) -> bytes:
    """How often answers of each score were right, in bins of equal mass; `splits` as `report.measure` gives them."""
    figure = Figure(figsize=(4.6, 4.4), layout="constrained")
    axes = figure.subplots()
    lowest = min(score for split in splits.values() for _, score, _ in split["reliability"])
    axes.plot([lowest, 1], [lowest, 1], color=_GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    for name, split in splits.items():
        counts, scores, right = zip(*split["reliability"], strict=True)
        label = f"{name}, {sum(counts):,} reviews"
        axes.plot(scores, right, marker="o", markersize=4, color=_COLOURS[name], label=label)
    axes.set(xlabel="score", ylabel="share of right answers", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return _png(figure)


def coverage(splits: Mapping[str, Any], stated_rate: float | None, title: str) -> bytes:
    """Accuracy on the answers that are surest, by how many those are; a dot where the flag `uncertain` cuts."""
    figure = Figure(figsize=(5.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, split in splits.items():
        shares, accuracy = zip(*split["coverage"], strict=True)
        kept = split["figures"]["unflagged"]
        label = name
        if kept["reviews"]:
            label = f"{name}: {kept['accuracy']:.1%} right of the {kept['share']:.0%} not flagged"
            axes.plot(kept["share"], kept["accuracy"], marker="o", color=_COLOURS[name])
        axes.plot(shares, accuracy, color=_COLOURS[name], label=label)
    if stated_rate is not None:
        axes.axhline(stated_rate, color=_GREY, linewidth=1, linestyle="--", label=f"the stated {100 * stated_rate:g}%")
    axes.set(xlabel="share of the answers, surest first", ylabel="share of right answers among them", title=title)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower left")
    return _png(figure)


def confusion(splits: Mapping[str, Any], title: str) -> bytes:
    """Which label is taken for which: a line for each true label, shaded by the share of its texts, with counts.

    `splits` are those of `report.measure`.
    """
    found = {name: split["figures"]["by_label"] for name, split in splits.items()}
    [names, *_] = map(list, found.values())
    side = 1.6 + 0.5 * min(len(names), _COUNTED_LABELS)
    figure = Figure(figsize=(0.8 + (side + 0.6) * len(found), side + 0.8), layout="constrained")
    for axes, (split, by_label) in zip(np.atleast_1d(figure.subplots(1, len(found))), found.items(), strict=True):
        counts = np.array([[by_label[name]["taken_for"].get(other, 0) for other in names] for name in names])
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts) if len(names) <= _COUNTED_LABELS else ():
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour, fontsize="small")
        shown = [name if len(name) <= 14 else f"{name[:13]}…" for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=90, parse_math=False)
        axes.set_yticks(range(len(names)), shown, parse_math=False)
        axes.set(xlabel="label answered", ylabel="true label", title=split)
    figure.suptitle(title)
    return _png(figure)


def deletion(splits: Mapping[str, Any], title: str) -> bytes:
    """What is left of the score when tokens are removed in each order; `splits` as `faithfulness.report` gives them."""
    figure = Figure(figsize=(0.8 + 4.6 * len(splits), 4.0), layout="constrained")
    for axes, (name, found) in zip(
        np.atleast_1d(figure.subplots(1, len(splits), sharey=True)), splits.items(), strict=True
    ):
        shares = [0.0, *found["shares"]]
        places = np.arange(len(shares))
        for order, colour in (("random", _GREY), ("evidence", _BLUE), ("occlusion", _ORANGE)):
            left = [found["score"], *found["orders"][order]["score_left"]]
            axes.plot(places, left, marker="o", markersize=4, color=colour, label=_DELETED[order])
        axes.set_xticks(places, [f"{share:.0%}" for share in shares])
        axes.set(xlabel="share of the tokens removed", title=f"{name}, {found['texts']:,} reviews")
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("probability of the label first given")
    figure.axes[0].legend(frameon=False)
    figure.suptitle(title)
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
