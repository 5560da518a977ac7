"""Training the preset `article` here and in Keras: the same token ids, batch size and epochs, both on all cores.

`python -m benchmarks.keras --data aclImdb_v1.tar.gz` measures. Keras runs in an environment of its own (keras.txt),
written as articles write it: `pad_sequences` before the text, no mask; and once more with `mask_zero`, which makes it
the same network to the last step. All take turns, an epoch each; a seed that is done is kept in runs/keras.
"""

from collections.abc import Sequence
from statistics import mean, median
from typing import Any

import training  # noqa: F401  # before torch: it sets how threads wait
from benchmarks.report import markdown, spread

OURS, KERAS, MASKED = "Ovation", "Keras", "Keras, mask_zero"


def table(found: dict[str, Any]) -> str:
    """Speed and accuracy of all, the ratios to Keras, and what Keras was tried with."""
    seeds = found["seeds"]
    how = {OURS: seeds[0]["precision"], **{name: settings(of) for name, of in found["chosen"].items()}}
    rows = [
        [
            f"{name} ({how[name]})",
            spread([tokens_a_second(one[name]) for one in seeds]),
            f"{mean(_padded(one[name]) for one in seeds):.2f}",
            f"{mean(accuracies(found, name)):.2%}",
            ", ".join(f"{accuracy:.2%}" for accuracy in accuracies(found, name)),
        ]
        for name in (OURS, KERAS, MASKED)
    ]
    judged = f"{found['judged_by']} accuracy, mean"
    trials = [[settings(trial["arguments"]), f"{trial['tokens_a_second']:,.0f}"] for trial in found["trials"]]
    return "\n\n".join(
        [
            f"{found['train']:,} reviews of {found['mean_tokens']:.0f} tokens in the mean, {found['epochs']} epochs, "
            f"{len(seeds)} seeds, judged by {found['judged']:,} reviews of {found['judged_by']}. Tokens are real ones, "
            "steps count the padding too; of each run the median epoch but for the first:",
            markdown(["", "tokens/s", "steps a token", judged, "by seed"], rows),
            "\n".join(f"- {line}" for line in headlines(found)),
            f"Keras' settings on {found['trial_reviews']:,} reviews; the fastest with and the fastest without a mask "
            "were kept:",
            markdown(["Keras", "tokens/s"], trials),
        ]
    )


def headlines(found: dict[str, Any]) -> list[str]:
    """For each Keras the ratio of the speeds, each of the same seed, and the difference of the mean accuracies."""
    lines = []
    for name in (KERAS, MASKED):
        ratios = [tokens_a_second(one[OURS]) / tokens_a_second(one[name]) for one in found["seeds"]]
        points = 100 * (mean(accuracies(found, OURS)) - mean(accuracies(found, name)))
        lines.append(f"{OURS} : {name} = {spread(ratios, '.2f')} in tokens/s; mean accuracy {points:+.2f} points")
    return lines


def tokens_a_second(run: dict[str, Any]) -> float:
    """The median of the epochs after the first, in which compilers and caches warm up."""
    return float(median(epoch["tokens"] / epoch["seconds"] for epoch in run["epochs"][1:]))


def accuracies(found: dict[str, Any], name: str) -> list[float]:
    """One a seed."""
    return [one[name]["accuracy"] for one in found["seeds"]]


def _padded(run: dict[str, Any]) -> float:
    return float(sum(epoch["steps"] for epoch in run["epochs"]) / sum(epoch["tokens"] for epoch in run["epochs"]))


def settings(arguments: Sequence[str]) -> str:
    """What Keras is told, for people."""
    return " ".join(arguments).replace("--", "") or "as it comes"
