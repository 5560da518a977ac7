"""What the model card says of figures that come from folds."""

from collections.abc import Mapping
from typing import Any


def in_card(training: Mapping[str, Any]) -> list[str]:
    """How validation was measured and what a linear model is worth; nothing where there were no folds."""
    if not (found := training.get("folds")):
        return []
    accuracies = found["accuracies"]
    draws = f", as the mean of {len(accuracies)} draws of the folds" if len(accuracies) > 1 else ""
    linear = {"accuracy": found["linear_accuracy"]} | {key: found[key] for key in ("gain", "gain_interval_95")}
    lines = [
        f"There were few texts, so validation stands for {found['folds']} folds: each of the {found['texts']:,} texts "
        f"was judged by a network that had not read it{draws}; the network that ships learned from all of them. "
        "Robustness, negation and evidence are those of a network of the training split alone.",
        "",
        _beside("TF-IDF and logistic regression, by the same folds", linear, "A linear model alone"),
        "",
    ]
    if start := found.get("start"):
        name = training["warm_start"]
        lines += [_beside(f"{name} as it is, on the same texts", start, f"{name} as it is"), ""]
    return lines


def _beside(name: str, other: Mapping[str, Any], less: str) -> str:
    """How another model does on the same texts, and whether it would do."""
    gain = 100 * other["gain"]
    least, most = (100 * end for end in other["gain_interval_95"])
    return (
        f"{name}: accuracy {other['accuracy']:.2%}. The network is {gain:+.1f} points more accurate (95 % interval "
        f"{least:+.1f} to {most:+.1f})." + ("" if least > 0 else f" **{less} would serve as well.**")
    )


def plan(training: Mapping[str, Any]) -> str:
    """In how many epochs, or by what folds, the network was trained."""
    return f"{training['epochs']} epochs" if "folds" not in training else f"{training['folds']['folds']} folds"
