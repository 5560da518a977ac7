"""One run, from labelled reviews to a verified bundle, told in order."""

import dataclasses
import platform
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

import service
from service import bundle, cell
from service.bundle import Bundle, Golden, Manifest
from service.classifier import Classifier
from service.tokenizer import Tokenizer
from training import card, evaluate, export, figures, teacher
from training.corpus import Corpus, build, held_out
from training.display import Display
from training.fit import Examples, Precision, State, choose_precision, fit
from training.model import BiLSTM
from training.preset import Preset
from training.reviews import Source
from training.split import TEST, TRAIN, UNLABELLED, VALIDATION

CHECKPOINT, SOFT_LABELS, DRAFT = "checkpoint.pt", "soft-labels.npz", "draft"
_CHECKPOINT_EVERY_SECONDS = 30.0
# Above this the n-grams of the linear model would fill the memory of a common machine.
_TEACHER_MAX_REVIEWS = 200_000

# Texts whose logits every load of the bundle checks: they exercise lengths, marks, scripts and unknown words.
GOLDEN_TEXTS = (
    "An absolute joy from start to finish.",
    "Two hours I will never get back.",
    "Not bad at all; in fact, rather good!",
    "好",
    "The plot is thin and the acting is wooden, but the music saves it. " * 40,
)


class RunError(Exception):
    """A run that cannot start or go on; the message says what was found and what to do."""


@dataclass(frozen=True)
class Options:
    """What a person asked for."""

    preset_name: str
    preset: Preset
    sources: tuple[tuple[Source, str], ...]  # each with its role: data, validation, test, unlabelled
    out: Path
    seed: int = 1
    test_share: float = 0.1
    sample: float = 1.0
    warm_start: Path | None = None
    skip_test: bool = False
    resume: bool = False
    force: bool = False
    device: str = "auto"

    @property
    def folder(self) -> Path:
        """Where the run keeps what it needs to be resumed: beside the bundle."""
        return self.out.with_name(self.out.name + ".run")

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed."""
        sources = [(str(s.path), role, s.text_column, s.label_column, s.group_column) for s, role in self.sources]
        kept = {"preset": self.preset_name, "seed": self.seed, "test_share": self.test_share, "sample": self.sample}
        recipe = dataclasses.asdict(self.preset)
        return {**kept, "recipe": recipe, "sources": sources, "warm_start": str(self.warm_start or "")}


def run(options: Options, console: Console) -> Path:
    """Trains, exports, proves, measures and writes a bundle. Raises RunError, DataError, ParityError, BundleError."""
    started = time.monotonic()
    _refuse_to_overwrite(options)
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    precision = choose_precision(device)
    base = bundle.read(options.warm_start) if options.warm_start else None

    corpus = build(options.sources, _rules(options, base), options.preset.validation_share, options.test_share,
                   options.sample)  # fmt: skip
    for name, count in corpus.report.items():
        console.print(f"{name}: {count:,}", highlight=False)
    _list_bad_rows(options.sources, console)
    tokenizer = _tokenizer(options.preset, corpus, base)
    train, validation = _examples(options, corpus, tokenizer, console)

    torch.manual_seed(options.seed)
    model = _network(options.preset, tokenizer, corpus, base).to(device)
    state = State.start(model, options.preset.plan)
    spent = _restore(options, state) if options.resume else 0.0
    console.print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer.vocabulary):,} tokens known, "
        f"{len(train.rows):,} training reviews, {device.type} in {precision}",
        highlight=False,
    )
    _train(options, state, train, validation, precision, console, spent - started)

    wall_seconds = spent + time.monotonic() - started
    draft = _calibrate(options, state, tokenizer, corpus, console)
    manifest = draft.manifest.model_copy(
        update={"training": _provenance(options, corpus, state, device, precision, wall_seconds)}
    )
    return _publish(options, draft, manifest, state, corpus, console)


def _refuse_to_overwrite(options: Options) -> None:
    if options.out.exists() and not options.force:
        raise RunError(f"{options.out}: expected no such folder, found one; --force replaces it at the end of the run")
    found = (options.folder / CHECKPOINT).exists()
    if found and not (options.resume or options.force):
        raise RunError(f"{options.folder}: found an unfinished run; --resume goes on with it, --force starts anew")
    if options.resume and not found:
        raise RunError(f"{options.folder}: expected a checkpoint to resume from, found none")
    if options.force and not options.resume:
        for name in (CHECKPOINT, SOFT_LABELS):
            (options.folder / name).unlink(missing_ok=True)
    options.folder.mkdir(parents=True, exist_ok=True)


def _list_bad_rows(sources: Sequence[tuple[Source, str]], console: Console) -> None:
    for source, _ in sources:
        for place in source.bad.places:
            console.print(f"left out {place}", markup=False, highlight=False)
        if (rest := sum(source.bad.counts.values()) - len(source.bad.places)) > 0:
            console.print(f"left out {rest:,} more rows of {source.path.name}", highlight=False)


def _rules(options: Options, base: Bundle | None) -> Any:
    return base.manifest.rules if base else options.preset.rules


def _tokenizer(preset: Preset, corpus: Corpus, base: Bundle | None) -> Tokenizer:
    if base:
        return base.tokenizer
    vocabulary = corpus.vocabulary(preset.vocabulary_size)
    return Tokenizer(vocabulary, preset.max_tokens, preset.truncation, preset.rules)


def _network(preset: Preset, tokenizer: Tokenizer, corpus: Corpus, base: Bundle | None) -> BiLSTM:
    """A new network, or with `base` one of the same shape and weights."""
    weights = export.network(base.model) if base else None
    if weights is None:
        sizes = (preset.embedding_size, preset.hidden_size, len(corpus.label_names), preset.head, preset.dense_size)
    else:
        dense = len(weights.head["hidden_bias"]) if "hidden_bias" in weights.head else preset.dense_size
        head = "last" if "hidden_bias" in weights.head else "pooled"
        sizes = (
            weights.embedding.shape[1],
            weights.forward.recurrence.shape[1],
            len(corpus.label_names),
            head,  # type: ignore[assignment]
            dense,
        )
    model = BiLSTM(
        len(tokenizer.vocabulary),
        *sizes,
        word_dropout=preset.word_dropout,
        embedding_dropout=preset.embedding_dropout,
        head_dropout=preset.head_dropout,
    )
    if base and weights:
        export.load_arrays(model, weights, with_output=base.manifest.labels == corpus.label_names)
    return model


def _examples(options: Options, corpus: Corpus, tokenizer: Tokenizer, console: Console) -> tuple[Examples, Examples]:
    """Training examples with their targets, hard or soft, and validation examples with the true labels."""
    token_ids, offsets = corpus.encode(tokenizer)
    labelled, others, held = corpus.rows(TRAIN), corpus.rows(UNLABELLED), corpus.rows(VALIDATION)
    hard = np.eye(len(corpus.label_names), dtype=np.float32)
    targets, rows = hard[corpus.labels[labelled]], labelled
    smallest = int(np.bincount(corpus.labels[labelled]).min())
    if options.preset.teacher and smallest >= teacher.FOLDS and len(labelled) <= _TEACHER_MAX_REVIEWS:
        soft, rest = _soft_labels(options, corpus, labelled, others, console)
        targets, rows = np.concatenate([(targets + soft) / 2, rest]), np.concatenate([labelled, others])
    elif options.preset.teacher or len(others):
        console.print(f"no linear teacher ({len(labelled):,} labelled reviews, at least {smallest} a label): "
                      "training on the labels alone, unlabelled reviews give only words")  # fmt: skip
    return Examples(token_ids, offsets, rows, targets), Examples(token_ids, offsets, held, hard[corpus.labels[held]])


def _soft_labels(
    options: Options, corpus: Corpus, labelled: NDArray[np.int64], others: NDArray[np.int64], console: Console
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The teacher's probabilities, kept in the run's folder so that a resumed run need not fit it again."""
    path = options.folder / SOFT_LABELS
    if options.resume and path.exists():
        with np.load(path) as kept:
            return kept["labelled"], kept["others"]
    console.print("fitting the linear teacher (a few minutes on 25,000 reviews)")
    soft, rest = teacher.soft_labels(corpus.documents, labelled, corpus.labels[labelled], others)
    accuracy = float((soft.argmax(axis=1) == corpus.labels[labelled]).mean())
    console.print(f"the teacher is right on {accuracy:.2%} of the training reviews it has not seen", highlight=False)
    np.savez(path.with_suffix(".new.npz"), labelled=soft, others=rest)
    path.with_suffix(".new.npz").replace(path)
    return soft, rest


