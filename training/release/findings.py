"""The parts of the model card that tell what an answer is worth; each a list of Markdown lines, empty without figures.

`splits` maps validation and test to what `report.measure` found of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from service.model.bundle import Manifest

_NEGATION_SETS = {"validation": "first set", "test": "held-out set"}
_ORDERS = {
    "evidence": "most evidence first",
    "occlusion": "most lost alone first (occlusion)",
    "random": "at random",
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose first column is aligned left."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def accuracy(found: Mapping[str, Any]) -> str:
    """An accuracy with its interval."""
    low, high = found["accuracy_interval_95"]
    return f"{found['accuracy']:.2%} ({low:.2%} to {high:.2%})"


def calibration(manifest: Manifest, metrics: Mapping[str, Any], splits: Mapping[str, Any]) -> list[str]:
    """Temperature and threshold, and what came of them."""
    kept = {name: found["unflagged"] for name, found in metrics.items() if "unflagged" in found}
    rows = [
        ["not flagged", *(f"{found['share']:.1%} of the answers" for found in kept.values())],
        ["right among them (95 % interval)", *(accuracy(f) if f["reviews"] else "-" for f in kept.values())],
    ]
    neutral = [splits.get(name, {}).get("neutral") for name in kept]
    if any(neutral):
        told = (f"{found['flagged']:.1%} of {found['texts']:,}" if found else "-" for found in neutral)
        rows.append(["neutral texts flagged", *told])
    return [
        "## Calibration",
        "",
        f"Scores are calibrated by one temperature ({manifest.temperature:.3f}, folded into the last weights). An "
        f"answer is flagged `uncertain` below a score of {manifest.uncertain_below:.3f}, or where no word is known."
        + _why(manifest),
        "",
        *table(["", *kept], rows),
        "",
        "![reliability](figures/reliability.png) ![coverage](figures/coverage.png)",
        "",
    ]


def by_source(metrics: Mapping[str, Any]) -> list[str]:
    """What the model is worth on each data set and domain; nothing where there is one."""
    lines: list[str] = []
    for split, found in metrics.items():
        if not found.get("by_source"):
            continue
        rows = []
        for name, of in found["by_source"].items():
            kept = of["unflagged"]
            right = f"{kept['accuracy']:.1%}" if kept["reviews"] else "-"
            error = f"{of['expected_calibration_error']:.1%}"
            rows.append([name, f"{of['reviews']:,}", accuracy(of), f"{kept['share']:.1%}", right, error])
        heads = [split, "texts", "accuracy (95 % interval)", "not flagged", "right among them", "ECE"]
        lines += [*table(heads, rows), ""]
    return ["## By data set", "", *lines] if lines else []


def _why(manifest: Manifest) -> str:
    """How the threshold was chosen; bundles made before that was recorded say nothing of it."""
    training = manifest.training
    if "stated_rate" not in training:
        return ""
    rate = f"{100 * training['stated_rate']:g}%"
    if training["stated_rate_shown"]:
        where = ", in each data set" if len(manifest.metrics["validation"].get("by_source", {})) > 1 else ""
        return (
            f" It is the lowest at which the lower end of Wilson's one-sided 95 % interval says, on validation, that "
            f"{rate} of what is not flagged is right{where}. Validation's own share, without the interval, would be as "
            "often too high as too low for other reviews."
        )
    return f" What is not flagged scores {rate} on average; validation does not show that as much of it is right."


def robustness(splits: Mapping[str, Any], odd_texts: Mapping[str, Any]) -> list[str]:
    """What perturbations cost, and the answers to odd texts."""
    found = {name: split["robustness"] for name, split in splits.items()}
    [first, *_] = found.values()
    counts = " and ".join(f"{report['reviews']:,} {name} reviews" for name, report in found.items())
    lines = [
        "## Robustness",
        "",
        f"{counts}, each changed in a way drawn from its own text. Points of accuracy lost, with the 95 % interval of "
        "a paired difference; a minus is a gain. Case and line breaks are no part of a token; only letters like “ß”, "
        "whose upper case is spelled otherwise, make others.",
        "",
    ]
    for keeps, head in ((True, "what is said is all there"), (False, "there is less to judge by (a fall is no flaw)")):
        names = [name for name, one in first["perturbations"].items() if one["keeps_what_is_said"] == keeps]
        rows = [[name, *(_fall(report["perturbations"][name]) for report in found.values())] for name in names]
        lines += [*table([head, *found], rows), ""]
    return [*lines, *table(["other texts", "tokens", "answer"], [_odd(*item) for item in odd_texts.items()]), ""]


def _fall(found: Mapping[str, Any]) -> str:
    if found["same_tokens"] == 1:
        return "0 (the same tokens)"
    if not found["other_label"]:
        return "0 (no label changed)"
    low, high = (100 * end for end in found["fall_interval_95"])
    return f"{100 * found['fall']:.1f} ({low:.1f} to {high:.1f})"


def _odd(name: str, answer: Mapping[str, Any]) -> list[str]:
    if answer["refused"]:
        return [name, "0", "refused: no visible character"]
    flag = ", `uncertain`" if answer["uncertain"] else ""
    return [name, str(answer["tokens"]), f"{answer['label']} {answer['score']:.2f}{flag}"]


def negation(splits: Mapping[str, Any]) -> list[str]:
    """Pairs of the probe judged right, by pattern."""
    found = {name: split["negation"] for name, split in splits.items() if split["negation"]}
    if not found:
        return []
    heads = [f"{_NEGATION_SETS[name]}, {report['pairs']} pairs" for name, report in found.items()]
    rows = [["**both halves right** (95 % interval)", *map(_pairs, found.values())]]
    rows.append(["halves right", *(f"{report['halves_right']:.1%}" for report in found.values())])
    for pattern in dict.fromkeys(pattern for report in found.values() for pattern in report["by_pattern"]):
        rows.append([pattern, *(_pattern(report["by_pattern"].get(pattern)) for report in found.values())])
    return [
        "## Negation",
        "",
        "Pairs of English sentences of one template, one plainly positive and one plainly negative: “The film was not "
        "boring at all.” and “The film was not exciting at all.” By chance 25 % of the pairs come out right. The sets "
        "(`training/evaluation/probes`) were frozen before any training on such patterns, and share neither a template "
        "nor a word but function words; the held-out set is read with the test split only. In the patterns named “not "
        "flipped” the word keeps its sense.",
        "",
        *table(["", *heads], rows),
        "",
    ]


def _pairs(report: Mapping[str, Any]) -> str:
    low, high = report["both_right_interval_95"]
    return f"{report['both_right']:.1%} ({low:.1%} to {high:.1%})"


def _pattern(found: Mapping[str, Any] | None) -> str:
    return f"{found['both_right']:.0%} of {found['pairs']}" if found else "-"


def evidence(splits: Mapping[str, Any]) -> list[str]:
    """The area over the deletion curves, and what each order costs."""
    found = by_kind(splits)
    if not found:
        return []
    heads = [f"{name}, {report['texts']:,} texts" for name, report in found.items()]
    last = list(found.values())[-1]
    rows = []
    for order, name in _ORDERS.items():
        cost = last["orders"][order]
        seconds = f"{1000 * cost['seconds_a_text']:.1f}" if cost["forwards_a_text"] else "0"
        areas = [_area(report["orders"][order]) for report in found.values()]
        rows.append([name, *areas, f"{cost['forwards_a_text']:.0f}", seconds])
    shares = ", ".join(f"{100 * share:.0f}" for share in last["shares"])
    return [
        "## Evidence",
        "",
        "Does evidence name the tokens that an answer hangs on? They are removed, and the probability of the label "
        f"first given is watched. The area over the curve is its mean fall once {shares} % of the tokens are gone "
        "(ERASER's comprehensiveness), with the 95 % interval. Occlusion removes each token alone to find the order: "
        "what one would do without evidence.",
        "",
        *table(["tokens removed", *heads, "runs of the network a text", "ms a text"], rows),
        "",
        "![evidence](figures/evidence.png)",
        "",
    ]


def by_kind(splits: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The deletion curves by split and data set."""
    return {f"{name}, {kind}": report for name, split in splits.items() for kind, report in split["evidence"].items()}


def _area(found: Mapping[str, Any]) -> str:
    low, high = found["area_interval_95"]
    return f"{found['area']:.3f} ({low:.3f} to {high:.3f})"
