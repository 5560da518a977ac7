"""Accuracy on validation against reviews a second on one core: bundles, and cheaper models fitted to the same reviews.

`python -m benchmarks.frontier --data aclImdb_v1.tar.gz [BUNDLE ...]` measures. A prediction is timed from the raw text
to the label, tokenizing included, one review at a time; all models are measured in one run, in interleaved rounds.
"""

from statistics import median
from typing import Any

from benchmarks.report import markdown, spread

SHIPPED, BASELINE = "reviews-bilstm fp32", "NB-weighted linear fp32"
# Accuracies on the 25,000 test reviews as published by the authors; these models were not run here.
PUBLISHED = (
    {"name": "DistilBERT", "accuracies": [0.9282], "source": "Sanh et al. 2019"},
    {"name": "BERT-base", "accuracies": [0.9346, 0.9458], "source": "Sanh et al. 2019; Sun et al. 2019"},
)


def table(found: dict[str, Any]) -> str:
    """Markdown: every contestant, the most accurate first; how each is implemented; and `headline`."""
    points = sorted(found["points"], key=lambda point: -point["accuracy"])
    rows = [
        [
            f"{point['name']}, {point['precision']}",
            _percent(point["accuracy"], found["reviews"]),
            spread([part[point["key"]] for part in found["rounds"]]),
            spread(ratios(found, point["key"], BASELINE), ".2f"),
            _rate_together(found, point["key"]),
        ]
        for point in points
    ]
    rows += [
        [
            f"{model['name']}, published ({model['source']})",
            " to ".join(f"{accuracy:.2%}" for accuracy in model["accuracies"]) + " on test",
            "not measured",
            "",
            "",
        ]
        for model in found["published"]
    ]
    implementations = {point["name"]: point["implementation"] for point in points if "implementation" in point}
    notes = [f"- {name}: {implementation}." for name, implementation in implementations.items()]
    notes += [f"- {name}: unavailable: {reason.splitlines()[0]}" for name, reason in found["unavailable"].items()]
    header = [
        "model",
        "accuracy on validation (95 % interval)",
        "reviews/s",
        "× NB-weighted linear",
        "64 at once",
    ]
    lines = [
        f"{found['reviews']:,} validation reviews, {found['timed']:,} of them timed in {len(found['rounds'])} rounds:",
        markdown(header, rows),
        "\n".join(notes),
    ]
    return "\n\n".join([*lines, *filter(None, [headline(found)])])


def headline(found: dict[str, Any]) -> str | None:
    """The speed of the bundle that ships relative to the linear model of similar accuracy; None if not both ran."""
    by_key = {point["key"]: point for point in found["points"]}
    if not {SHIPPED, BASELINE} <= by_key.keys():
        return None
    alone, together = (spread(ratios(found, SHIPPED, BASELINE, how), ".2f") for how in ("rounds", "together"))
    return (
        f"reviews-bilstm : NB-weighted linear = {alone} in reviews/s, {together} with 64 reviews at once, "
        f"at {by_key[SHIPPED]['accuracy']:.2%} and {by_key[BASELINE]['accuracy']:.2%} on validation."
    )


def ratios(found: dict[str, Any], key: str, other: str, how: str = "rounds") -> list[float]:
    """Rate of `key` over rate of `other` [round]; `how` is "rounds" (one review at a time) or "together" (64)."""
    return [part[key] / part[other] for part in found[how]]


def _rate_together(found: dict[str, Any], key: str) -> str:
    return spread([part[key] for part in found["together"]]) if key in found["together"][0] else ""


def rate(found: dict[str, Any], key: str) -> float:
    """Reviews a second, one at a time: the median of the rounds."""
    return float(median(part[key] for part in found["rounds"]))


def _percent(accuracy: float, reviews: int) -> str:
    from training.evaluation.intervals import (
        wilson_interval,  # not at the top: `compiled` runs in an environment without the dependencies of training
    )

    low, high = wilson_interval(round(accuracy * reviews), reviews)
    return f"{accuracy:.2%} ({low:.2%} to {high:.2%})"
