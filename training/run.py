"""One run, from labelled reviews to a verified bundle, told in order."""

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from service import bundle
from service.bundle import Bundle
from service.tokenizer import Tokenizer
from training import checkpoint, export, publish, teacher
from training.checkpoint import RunError
from training.corpus import Corpus, build
from training.display import Display
from training.examples import Examples, with_sentences
from training.fit import Precision, State, choose_precision, fit
from training.model import BiLSTM, Head
from training.options import Options
from training.preset import Preset
from training.reviews import Source
from training.split import TRAIN, UNLABELLED, VALIDATION

_CHECKPOINT_EVERY_SECONDS = 30.0
# Above this the n-grams of the linear model would fill the memory of a common machine.
_TEACHER_MAX_REVIEWS = 200_000


def run(options: Options, console: Console) -> Path:
    """Trains, exports, proves, measures and writes a bundle. Raises RunError, DataError, ParityError, BundleError."""
    started, revision = time.monotonic(), publish.source_revision()
    checkpoint.refuse_to_overwrite(options)
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    precision = choose_precision(device)
    base = bundle.read(options.warm_start) if options.warm_start else None

    rules = base.manifest.rules if base else options.preset.rules
    shares = (options.preset.validation_share, options.test_share, options.sample)
    corpus = build(options.sources, rules, *shares)
    _tell(corpus, (source for source, _ in options.sources), console)
    tokenizer = base.tokenizer if base else _tokenizer(options.preset, corpus)
    train, validation = _examples(options, corpus, tokenizer, console)

    torch.manual_seed(options.seed)
    model = _network(options.preset, tokenizer, corpus, base).to(device)
    state = State.start(model, options.preset.plan)
    spent = checkpoint.restore(options, state) if options.resume else 0.0
    console.print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer.vocabulary):,} tokens known, "
        f"{len(train):,} training reviews, {device.type} in {precision}",
        highlight=False,
    )
    _train(options, state, train, validation, tokenizer.vocabulary, precision, console, started - spent)

    draft = publish.calibrate(options, state, tokenizer, corpus, console)
    how = publish.provenance(options, corpus, state, revision) | {
        "device": device.type,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "wall_seconds": round(spent + time.monotonic() - started),
    }
    publish.publish(options, draft, how, state, corpus, console)
    checkpoint.remove(options)
    return options.out


def _tell(corpus: Corpus, sources: Iterable[Source], console: Console) -> None:
    """Prints what was read, and every row that was not, up to a score of them."""
    for name, count in corpus.report.items():
        console.print(f"{name}: {count:,}", highlight=False)
    for source in sources:
        for place in source.bad.places:
            console.print(f"left out {place}", markup=False, highlight=False)
        if (rest := sum(source.bad.counts.values()) - len(source.bad.places)) > 0:
            console.print(f"left out {rest:,} more rows of {source.path.name}", highlight=False)


def _tokenizer(preset: Preset, corpus: Corpus) -> Tokenizer:
    vocabulary = corpus.vocabulary(preset.vocabulary_size)
    return Tokenizer(vocabulary, preset.max_tokens, preset.truncation, preset.rules)


def _network(preset: Preset, tokenizer: Tokenizer, corpus: Corpus, base: Bundle | None) -> BiLSTM:
    """A new network of the preset's sizes, or one of the sizes and weights of `base`."""
    weights = export.network(base.model) if base else None
    embedding_size, hidden_size, dense_size = preset.embedding_size, preset.hidden_size, preset.dense_size
    head: Head = preset.head
    if weights:
        embedding_size, hidden_size = weights.embedding.shape[1], weights.forward.recurrence.shape[1]
        head = "last" if "hidden_bias" in weights.head else "pooled"
        dense_size = len(weights.head.get("hidden_bias", weights.head["bias"]))
    model = BiLSTM(
        len(tokenizer.vocabulary),
        embedding_size,
        hidden_size,
        len(corpus.label_names),
        head,
        dense_size,
        preset.word_dropout,
        preset.embedding_dropout,
        preset.head_dropout,
    )
    if base and weights:
        export.load_arrays(model, weights, with_output=base.manifest.labels == corpus.label_names)
    return model


