"""A trained network -> a calibrated, proven, measured bundle with its card."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import service
from service.model import bundle, cell
from service.model.bundle import Bundle, Golden, Manifest
from service.model.classifier import Classifier
from service.model.tokenizer import Tokenizer
from training.data.corpus import Corpus
from training.data.split import TEST, TRAIN, VALIDATION
from training.evaluation import calibration, evaluate, misjudged
from training.evaluation.evaluate import Answers
from training.evaluation.misjudged import Misjudged
from training.fitting.examples import Examples
from training.fitting.loop import Epoch, State, predict
from training.network.bilstm import BiLSTM
from training.release import card, confusion, export, figures, onnx_graph, report

# Texts whose logits every load of the bundle checks: they exercise lengths, marks, scripts and unknown words.
GOLDEN_TEXTS = (
    "An absolute joy from start to finish.",
    "Two hours I will never get back.",
    "Not bad at all; in fact, rather good!",
    "好",
    "The plot is thin and the acting is wooden, but the music saves it. " * 4,
    "The plot is thin and the acting is wooden, but the music saves it. " * 40,
)


def calibrate(
    name: str, state: State, tokenizer: Tokenizer, corpus: Corpus, held: Examples, right: float, console: Console
) -> Bundle:
    """The bundle `name`, in memory: exported, proven, its temperature and threshold found on validation.

    `held` are the validation texts as the network reads them; `right` is the share of the answers not flagged as
    uncertain that is to be right. Raises ParityError.
    """
    model = state.model.cpu()
    export.round_embedding(model)
    temperature = calibration.fit_temperature(
        predict(model, held, "fp32").astype(np.float64), held.targets.argmax(axis=1)
    )
    draft = _draft(name, model, tokenizer, corpus.label_names, temperature)
    answers = evaluate.ask(Classifier(draft, "cpu"), corpus.held_out(VALIDATION))
    return replace(draft, manifest=_measured(draft.manifest, answers, right, console))


def from_folds(
    name: str,
    model: BiLSTM,
    tokenizer: Tokenizer,
    label_names: tuple[str, ...],
    temperature: float,
    answers: Answers,
    headline: dict[str, Any],
    right: float,
    console: Console,
) -> Bundle:
    """The bundle `name`, in memory, whose figures are of `answers` that networks gave to texts they had not read.

    `headline` are figures of several draws of the folds, in place of those of the one draw that `answers` are of.
    Raises ParityError.
    """
    model = model.cpu()
    export.round_embedding(model)
    draft = _draft(name, model, tokenizer, label_names, temperature)
    manifest = _measured(draft.manifest, answers, right, console, "one draw of the folds")
    metrics = {"validation": manifest.metrics["validation"] | headline}
    return replace(draft, manifest=manifest.model_copy(update={"metrics": metrics}))


def probe(draft: Bundle, model: BiLSTM) -> Bundle:
    """A bundle like `draft` with the weights of `model`, which has not read the validation texts."""
    model = model.cpu()
    export.round_embedding(model)
    manifest = draft.manifest
    made = _draft(draft.name, model, draft.tokenizer, manifest.labels, manifest.temperature)
    return replace(made, manifest=made.manifest.model_copy(update={"uncertain_below": manifest.uncertain_below}))


def _draft(name: str, model: BiLSTM, tokenizer: Tokenizer, label_names: tuple[str, ...], temperature: float) -> Bundle:
    """The bundle `name`, in memory: exported and proven, not measured. Raises ParityError."""
    weights = export.arrays(model, temperature)
    onnx_model = onnx_graph.build(weights)
    worst = export.prove_parity(model, onnx_model, temperature, tokenizer.max_tokens)
    pooled = model.head == "pooled"
    manifest = Manifest(
        name=name,
        version=service.__version__,
        created=datetime.now(UTC).replace(microsecond=0),
        labels=label_names,
        max_tokens=tokenizer.max_tokens,
        truncation=tokenizer.truncation,
        rules=tokenizer.rules,
        evidence=pooled,
        bias=tuple(weights.head["bias"].tolist()) if pooled else None,
        temperature=temperature,
        uncertain_below=0.0,
        golden=tuple(_golden(text, tokenizer, weights) for text in GOLDEN_TEXTS),
        tolerance={"cpu/fp32": 1e-3, "cuda/fp32": 1e-3},
        reference=None,
        metrics={},
        training={"parity": worst},
    )
    return Bundle(Path(name), name, manifest, onnx_model, tokenizer)


def _measured(
    manifest: Manifest,
    answers: Answers,
    rate: float,
    console: Console,
    on: str = "validation through the service's classifier",
) -> Manifest:
    """`manifest` with the threshold, the drift reference and the figures that `answers` to validation give."""
    parts = [answers.of(kind) for kind in answers.kinds]
    thresholds = [calibration.uncertain_below(part.score, part.right, rate) for part in parts]
    # One threshold for all: what is not flagged is right at the stated rate in every source, not in their mean.
    uncertain_below, shown = max(below for below, _ in thresholds), all(shown for _, shown in thresholds)
    found = evaluate.report(answers, manifest.labels, manifest.temperature, uncertain_below)
    console.print(
        f"{on}: accuracy {found['accuracy']:.2%}, "
        f"temperature {manifest.temperature:.3f}, uncertain below {uncertain_below:.3f}",
        highlight=False,
    )
    if not shown:
        console.print(
            f"{len(answers.labels):,} validation reviews are too few, or too many of them misjudged, to show that "
            f"{100 * rate:g}% of what is not flagged is right: the threshold rests on the scores alone",
            highlight=False,
        )
    update = {
        "uncertain_below": uncertain_below,
        "reference": evaluate.reference(answers),
        "metrics": {"validation": found},
        "training": manifest.training | {"stated_rate": rate, "stated_rate_shown": shown},
    }
    return manifest.model_copy(update=update)


def worth(draft: Bundle) -> dict[str, float]:
    """The network's rung on the ladder: what `draft`'s answers to the validation reviews are worth."""
    found = draft.manifest.metrics["validation"]
    return {key: found[key] for key in ("accuracy", "negative_log_likelihood")}


def _golden(text: str, tokenizer: Tokenizer, weights: cell.Network) -> Golden:
    found, _ = cell.logits(tokenizer.encode(text).token_ids, weights)
    return Golden(text=text, logits=tuple(found.tolist()))


def source_revision() -> str | None:
    """The commit of the code that runs, marked where files differ from it; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent, check=False)
    except OSError:  # no git
        return None
    return done.stdout.strip() or None


