"""Training the preset `article` here and in Keras: the same token ids, batch size and epochs, both on all cores.

`python -m benchmarks.keras --data aclImdb_v1.tar.gz` measures. Keras runs in an environment of its own (keras.txt), as
articles use it: padding before the text by `pad_sequences`, without a mask; and also with `mask_zero`, which computes
the same network as ours. All three train in turns of one epoch; finished seeds are kept in runs/keras.
"""

from collections.abc import Sequence
from statistics import mean, median
from typing import Any

import training  # noqa: F401  # before torch: it sets how long OpenMP's threads spin
from benchmarks.report import markdown, spread

OURS, KERAS, MASKED = "Ovation", "Keras", "Keras, mask_zero"


def table(found: dict[str, Any]) -> str:
    """Markdown: speed and accuracy of all three, `headlines`, and the speed of Keras under each setting tried."""
    seeds = found["seeds"]
    notes = {OURS: seeds[0]["precision"], **{name: settings(of) for name, of in found["chosen"].items()}}
    rows = [
        [
            f"{name} ({notes[name]})",
            spread([tokens_a_second(one[name]) for one in seeds]),
            f"{mean(_steps_a_token(one[name]) for one in seeds):.2f}",
            f"{mean(accuracies(found, name)):.2%}",
            ", ".join(f"{accuracy:.2%}" for accuracy in accuracies(found, name)),
        ]
        for name in (OURS, KERAS, MASKED)
    ]
    accuracy = f"{found['judged_by']} accuracy, mean"
    trials = [[settings(trial["arguments"]), f"{trial['tokens_a_second']:,.0f}"] for trial in found["trials"]]
    return "\n\n".join(
        [
            f"{found['train']:,} reviews of {found['mean_tokens']:.0f} tokens in the mean, {found['epochs']} epochs, "
            f"{len(seeds)} seeds; accuracy on {found['judged']:,} reviews of {found['judged_by']}. Tokens exclude "
            "padding, steps include it; of each run the median of the epochs after the first:",
            markdown(["", "tokens/s", "steps a token", accuracy, "by seed"], rows),
            "\n".join(f"- {line}" for line in headlines(found)),
            f"Keras' settings on {found['trial_reviews']:,} reviews; the fastest with and the fastest without a mask "
            "were used above:",
            markdown(["Keras", "tokens/s"], trials),
        ]
    )


def headlines(found: dict[str, Any]) -> list[str]:
    """For Keras with and without a mask: the ratio of speeds by seed, and the difference of the mean accuracies."""
    lines = []
    for name in (KERAS, MASKED):
        ratios = [tokens_a_second(one[OURS]) / tokens_a_second(one[name]) for one in found["seeds"]]
        points = 100 * (mean(accuracies(found, OURS)) - mean(accuracies(found, name)))
        lines.append(f"{OURS} : {name} = {spread(ratios, '.2f')} in tokens/s; mean accuracy {points:+.2f} points")
    return lines


def tokens_a_second(run: dict[str, Any]) -> float:
    """The median over the epochs after the first, which warms up compilers and caches."""
    return float(median(epoch["tokens"] / epoch["seconds"] for epoch in run["epochs"][1:]))


def accuracies(found: dict[str, Any], name: str) -> list[float]:
    """The accuracy [seed] of `name`."""
    return [one[name]["accuracy"] for one in found["seeds"]]


def _steps_a_token(run: dict[str, Any]) -> float:
    return float(sum(epoch["steps"] for epoch in run["epochs"]) / sum(epoch["tokens"] for epoch in run["epochs"]))


def settings(arguments: Sequence[str]) -> str:
    """The command-line `arguments` of benchmarks.keras.network as text for the table."""
    return " ".join(arguments).replace("--", "") or "as it comes"
