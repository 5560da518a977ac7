"""The model card: what a bundle is for, what it is worth, and every reading of its test split."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.model.bundle import Manifest
from training.release import confusion, findings, folds
from training.release.findings import accuracy, table

_READINGS = "## Readings of the test split"
_UNNOTED = "a machine not noted"

_IMDB = """\
The [Large Movie Review Dataset](https://ai.stanford.edu/~amaas/data/sentiment/) (Maas et al., *Learning Word Vectors
for Sentiment Analysis*, ACL 2011): 50,000 labelled and 50,000 unlabelled English film reviews from IMDB, at most 30 of
one film, labels from the stars given (1 to 4 negative, 7 to 10 positive; 5 and 6 are not in it). It is published for
research, without a licence of its own; the reviews belong to their authors. No review is part of this bundle; the
weights and the word list were derived from them."""
_OTHERS = {
    "treebank": """\
The [Stanford Sentiment Treebank](https://nlp.stanford.edu/sentiment/) (Socher et al., *Recursive Deep Models for
Semantic Compositionality Over a Sentiment Treebank*, EMNLP 2013): 11,855 sentences of film reviews, every phrase of
them graded from very negative to very positive by people. Published for research, without a licence of its own. What is
judged are whole sentences; neutral ones have no label.""",
    "products": """\
[FDU-MTL](https://aclanthology.org/P17-1001/) (Liu, Qiu and Huang, *Adversarial Multi-task Learning for Text
Classification*, ACL 2017): product reviews of many domains from Amazon, some 2,000 labelled and 2,000 unlabelled ones
in each. Published for research, without a licence of its own.""",
}

_SPLIT_OF_IMDB = "Validation is cut out of train in blocks of file ids, because reviews of one film stand together"
_SPLIT = "What is no file of its own is chosen by a hash of the text, or of its group"
_WEAKNESSES = """\
- Made for texts like those it learned from, in one language; other kinds (tweets, support tickets, news) want training
  on your own. Watch `unknown_share` and `uncertain`.
- Neutral texts have no label of their own and come out as one of the others, not always flagged `uncertain` (see
  "Calibration" and "other texts" above).
- Irony, comparisons ("better than the first one, which was dreadful") and praise of one thing amid blame of another
  are often judged by their loudest words.
- Long texts are cut to the tokens named above; `truncated` says so.
- Evidence is exact bookkeeping of what was written into the network's memory. It is near the effect of removing a word,
  not the same: what those read before a word make of it counts for the one read just before.
