"""The plots of the results, drawn from the JSON files alone."""

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.frontier import plot
from benchmarks.small import plot as small


def write(folder: Path) -> None:
    """Writes a PNG for each section in SECTIONS whose JSON file is in `folder`."""
    import matplotlib

    matplotlib.use("Agg")
    for section, draw in _PLOTS.items():
        path = folder / f"{section}.json"
        if path.exists():
            draw(json.loads(path.read_text())["found"], folder / f"{section}.png")


def _peers(found: dict[str, Any], path: Path) -> None:
    """Reviews a second and p99 of every server at 8 and at 64 connections."""
    from matplotlib import pyplot

    names = [name for name in found["rounds"][0] if name not in found["unavailable"]]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
    for axis, key, title in zip(axes, ("requests_per_second", "p99_ms"), ("reviews/s", "p99, ms (log)"), strict=True):
        for offset, count in ((-0.2, "8"), (0.2, "64")):
            values = [median(part[name][count][key] for part in found["rounds"]) for name in names]
            heights = [index + offset for index in range(len(names))]
            axis.barh(heights, values, height=0.38, label=f"{count} connections")
        axis.set(title=title, yticks=range(len(names)), yticklabels=names)
    axes[0].invert_yaxis()  # of both plots, which share it
    axes[1].set(xscale="log", xlim=(1, None))
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _open(found: dict[str, Any], path: Path) -> None:
    """Goodput, and the latency of the answers of 200, by the offered rate."""
    from matplotlib import pyplot

    points = [point for point in found["points"] if point["kind"] == "poisson"]
    rates = [point["rate"] for point in points]
    figure, (above, below) = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    above.plot(rates, rates, color="0.7", label="offered")
    above.plot(rates, [point["goodput"] for point in points], marker="o", label="answered with 200")
    above.set(title="requests/s", xlabel="offered, requests/s")
    above.legend(frameon=False)
    for percent in (50, 95, 99):
        latencies = [point["statuses"]["200"]["percentiles_ms"][percent] for point in points]
        below.plot(rates, latencies, marker="o", label=f"p{percent}")
    below.set(title="latency from the intended start, ms (log)", xlabel="offered, requests/s", yscale="log")
    below.legend(frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


_PLOTS: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "peers": _peers,
    "open": _open,
    "frontier": plot.draw,
    "small": small.draw,
}
SECTIONS = frozenset(_PLOTS)
