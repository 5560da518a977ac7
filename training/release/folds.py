"""What the screen and the model card say of figures that come from folds."""

from collections.abc import Mapping
from typing import Any


def in_card(training: Mapping[str, Any]) -> list[str]:
    """How validation was measured and what a linear model is worth; nothing where there were no folds."""
    if not (found := training.get("folds")):
        return []
    accuracies = found["accuracies"]
    draws = f", as the mean of {len(accuracies)} draws of the folds" if len(accuracies) > 1 else ""
    lines = [
        f"There were few texts, so validation stands for {found['folds']} folds: each of the {found['texts']:,} texts "
        f"was judged by a network that had not read it{draws}; the network that ships learned from all of them. "
        "Robustness, negation and evidence are those of a network of the training split alone.",
        "",
    ]
    for worth, verdict in comparisons(found, training["warm_start"]):
        lines += [f"{worth} **{verdict}**" if verdict else worth, ""]
    return lines


def comparisons(found: Mapping[str, Any], start: str) -> list[tuple[str, str]]:
    """What a linear model and the bundle `start` are worth on the same texts, and whether it would do; "": no."""
    others = [("TF-IDF and logistic regression, by the same folds", "A linear model alone", found["linear"])]
    if "start" in found:
        others.append((f"{start} as it is, on the same texts", f"{start} as it is", found["start"]))
    sentences = []
    for name, less, other in others:
        gain = 100 * other["gain"]
        least, most = (100 * end for end in other["gain_interval_95"])
        worth = (
            f"{name}: accuracy {other['accuracy']:.2%}. The network is {gain:+.1f} points more accurate (95 % interval "
            f"{least:+.1f} to {most:+.1f})."
        )
        sentences.append((worth, "" if least > 0 else f"{less} would serve as well."))
    return sentences


def plan(training: Mapping[str, Any]) -> str:
    """In how many epochs, or by what folds, the network was trained."""
    if "folds" in training:
        return f"{training['folds']['folds']} folds"
    if "first-network" in training.get("machines", ()):
        return f"{training['recipe']['mixing']['first']['epochs']} and {training['epochs']} epochs"
    return f"{training['epochs']} epochs"
