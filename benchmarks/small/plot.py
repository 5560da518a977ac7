"""The accuracy of each arm by the number of labelled texts, as a picture."""

from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import small

_LOOKS = {small.LINEAR: ("#c0392b", "s"), small.WARM: ("#2a6f97", "o"), small.SCRATCH: ("#b8860b", "^")}


def draw(found: dict[str, Any], path: Path) -> None:
    """Writes the PNG of the results `found` to `path`."""
    from matplotlib import pyplot
    from matplotlib.ticker import PercentFormatter

    cells = found["cells"]
    sizes = sorted({cell["size"] for cell in cells})
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for number, (arm, (colour, marker)) in enumerate(_LOOKS.items()):
        of_arm = [cell for cell in cells if cell["arm"] == arm]
        means = [mean(cell["accuracy"] for cell in of_arm if cell["size"] == size) for size in sizes]
        axes.plot(sizes, means, color=colour, marker=marker, label=f"{arm}: mean")
        shifted = [cell["size"] * 1.02 ** (number - 1) for cell in of_arm]  # beside the other arms
        axes.scatter(shifted, [cell["accuracy"] for cell in of_arm], color=colour, s=9, alpha=0.5)
    axes.set(xscale="log", xlabel="labelled texts (log)", ylabel="accuracy on the domain's test reviews")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    axes.set_title("Few labelled texts: a dot is one run")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
