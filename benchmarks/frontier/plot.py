"""The frontier as a picture: accuracy on validation against reviews a second."""

from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import frontier
from training.evaluation.intervals import wilson_interval

_SHIPPED = frontier.SHIPPED.split()[0]
_ARTICLE, _LINEAR, _PUBLISHED, _FRONTIER = "#b8860b", "#c0392b", "0.4", "0.85"
_GAP = 0.03  # between neighbouring accuracies: at a larger gap the vertical axis is broken in two
_MARGIN = 0.005


def draw(found: dict[str, Any], path: Path) -> None:
    """Writes the PNG of the results `found` to `path`."""
    from matplotlib import pyplot

    points = [{**point, "rate": frontier.rate(found, point["key"])} for point in found["points"]]
    colours = _colours(points)
    shown = spans([point["accuracy"] for point in points], found["published"])
    heights = [6, 1][: len(shown)]
    figure, parts = pyplot.subplots(
        len(shown), 1, figsize=(10, 7), layout="constrained", sharex=True, height_ratios=heights, squeeze=False
    )
    rates = [point["rate"] for point in points]
    for axes, span in zip(parts[:, 0], shown, strict=True):
        axes.set(xscale="log", xlim=(min(rates) / 1.35, max(rates) * 1.7), ylim=span)
        _edge(axes, points)
        for point in points:
            _point(axes, point, colours, [other for other in points if other["name"] == point["name"]])
    for one in found["published"]:
        _published(parts[0, 0], one)
    _dress(parts[:, 0], found, colours)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def spans(accuracies: list[float], published: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """The accuracies (low, high) that each part of the vertical axis shows, from above: one part, or two at a gap."""
    ordered = sorted(accuracies, reverse=True)
    top = max(ordered[0], *(one["accuracies"][-1] for one in published)) + _MARGIN
    for higher, lower in pairwise(ordered):
        if higher - lower > _GAP:
            return [(higher - _MARGIN, top), (ordered[-1] - 2 * _MARGIN, lower + 2 * _MARGIN)]
    return [(ordered[-1] - _MARGIN, top)]


def _colours(points: list[dict[str, Any]]) -> dict[int, Any]:
    """The colour of our networks by hidden size: the larger, the darker."""
    from matplotlib import colormaps

    sizes = sorted({point["hidden"] for point in points if _is_ours(point)})
    return {size: colormaps["YlGnBu"](0.4 + 0.6 * index / max(1, len(sizes) - 1)) for index, size in enumerate(sizes)}


def _is_ours(point: dict[str, Any]) -> bool:
    return "bundle" in point and point["preset"] != "article"


def _point(axes: Any, point: dict[str, Any], colours: dict[int, Any], precisions: list[dict[str, Any]]) -> None:
    """Draws a marker: filled and labelled for fp32, hollow for int8; a line joins both `precisions` of a model."""
    ours, ships, fp32 = _is_ours(point), point["name"] == _SHIPPED, point["precision"] == "fp32"
    colour = colours[point["hidden"]] if ours else _ARTICLE if "bundle" in point else _LINEAR
    shape = ("*" if ships else "o") if "bundle" in point else "s"
    look = {"markersize": 17 if ships else 7.5, "markerfacecolor": colour if fp32 else "white"}
    edge = "black" if ships else colour
    axes.plot(point["rate"], point["accuracy"], shape, markeredgecolor=edge, zorder=5 if ships else 3, **look)
    if not fp32:
        return
    axes.plot([p["rate"] for p in precisions], [p["accuracy"] for p in precisions], color=colour, alpha=0.5, zorder=2)
    systematic = ours and point["name"] == f"h{point['hidden']}-d{point['embedding']}"
    label = axes.annotate(
        point["embedding"] if systematic else point["name"],
        (point["rate"], point["accuracy"]),
        xytext=(0, 10 if ships else 6),
        textcoords="offset points",
        ha="center",
        fontsize=7 if systematic else 9,
        fontweight="bold" if ships else "normal",
        color="black" if ours else colour,
        zorder=6,
    )
    label.set_in_layout(False)  # its point may lie in the other part of a broken axis


def _edge(axes: Any, points: list[dict[str, Any]]) -> None:
    """Draws the Pareto frontier: the points that no other point beats in both rate and accuracy."""
    best, edge = 0.0, []
    for point in sorted(points, key=lambda point: -point["rate"]):
        if point["accuracy"] > best:
            best = point["accuracy"]
            edge.append(point)
    rates, accuracies = ([point[of] for point in edge] for of in ("rate", "accuracy"))
    axes.step(rates, accuracies, where="post", color=_FRONTIER, linewidth=6, zorder=1)


def _published(axes: Any, one: dict[str, Any]) -> None:
    """Draws a published model's accuracies as a band over all rates, since its rate was not measured here."""
    low, high = one["accuracies"][0], one["accuracies"][-1]
    axes.axhspan(low, high, color=_PUBLISHED, alpha=0.1, linewidth=0, zorder=0)
    for accuracy in one["accuracies"]:
        axes.axhline(accuracy, color=_PUBLISHED, linewidth=0.9, linestyle=(0, (5, 4)), zorder=0)
    accuracies = " to ".join(f"{accuracy:.1%}" for accuracy in one["accuracies"])
    axes.annotate(
        f"{one['name']}: {accuracies} on test as published, speed not measured here",
        (0.99, high),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=_PUBLISHED,
    ).set_in_layout(False)


def _dress(parts: Any, found: dict[str, Any], colours: dict[int, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MultipleLocator, NullLocator, PercentFormatter

    for axes in parts:
        axes.yaxis.set_major_locator(MultipleLocator(0.01))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    if len(parts) > 1:  # an axis broken in two
        parts[0].spines["bottom"].set_visible(False)
        parts[0].tick_params(axis="x", length=0)
        look = {"marker": [(-1, -0.6), (1, 0.6)], "markersize": 9, "color": "black", "linestyle": "", "clip_on": False}
        parts[0].plot(0, 0, transform=parts[0].transAxes, **look)
        parts[1].plot(0, 1, transform=parts[1].transAxes, **look)
    parts[-1].set_xlabel("reviews/s on one core, one at a time, tokenizing included (log)")
    parts[0].set_ylabel(f"accuracy on {found['reviews']:,} validation reviews")
    low, high = wilson_interval(round(0.92 * found["reviews"]), found["reviews"])
    parts[0].set_title(f"Accuracy against speed (95 % interval of a point near 92 %: ± {(high - low) / 2:.1%})")
    parts[0].legend(handles=_legend(colours), frameon=False, loc="lower left", fontsize=8)


def _legend(colours: dict[int, Any]) -> list[Any]:
    from matplotlib.lines import Line2D

    kinds = [
        *((f"BiLSTM, {size} units a direction", "o", colour, colour) for size, colour in colours.items()),
        ("the same, LSTM in int8", "o", "0.4", "white"),
        ("linear models", "s", _LINEAR, _LINEAR),
    ]
    handles = [
        Line2D([], [], marker=marker, linestyle="", color=colour, markerfacecolor=face, label=label)
        for label, marker, colour, face in kinds
    ]
    text = "a number: the embedding's size"
    handles.insert(len(colours), Line2D([], [], marker="$64$", markersize=9, linestyle="", color="black", label=text))
    frontier_text = "frontier: nothing measured is better in both"
    return [*handles, Line2D([], [], color=_FRONTIER, linewidth=6, label=frontier_text)]