- Learned from what people wrote: names, countries and groups may carry weight that they should not. Do not judge
  people by it."""


def render(manifest: Manifest, measured: Mapping[str, Any], readings: list[str]) -> str:
    """The card in Markdown; `measured` as `report.contents` gives it, `readings` are the lines of the log."""
    training, recipe = manifest.training, manifest.training["recipe"]
    imdb = training["data"][0]["file"].startswith("aclImdb")
    others = [_OTHERS[entry["role"]] for entry in training["data"] if entry["role"] in _OTHERS]
    data = (
        "\n\n".join([_IMDB, *others, *_encoder(training)])
        if imdb
        else "\n".join(f"- `{entry['file']}` ({entry['role']})" for entry in training["data"])
    )
    kind = (
        "reviews of films and products, and sentences of them" if others else "film reviews" if imdb else "such texts"
    )
    splits = measured["splits"]
    metrics = {**manifest.metrics, **{name: split["figures"] for name, split in splits.items()}}
    counts = " and on ".join(f"{found['reviews']:,} {name} reviews" for name, found in metrics.items())
    lines = [
        f"# {manifest.name} {manifest.version}",
        "",
        f"Judges a text as one of: {', '.join(manifest.labels)}. A bidirectional LSTM "
        f"({recipe['hidden_size']} units a direction, embeddings of {recipe['embedding_size']}, "
        f"{'max and mean pooling and one linear layer' if manifest.evidence else 'last states and a hidden layer'}), "
        f"float32, {'with' if manifest.evidence else 'without'} evidence. "
        f"Reads at most {manifest.max_tokens} tokens ({manifest.truncation}, {manifest.rules}).",
        "",
        f"**Language**: {'English' if imdb else 'that of the training data'}. "
        f"**Intended use**: sorting and summarising {kind}, and learning how an LSTM works; not "
        "decisions about people.",
        "",
        "## Data",
        "",
        data,
        "",
        *[f"- {name}: {count:,}" for name, count in training["reviews"].items()],
        "",
        f"{_SPLIT_OF_IMDB if imdb else _SPLIT}; a copy of a test or validation text leaves train and unlabelled.",
        "",
        f"## Figures, on {counts}",
        "",
        "Measured through `service.model.classifier` on the CPU in float32. Everything from here to the training is",
        f"measured and written again by `python -m training report --bundle BUNDLE {_sources(training)} --split test`",
        "(without the last option on validation alone); the numbers stand in `figures/report.json`.",
        "",
        *_metrics_table(metrics),
        "",
        *(
            ()
            if "folds" in training
            else ("![curves](figures/curves.png) The curves as numbers: `figures/history.csv`.", "")
        ),
        *confusion.in_card(metrics),
        *folds.in_card(training),
        *findings.by_source(metrics),
        *findings.calibration(manifest, metrics, splits),
        *findings.robustness(splits, measured["odd_texts"]),
        *findings.negation(splits),
        *findings.evidence(splits),
        "## Training",
        "",
        *_training(training),
        "",
        "## Known weaknesses",
        "",
        _WEAKNESSES,
        "",
        _READINGS,
        "",
        *(readings or ["None: there were no test reviews."]),
        "",
    ]
    return "\n".join(lines)


def _sources(training: Mapping[str, Any]) -> str:
    """The options that name the data, as `report` takes them."""
    roles = dict.fromkeys(entry["role"] for entry in training["data"] if entry["role"] != "unlabelled")
    return " ".join(f"--{role} SOURCE" for role in roles)


def _encoder(training: Mapping[str, Any]) -> list[str]:
    """The pretrained encoder that taught the network, where one did."""
    if not (found := training.get("encoder")):
        return []
    fitted = found["teacher"]
    worth = ", ".join(f"{of['accuracy']:.1%} on {name}" for name, of in found["sources"].items())
    return [
        f"The network was taught by a pretrained encoder, `{fitted['encoder']}`, fine-tuned on {fitted['texts']:,} of "
        f"the training texts in {fitted['seconds'] / 60:.0f} minutes on {fitted['machine']} ({worth}, validation): its "
        "answers on training and unlabelled texts, and on sentences cut from them, are what the network learned; of "
        "whole reviews they are pooled with those of a linear model of words."
    ]


def _metrics_table(metrics: Mapping[str, Any]) -> list[str]:
    reports = list(metrics.values())
    rows = [["accuracy (95 % interval)", *map(accuracy, reports)]]
    for key, name in (
        ("auroc", "AUROC"),
        ("f1_macro", "F1, macro"),
        ("brier", "Brier score"),
        ("negative_log_likelihood", "negative log-likelihood"),
        ("expected_calibration_error", "calibration error (ECE), 15 bins of equal mass"),
        ("expected_calibration_error_before_temperature", "the same before temperature"),
    ):
        rows.append([name, *("-" if found[key] is None else f"{found[key]:.4f}" for found in reports)])
    for key, prefix in (("by_length", "accuracy, "), ("by_rating", "accuracy, stars: ")):
        for bucket in dict.fromkeys(bucket for found in reports for bucket in found[key]):
            rows.append([prefix + bucket, *(_bucket(found[key].get(bucket, {"reviews": 0})) for found in reports)])
    return table(["", *metrics], rows)


def _bucket(found: Mapping[str, Any]) -> str:
    return f"{found['accuracy']:.2%} of {found['reviews']:,}" if found["reviews"] else "-"


def _training(training: Mapping[str, Any]) -> list[str]:
    files = ", ".join(f"`{entry['file']}` (SHA-256 {entry['sha256'][:16]}…)" for entry in training["data"])
    return [
        f"`python -m training {_command(training)} --seed {training['seed']}{_start(training)}` on {files}: "
        f"{folds.plan(training)}, {training['wall_seconds'] / 60:.0f} minutes on {_machines(training)}, "
        f"source {training['source_revision'] or 'unknown'}. "
        f"torch, NumPy and onnxruntime agree within {training['parity']:.1g}. Every flag and library version stands in "
        "`manifest.json`.",
        *_ladder(training.get("ladder", {})),
        *_spread(training.get("spread", [])),
    ]


def _machines(training: Mapping[str, Any]) -> str:
    """What made what ships, and the stages before it that something else made."""
    if "machines" not in training:  # as bundles were made before that was noted
        return f"{training['threads']} threads of a {training['device']} in {training['precision']}"
    made: dict[str, list[str]] = {}
    for stage, machines in training["machines"].items():
        made.setdefault(", then ".join(machines) or _UNNOTED, []).append(f"`{stage}`")
    shipped = ", then ".join(training["machines"].get("network", [])) or _UNNOTED
    others = "".join(f", {', '.join(stages)} on {machine}" for machine, stages in made.items() if machine != shipped)
    return f"{shipped}{others}"


def _start(training: Mapping[str, Any]) -> str:
    """What the weights began from, where that was a bundle."""
    return f" --from {training['warm_start']}" if training["warm_start"] else ""


def _command(training: Mapping[str, Any]) -> str:
    if training["preset"] != "release":
        return f"run --preset {training['preset']}"
    siblings = f" --siblings {training['sibling_seeds']}" if "sibling_seeds" in training else ""
    left_out = f" --leave-out {','.join(training['left_out'])}" if training.get("left_out") else ""
    return f"release{siblings}{left_out}"


def _ladder(rungs: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What each stage is worth."""
    if len(rungs) < 2:
        return []
    rows = [[name, f"{rung['accuracy']:.2%}", f"{rung['negative_log_likelihood']:.4f}"] for name, rung in rungs.items()]
    return [
        "",
        "What each stage is worth on validation, at its own temperature (all teachers: at weights fitted there):",
        "",
        *table(["stage", "accuracy", "negative log-likelihood"], rows),
        "",
        "![ladder](figures/ladder.png)",
    ]


