"""A trained network -> a calibrated, proven, measured bundle with its card."""

import dataclasses
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import service
from service.model import bundle, cell
from service.model.bundle import Bundle, Golden, Manifest
from service.model.classifier import Classifier
from service.model.tokenizer import Tokenizer
from training.data.corpus import Corpus, held_out
from training.data.split import TEST, VALIDATION
from training.evaluation import calibration, evaluate
from training.fitting.loop import State
from training.network.bilstm import BiLSTM
from training.options import Options
from training.release import card, export, figures, onnx_graph, report

DRAFT = "draft"

# Texts whose logits every load of the bundle checks: they exercise lengths (short, long, and between, where n-grams
# come in), marks, scripts and unknown words.
GOLDEN_TEXTS = (
    "An absolute joy from start to finish.",
    "Two hours I will never get back.",
    "Not bad at all; in fact, rather good!",
    "好",
    "The plot is thin and the acting is wooden, but the music saves it. " * 4,
    "The plot is thin and the acting is wooden, but the music saves it. " * 40,
)


def calibrate(options: Options, state: State, tokenizer: Tokenizer, corpus: Corpus, console: Console) -> Bundle:
    """Finds temperature and threshold on validation, through the classifier, and returns the calibrated draft."""
    model = state.model.cpu()
    held = list(held_out(options.sources, corpus, VALIDATION, options.sample))
    raw = evaluate.ask(Classifier(_draft(options, model, tokenizer, corpus, 1.0, {}), "cpu"), held)
    # The logarithms of a softmax are the logits but for a constant, which no temperature minds.
    logits = np.log(np.maximum(raw.probabilities, 1e-300))
    temperature = calibration.fit_temperature(logits, raw.labels)
    answers = evaluate.ask(Classifier(_draft(options, model, tokenizer, corpus, temperature, {}), "cpu"), held)
    uncertain_below, shown = calibration.uncertain_below(answers.score, answers.right)
    figures_of_validation = evaluate.report(answers, temperature, uncertain_below)
    console.print(
        f"validation through the service's classifier: accuracy {figures_of_validation['accuracy']:.2%}, "
        f"temperature {temperature:.3f}, uncertain below {uncertain_below:.3f}",
        highlight=False,
    )
    if not shown:
        console.print(
            f"{len(held):,} validation reviews are too few, or too many of them misjudged, to show that "
            f"{calibration.STATED_RATE:.0%} of what is not flagged is right: the threshold rests on the scores alone",
            highlight=False,
        )
    update = {
        "uncertain_below": uncertain_below,
        "reference": evaluate.reference(answers),
        "metrics": {"validation": figures_of_validation},
        "training": {"stated_rate": calibration.STATED_RATE, "stated_rate_shown": shown},
    }
    return _draft(options, model, tokenizer, corpus, temperature, update)


def worth(draft: Bundle) -> dict[str, float]:
    """The network's rung on the ladder: what `draft`'s answers to the validation reviews are worth."""
    found = draft.manifest.metrics["validation"]
    return {key: found[key] for key in ("accuracy", "negative_log_likelihood")}


def _draft(
    options: Options, model: BiLSTM, tokenizer: Tokenizer, corpus: Corpus, temperature: float, update: dict[str, Any]
) -> Bundle:
    """Exports the network into the run's folder after proving that torch, NumPy and onnxruntime agree."""
    weights = export.arrays(model, temperature)
    onnx_model = onnx_graph.build(weights)
    worst = export.prove_parity(model, onnx_model, temperature, tokenizer.max_tokens)
    pooled = model.head == "pooled"
    golden = tuple(_golden(text, tokenizer, weights) for text in GOLDEN_TEXTS)
    manifest = Manifest(
        name=options.out.name,
        version=service.__version__,
        created=datetime.now(UTC).replace(microsecond=0),
        labels=corpus.label_names,
        max_tokens=tokenizer.max_tokens,
        truncation=tokenizer.truncation,
        rules=tokenizer.rules,
        evidence=pooled,
        bias=tuple(weights.head["bias"].tolist()) if pooled else None,
        temperature=temperature,
        uncertain_below=0.0,
        golden=golden,
        tolerance={"cpu/fp32": 1e-3, "cuda/fp32": 1e-3},
        reference=None,
        metrics={},
        training={},
    ).model_copy(update=update | {"training": {"parity": worst, **update.get("training", {})}})
    path = options.folder / DRAFT
    bundle.write(path, manifest, onnx_model, tokenizer.vocabulary, force=True)
    return bundle.read(path)


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