def _examples(options: Options, corpus: Corpus, tokenizer: Tokenizer, console: Console) -> tuple[Examples, Examples]:
    """Training examples with their targets, hard or soft, and validation examples with the true labels."""
    token_ids, offsets = corpus.encode(tokenizer)
    labelled, others, held = corpus.rows(TRAIN), corpus.rows(UNLABELLED), corpus.rows(VALIDATION)
    hard = np.eye(len(corpus.label_names), dtype=np.float32)
    validation = Examples(token_ids, offsets[held], offsets[held + 1], hard[corpus.labels[held]])
    smallest = int(np.bincount(corpus.labels[labelled]).min())
    if options.preset.teacher and smallest >= teacher.FOLDS and len(labelled) <= _TEACHER_MAX_REVIEWS:
        soft, rows = _soft_labels(options, corpus, labelled, others, console), np.concatenate([labelled, others])
        # Half label, half teacher: the label alone knows the truth, the teacher how plain it is.
        soft[: len(labelled)] = (soft[: len(labelled)] + hard[corpus.labels[labelled]]) / 2
        return Examples(token_ids, offsets[rows], offsets[rows + 1], soft), validation
    if options.preset.teacher or len(others):
        console.print(
            f"no linear teacher for {len(labelled):,} labelled reviews, the rarest label on {smallest}: training on "
            f"the labels alone; {len(others):,} unlabelled reviews give only their words",
            highlight=False,
        )
    return Examples(token_ids, offsets[labelled], offsets[labelled + 1], hard[corpus.labels[labelled]]), validation


def _soft_labels(
    options: Options, corpus: Corpus, labelled: NDArray[np.int64], others: NDArray[np.int64], console: Console
) -> NDArray[np.float32]:
    """The teacher's probabilities [labelled + others, label]; a resumed run finds those it had."""
    path = options.folder / checkpoint.SOFT_LABELS
    if options.resume and path.exists():
        return np.asarray(np.load(path))
    console.print("fitting the linear teacher (some two minutes on 25,000 reviews and 50,000 unlabelled)")
    folds = teacher.fit(corpus.documents, labelled, corpus.labels[labelled])
    fold_of = np.concatenate([folds.fold_of, np.full(len(others), teacher.FOLDS)])
    soft = folds.judge(corpus.documents, np.concatenate([labelled, others]), fold_of)
    accuracy = float((soft[: len(labelled)].argmax(axis=1) == corpus.labels[labelled]).mean())
    console.print(f"the teacher is right on {accuracy:.2%} of the training reviews it has not seen", highlight=False)
    np.save(path, soft)
    return soft


def _train(
    options: Options,
    state: State,
    train: Examples,
    validation: Examples,
    vocabulary: list[str],
    precision: Precision,
    console: Console,
    began: float,
) -> None:
    """Fits, saving every half minute; Ctrl-C ends it with the best epoch so far. `began` is in monotonic seconds."""
    preset = options.preset

    def shown(epoch: int) -> Examples:
        return with_sentences(train, vocabulary, preset.sentences, options.seed, epoch) if preset.sentences else train

    saved = time.monotonic()
    with Display(console, options.preset.plan.epochs) as display:
        try:
            for step in fit(state, options.preset.plan, shown, validation, options.seed, precision):
                display.show(step)
                if step.finished or time.monotonic() - saved > _CHECKPOINT_EVERY_SECONDS:
                    saved = time.monotonic()
                    checkpoint.save(options, state, saved - began)
        except KeyboardInterrupt:
            if not state.best:
                raise RunError("interrupted before the first epoch ended: there is nothing to keep yet") from None
            console.print("interrupted: going on to the bundle with the best epoch so far (Ctrl-C again ends the run)")
            state.model.load_state_dict(state.best)
            state.model.eval()