def _train(
    options: Options,
    state: State,
    train: Examples,
    validation: Examples,
    precision: Precision,
    console: Console,
    clock_offset: float,
) -> None:
    """Fits, saving every half minute; Ctrl-C ends it with the best epoch so far."""
    saved = time.monotonic()
    with Display(console, options.preset.plan.epochs) as display:
        try:
            for step in fit(state, options.preset.plan, train, validation, options.seed, precision):
                display.show(step)
                if step.finished or time.monotonic() - saved > _CHECKPOINT_EVERY_SECONDS:
                    _save(options, state, clock_offset + time.monotonic())
                    saved = time.monotonic()
        except KeyboardInterrupt:
            if not state.best:
                raise RunError(
                    f"interrupted before the first epoch ended; --resume goes on ({options.folder})"
                ) from None
            console.print("interrupted: going on to the bundle with the best epoch so far (Ctrl-C again ends the run)")
            state.model.load_state_dict(state.best)
            state.model.eval()


def _save(options: Options, state: State, spent_seconds: float) -> None:
    path = options.folder / CHECKPOINT
    content = {"options": options.fingerprint(), "state": state.snapshot(), "spent_seconds": spent_seconds}
    torch.save(content, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)  # a kill in the middle of a write loses nothing


def _restore(options: Options, state: State) -> float:
    """Fills `state` from the checkpoint and returns the seconds that the run had spent."""
    path = options.folder / CHECKPOINT
    content = torch.load(path, weights_only=True)
    ours = options.fingerprint()
    if different := [key for key, value in ours.items() if _plain(content["options"].get(key)) != _plain(value)]:
        raise RunError(f"{path}: expected a run with the same options, found others: {', '.join(different)}")
    state.restore(content["state"])
    return float(content["spent_seconds"])


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _calibrate(options: Options, state: State, tokenizer: Tokenizer, corpus: Corpus, console: Console) -> Bundle:
    """Finds temperature and threshold on validation, through the classifier, and returns the calibrated draft."""
    model = state.model.cpu()
    held = list(held_out(options.sources, corpus, VALIDATION, options.sample))
    raw = evaluate.ask(Classifier(_draft(options, model, tokenizer, corpus, 1.0, {}), "cpu"), held)
    # The logarithms of a softmax are the logits but for a constant, which no temperature minds.
    logits = np.log(np.maximum(raw.probabilities, 1e-300))
    temperature = evaluate.fit_temperature(logits, raw.labels)
    answers = evaluate.ask(Classifier(_draft(options, model, tokenizer, corpus, temperature, {}), "cpu"), held)
    figures_of_validation = evaluate.report(answers, temperature)
    console.print(
        f"validation through the service's classifier: accuracy {figures_of_validation['accuracy']:.2%}, "
        f"temperature {temperature:.3f}",
        highlight=False,
    )
    update = {
        "uncertain_below": evaluate.uncertain_below(answers),
        "reference": evaluate.reference(answers),
        "metrics": {"validation": figures_of_validation},
    }
    return _draft(options, model, tokenizer, corpus, temperature, update)