def _spread(seeds: Sequence[Mapping[str, Any]]) -> list[str]:
    """How far the seed alone moves the accuracy."""
    if not seeds:
        return []
    splits = [name for name in seeds[0] if name not in ("seed", "by_source")]
    sources = seeds[0].get("by_source", {})
    heads = [*splits, *(f"{split}, {name}" for split in sources for name in sources[split] if ": " not in name)]
    rows = []
    for found in seeds:
        by_source = found.get("by_source", {})
        numbers = [found[split] for split in splits]
        numbers += [by_source[split][name] for split in sources for name in sources[split] if ": " not in name]
        rows.append([str(found["seed"]), *(f"{number:.2%}" for number in numbers)])
    return [
        "",
        "The first seed ships, whatever the others read; they share its teachers and tell how far chance reaches:",
        "",
        *table(["seed", *heads], rows),
    ]


def reading(found: Mapping[str, Any], why: str) -> str:
    """One line of the log of readings."""
    return (
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: accuracy {accuracy(found)} on {found['reviews']:,} reviews; {why}."
    )


def readings(folder: Path) -> list[str]:
    """The log of the bundle in `folder`, or of the one it replaces; empty where there is none."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [line for line in text.partition(_READINGS)[2].splitlines() if line.startswith("- ")]


def append_reading(folder: Path, line: str) -> None:
    """Adds a line to the log of the bundle in `folder`."""
    path = folder / "README.md"
    head, _, _ = path.read_text(encoding="utf-8").partition(_READINGS)
    log = "\n".join([*readings(folder), line])
    path.write_text(f"{head}{_READINGS}\n\n{log}\n", encoding="utf-8")
