"""One run, from labelled reviews to a verified bundle, told in order."""

import time
from collections.abc import Iterable
from pathlib import Path

import torch
from rich.console import Console

from service import bundle
from service.bundle import Bundle
from service.tokenizer import Tokenizer
from training import checkpoint, export, publish, targets
from training.corpus import Corpus, build
from training.examples import Examples, with_sentences
from training.fit import choose_precision
from training.model import BiLSTM, Head
from training.options import Options
from training.preset import Preset
from training.reviews import Source
from training.stage import Trainer


def run(options: Options, console: Console) -> Path:
    """Trains, exports, proves, measures and writes a bundle. Raises RunError, DataError, ParityError, BundleError."""
    started, revision = time.monotonic(), publish.source_revision()
    checkpoint.open_folder(options)
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    trainer = Trainer(options, console, device, choose_precision(device), started - checkpoint.spent_seconds(options))
    base = bundle.read(options.warm_start) if options.warm_start else None

    rules = base.manifest.rules if base else options.preset.rules
    shares = (options.preset.validation_share, options.test_share, options.sample)
    corpus = build(options.sources, rules, *shares)
    _tell(corpus, (source for source, _ in options.sources), console)
    tokenizer = base.tokenizer if base else _tokenizer(options.preset, corpus)
    vocabulary = tokenizer.vocabulary
    lessons = targets.prepare(trainer, options.preset, corpus, *corpus.encode(tokenizer), vocabulary)

    def shown(epoch: int) -> Examples:
        sentences = options.preset.sentences
        if not sentences:
            return lessons.train
        return with_sentences(lessons.train, vocabulary, sentences, options.seed, epoch)

    torch.manual_seed(options.seed)
    model = _network(options.preset, tokenizer, corpus, base)
    if lessons.embedding is not None and not base:
        model.embedding.weight.data.copy_(lessons.embedding)
    console.print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(vocabulary):,} tokens known, "
        f"{len(lessons.train):,} training reviews, {device.type} in {trainer.precision}",
        highlight=False,
    )
    state = trainer.train("network", model, options.preset.plan, shown, lessons.validation, options.seed)

    draft = publish.calibrate(options, state, tokenizer, corpus, console)
    how = publish.provenance(options, corpus, state, revision) | {
        "device": device.type,
        "precision": trainer.precision,
        "threads": torch.get_num_threads(),
        "wall_seconds": round(trainer.spent_seconds()),
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
    buckets = preset.ngram_buckets
    if weights:
        embedding_size, hidden_size = weights.embedding.shape[1], weights.forward.recurrence.shape[1]
        head = "last" if "hidden_bias" in weights.head else "pooled"
        dense_size = len(weights.head.get("hidden_bias", weights.head["bias"]))
        buckets = 0 if weights.ngrams is None else len(weights.ngrams)
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
        buckets,
        preset.ngram_dropout,
    )
    if base and weights:
        export.load_arrays(model, weights, with_output=base.manifest.labels == corpus.label_names)
    return model