@dataclass(frozen=True)
class Trained:
    """What a run made, before it is measured."""

    draft: Bundle
    how: dict[str, Any]  # what the manifest's `training` is to hold
    history: Sequence[Epoch] = ()
    siblings: dict[int, Bundle] = field(default_factory=dict)  # by their seeds: measured for the spread alone
    # Where the draft has read the validation texts, `probe` is measured on them in its place; the accuracy and what
    # belongs to it are then those of the draft's manifest, from folds, and `by_folds` are the answers to the train and
    # validation texts, of which the misjudged are listed.
    probe: Bundle | None = None
    by_folds: Answers | None = None


def publish(
    trained: Trained,
    corpus: Corpus,
    out: Path,
    force: bool,
    skip_test: bool,
    misjudged_to: Path | None,
    console: Console,
) -> None:
    """Measures the draft, reads the test split once, and writes the bundle with its card and figures to `out`.

    The texts that are misjudged are written to `misjudged_to`, never into the bundle.
    """
    splits = ["validation"]
    if len(corpus.rows(TEST)) and not skip_test:
        splits.append("test")
    console.print(f"measuring on {' and '.join(splits)}: accuracy, calibration, robustness, negation, evidence")
    draft, probe, how = trained.draft, trained.probe, trained.how
    classifier = Classifier(draft, "cpu")
    on_validation = Classifier(probe, "cpu") if probe else classifier
    measured = {
        split: report.measure(
            on_validation if split == "validation" else classifier,
            list(corpus.held_out(report.SPLITS[split])),
            split,
            corpus.neutral(report.SPLITS[split]),
        )
        for split in splits
    }
    if probe:
        measured["validation"] |= report.of_figures(draft.manifest.metrics["validation"])
    metrics = {split: found["figures"] for split, found in measured.items()}
    readings = card.readings(out)
    if "test" in metrics:
        readings.append(card.reading(metrics["test"], f"training run, preset {how['preset']}, seed {how['seed']}"))
    spread = [{"seed": how["seed"]} | _spread(metrics)]
    for seed, sibling in trained.siblings.items():
        of_sibling = _figures(sibling, corpus, splits)
        if "test" in of_sibling:
            readings.append(card.reading(of_sibling["test"], f"for the spread over seeds only, seed {seed}"))
        spread.append({"seed": seed} | _spread(of_sibling))
    how = how | {"sibling_seeds": len(trained.siblings)} | ({"spread": spread} if trained.siblings else {})
    manifest = draft.manifest
    manifest = manifest.model_copy(update={"metrics": metrics, "training": manifest.training | how})
    curves = {}
    if trained.history:
        curves["figures/history.csv"] = figures.history_csv(trained.history)
        curves["figures/curves.png"] = figures.curves(trained.history, f"{out.name}: train and validation")
    extras = {
        **curves,
        **report.files(manifest, report.contents(classifier, measured), readings),
    }
    bundle.write(out, manifest, draft.model, draft.tokenizer.vocabulary, extras, force=force)
    for split, found in metrics.items():
        low, high = found["accuracy_interval_95"]
        name = f"{split}, by folds" if probe and split == "validation" else split
        console.print(
            f"{name}: accuracy {found['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}) on "
            f"{found['reviews']:,} reviews, calibration error {found['expected_calibration_error']:.2%}",
            highlight=False,
        )
        for line in confusion.on_screen(found["by_label"]):
            console.print(line, markup=False, highlight=False)
    if misjudged_to:
        rows: list[Misjudged] = []
        for split in splits:
            if split == "validation" and trained.by_folds:
                rows += misjudged.rows("folds", list(corpus.held_out(TRAIN, VALIDATION)), trained.by_folds, manifest)
                continue
            reviews = list(corpus.held_out(report.SPLITS[split]))
            rows += misjudged.rows(split, reviews, evaluate.ask(classifier, reviews), manifest)
        misjudged.write(misjudged_to, rows)
        console.print(f"{misjudged_to}: {len(rows):,} misjudged texts", markup=False, highlight=False)


def _figures(of: Bundle, corpus: Corpus, splits: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What a bundle's answers to each split are worth."""
    classifier, manifest = Classifier(of, "cpu"), of.manifest
    return {
        split: evaluate.report(
            evaluate.ask(classifier, corpus.held_out(report.SPLITS[split])),
            manifest.labels,
            manifest.temperature,
            manifest.uncertain_below,
        )
        for split in splits
    }


def _spread(metrics: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Accuracy by split; and by source, where there are several."""
    by_source = {split: {name: of["accuracy"] for name, of in f["by_source"].items()} for split, f in metrics.items()}
    accuracy = {split: found["accuracy"] for split, found in metrics.items()}
    return accuracy | ({"by_source": by_source} if any(by_source.values()) else {})