def provenance(options: Options, corpus: Corpus, state: State, revision: str | None) -> dict[str, Any]:
    """What one needs to know to make this bundle again."""
    network = state.model
    assert isinstance(network, BiLSTM)
    sizes = {  # of the bundle that it started from, where there is one
        "embedding_size": network.embedding.embedding_dim,
        "hidden_size": network.forward_lstm.hidden_size,
        "head": network.head,
        "ngram_buckets": network.ngram_buckets,
        "short_tokens": network.short_tokens,
    }
    return {
        "preset": options.preset_name,
        "recipe": dataclasses.asdict(options.preset) | sizes,
        "seed": options.seed,
        "sample": options.sample,
        "test_share": options.test_share,
        "data": [{"file": s.path.name, "role": role, "sha256": s.digest()} for s, role in options.sources],
        "reviews": corpus.report,
        "warm_start": options.warm_start.name if options.warm_start else None,
        "epochs": len(state.history),
        "source_revision": revision,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in ("torch", "onnx", "onnxruntime", "numpy", "scikit-learn")},
    }


def publish(
    options: Options,
    draft: Bundle,
    siblings: dict[int, Bundle],
    how: dict[str, Any],
    state: State,
    corpus: Corpus,
    console: Console,
) -> None:
    """Measures the draft, reads the test split once, and writes the bundle with its card and figures.

    `siblings`, by their seeds, are measured for the spread alone.
    """
    splits = ["validation"]
    if len(corpus.rows(TEST)) and not options.skip_test:
        splits.append("test")
    console.print(f"measuring on {' and '.join(splits)}: accuracy, calibration, robustness, negation, evidence")
    classifier, measured = Classifier(draft, "cpu"), {}
    for split in splits:
        reviews = held_out(options.sources, corpus, report.SPLITS[split], options.sample)
        measured[split] = report.measure(classifier, reviews, split)
    metrics = {split: found["figures"] for split, found in measured.items()}
    readings = card.readings(options.out)
    if "test" in metrics:
        why = f"training run, preset {options.preset_name}, seed {options.seed}"
        readings.append(card.reading(metrics["test"], why))
    spread = [{"seed": options.seed} | {split: found["accuracy"] for split, found in metrics.items()}]
    for seed, sibling in siblings.items():
        spread.append({"seed": seed})
        for split in splits:
            answers = evaluate.ask(
                Classifier(sibling, "cpu"), held_out(options.sources, corpus, report.SPLITS[split], options.sample)
            )
            found = evaluate.report(answers, sibling.manifest.temperature, sibling.manifest.uncertain_below)
            spread[-1][split] = found["accuracy"]
            if split == "test":
                readings.append(card.reading(found, f"for the spread over seeds only, seed {seed}"))
    if siblings:
        how = how | {"spread": spread}
    manifest = draft.manifest
    manifest = manifest.model_copy(update={"metrics": metrics, "training": manifest.training | how})
    extras = {
        "figures/history.csv": figures.history_csv(state.history),
        "figures/curves.png": figures.curves(state.history, f"{options.out.name}: train and validation"),
        **report.files(manifest, report.contents(classifier, measured), readings),
    }
    bundle.write(options.out, manifest, draft.model, draft.tokenizer.vocabulary, extras, force=options.force)
    for split, found in metrics.items():
        low, high = found["accuracy_interval_95"]
        console.print(
            f"{split}: accuracy {found['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}) on "
            f"{found['reviews']:,} reviews, calibration error {found['expected_calibration_error']:.2%}",
            highlight=False,
        )