def _draft(
    options: Options, model: BiLSTM, tokenizer: Tokenizer, corpus: Corpus, temperature: float, update: dict[str, Any]
) -> Bundle:
    """Exports the network into the run's folder after proving that torch, NumPy and onnxruntime agree."""
    weights = export.arrays(model, temperature)
    onnx_model = export.graph(weights)
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
        training={"parity": worst},
    ).model_copy(update=update)
    path = options.folder / DRAFT
    bundle.write(path, manifest, onnx_model, tokenizer.vocabulary, force=True)
    return bundle.read(path)


def _golden(text: str, tokenizer: Tokenizer, weights: cell.Network) -> Golden:
    found, _ = cell.logits(tokenizer.encode(text).token_ids, weights)
    return Golden(text=text, logits=tuple(found.tolist()))


def _provenance(
    options: Options, corpus: Corpus, state: State, device: torch.device, precision: str, wall_seconds: float
) -> dict[str, Any]:
    """What one needs to know to make this bundle again."""
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True, text=True, cwd=Path(__file__).parent, check=False,
    ).stdout.strip()  # fmt: skip
    return {
        "preset": options.preset_name,
        "recipe": dataclasses.asdict(options.preset),
        "seed": options.seed,
        "sample": options.sample,
        "data": [{"file": s.path.name, "role": role, "sha256": s.digest()} for s, role in options.sources],
        "reviews": corpus.report,
        "warm_start": options.warm_start.name if options.warm_start else None,
        "epochs": len(state.history),
        "device": device.type,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "wall_seconds": round(wall_seconds),
        "source_revision": revision or None,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in ("torch", "onnx", "onnxruntime", "numpy", "scikit-learn")},
    }


def _publish(
    options: Options, draft: Bundle, manifest: Manifest, state: State, corpus: Corpus, console: Console
) -> Path:
    """Reads the test split, once, through the classifier; writes the bundle with its card and figures."""
    metrics, readings = dict(manifest.metrics), card.readings(options.out)
    extras = {
        "figures/history.csv": figures.history_csv(state.history),
        "figures/curves.png": figures.curves(state.history, f"{options.out.name}: train and validation"),
    }
    if len(corpus.rows(TEST)) and not options.skip_test:
        answers = evaluate.ask(Classifier(draft, "cpu"), held_out(options.sources, corpus, TEST, options.sample))
        metrics["test"] = evaluate.report(answers, manifest.temperature)
        extras["figures/reliability.png"] = figures.reliability(answers, f"{options.out.name}: reliability on test")
        readings.append(
            card.reading(metrics["test"], f"training run, preset {options.preset_name}, seed {options.seed}")
        )
    manifest = manifest.model_copy(
        update={"metrics": metrics, "training": {**draft.manifest.training, **manifest.training}}
    )
    extras["README.md"] = card.render(manifest, readings).encode()
    bundle.write(options.out, manifest, draft.model, draft.tokenizer.vocabulary, extras, force=options.force)
    (options.folder / CHECKPOINT).unlink(missing_ok=True)
    (options.folder / SOFT_LABELS).unlink(missing_ok=True)
    for split, found in metrics.items():
        low, high = found["accuracy_interval_95"]
        console.print(
            f"{split}: accuracy {found['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}) on "
            f"{found['reviews']:,} reviews, calibration error {found['expected_calibration_error']:.2%}",
            highlight=False,
        )
    return options.out
