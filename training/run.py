"""One run, from labelled reviews to a verified bundle, told in order."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from service.model import bundle
from service.model.bundle import Bundle
from service.model.tokenizer import Rules, Tokenizer
from training.arguments import say_to
from training.data.corpus import Corpus
from training.data.overview import examine
from training.data.split import TRAIN, UNLABELLED
from training.fitting import checkpoint
from training.fitting.examples import Examples, with_sentences
from training.fitting.loop import State, choose_precision
from training.fitting.trainer import Trainer
from training.network.bilstm import BiLSTM, Head
from training.options import Options
from training.recipe import contrasts, deep_teacher, neutral, short_reader, targets
from training.recipe.forecast import Stage, tell
from training.recipe.language_model import LanguageModel, predict_next
from training.recipe.recipes import Preset
from training.recipe.targets import Lessons
from training.release import export, onnx_graph, publish

_TOKENS_OF_A_SENTENCE = 23  # the mean of the reviews' single sentences; only the forecast of a run's time leans on it,
_TOKENS_OF_A_STRETCH = 40  # of what the short reader is shown of them,
_TOKENS_OF_A_LESSON = 14  # and of what `contrasts` makes up


def run(options: Options, console: Console) -> Path:
    """Trains, exports, proves, measures and writes a bundle. Raises RunError, DataError, ParityError, BundleError."""
    started, revision = time.monotonic(), publish.source_revision()
    checkpoint.open_folder(options)
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    trainer = Trainer(options, console, device, choose_precision(device), started - checkpoint.spent_seconds(options))
    base = bundle.read(options.warm_start) if options.warm_start else None

    rules, max_tokens = reads_as(options.preset, base)
    shares = (options.preset.validation_share, options.test_share, options.sample)
    corpus = examine(options.sources, rules, max_tokens, shares, base, say_to(console))
    tokenizer = base.tokenizer if base else _tokenizer(options.preset, corpus)
    vocabulary = tokenizer.vocabulary
    encoded = corpus.encode(tokenizer)
    model = _network(options.preset, tokenizer, corpus, base)
    if base and onnx_graph.read(base.model).short:
        console.print("the short reader of the bundle to start from stays behind: one network will read all texts")
    if not options.resume:
        _tell_plan(trainer, corpus, encoded[1], model)
    lessons = targets.prepare(trainer, options.preset, corpus, *encoded, vocabulary)
    console.print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(vocabulary):,} tokens known, "
        f"{len(lessons.train):,} training reviews, {device.type} in {trainer.precision}",
        highlight=False,
    )

    def train(seed: int) -> State:
        torch.manual_seed(seed)
        model = _network(options.preset, tokenizer, corpus, base)
        if lessons.embedding is not None and not base:
            model.embedding.weight.data.copy_(lessons.embedding)
        shown = _shown(options.preset, corpus, tokenizer, lessons, seed)
        stage = options.stage("network", seed)
        state = trainer.train(stage, model, options.preset.plan, shown, lessons.validation, seed)
        if short_reader.wanted(options, corpus.label_names) and lessons.teacher_embedding is not None:
            short_reader.fit(trainer, tokenizer, corpus.label_names, lessons, state.model, seed)
        return state

    def calibrated(state: State) -> Bundle:
        return publish.calibrate(options, state, tokenizer, corpus, console)

    state = train(options.seed)
    draft, siblings = calibrated(state), {seed: calibrated(train(seed)) for seed in options.spread}
    how = publish.provenance(options, corpus, state, revision) | {
        "device": device.type,
        "precision": trainer.precision,
        "threads": torch.get_num_threads(),
        "machines": checkpoint.machines(options),
        "wall_seconds": round(trainer.spent_seconds()),
        "ladder": lessons.ladder | {"network": publish.worth(draft)},
    }
    publish.publish(options, draft, siblings, how, state, corpus, console)
    checkpoint.remove(options)
    return options.out


def reads_as(preset: Preset, base: Bundle | None) -> tuple[Rules, int]:
    """The tokenizer's rules and the most tokens that it reads: those of `base` where a run starts from one."""
    manifest = base.manifest if base else None
    return (manifest.rules, manifest.max_tokens) if manifest else (preset.rules, preset.max_tokens)


def _tell_plan(trainer: Trainer, corpus: Corpus, offsets: NDArray[np.int64], model: BiLSTM) -> None:
    """Prints what the run is going to do, and for how long."""
    options, preset = trainer.options, trainer.options.preset
    vocabulary_size, labels = model.embedding.num_embeddings, model.labels
    rows = corpus.rows(TRAIN, UNLABELLED) if preset.teacher else corpus.rows(TRAIN)
    tokens = int((offsets[rows + 1] - offsets[rows]).sum())
    with_sentences = tokens + len(rows) * preset.sentences * _TOKENS_OF_A_SENTENCE
    stages, size = [], (vocabulary_size, labels)
    if preset.deep_teacher and len(corpus.rows(UNLABELLED)):
        deep = deep_teacher.start(preset, vocabulary_size, labels)
        reader = LanguageModel(deep, np.ones(vocabulary_size, np.int64))
        stages = [
            Stage("language-model", reader, preset.deep_teacher.pretraining, *size, tokens, objective=predict_next),
            Stage(
                "deep-teacher", deep, preset.deep_teacher.fine_tuning, *size, with_sentences, preset.deep_teacher.count
            ),
        ]
    times = 1 + len(options.spread)
    shown = with_sentences
    if stages:  # or there is no neutral text
        shown += int(preset.neutral * (tokens + 2 * len(rows) * neutral.MEAN_TOKENS))
    lessons_fit = contrasts.suit(corpus.label_names)
    shown += int(preset.contrasts * len(rows) * _TOKENS_OF_A_LESSON) if lessons_fit else 0
    short = []
    if stages and (plan := short_reader.wanted(options, corpus.label_names)):
        untrained = short_reader.start(preset, *size)
        made_up = int(plan.contrasts * len(rows) * _TOKENS_OF_A_LESSON)
        beside = int(len(rows) * (plan.stretches * _TOKENS_OF_A_STRETCH + plan.neutral * short_reader.MEAN_TOKENS))
        short = [
            Stage("short-lessons", untrained, plan.lessons, *size, made_up, times),
            Stage("short-reader", untrained, plan.plan, *size, made_up + beside, times),
        ]
    tell(trainer, [*stages, Stage("network", model, preset.plan, *size, shown, times), *short])


def _shown(
    preset: Preset, corpus: Corpus, tokenizer: Tokenizer, lessons: Lessons, seed: int
) -> Callable[[int], Examples]:
    """The examples of each epoch: the lessons, some of their sentences, some of them beside neutral sentences and as
    many of those alone, and sentences that turn on a negation."""

    def shown(epoch: int) -> Examples:
        examples = lessons.train
        if preset.sentences:
            examples = with_sentences(examples, tokenizer.vocabulary, preset.sentences, seed, epoch)
        if lessons.neutral:
            count = round(preset.neutral * len(lessons.train))
            examples = neutral.with_neutral(examples, lessons.neutral, len(lessons.train), count, seed, epoch)
        if preset.contrasts and contrasts.suit(corpus.label_names):
            count = round(preset.contrasts * len(lessons.train))
            examples = contrasts.with_contrasts(examples, tokenizer, corpus.label_names, count, seed, epoch)
        return examples

    return shown


def _tokenizer(preset: Preset, corpus: Corpus) -> Tokenizer:
    vocabulary = corpus.vocabulary(preset.vocabulary_size)
    return Tokenizer(vocabulary, preset.max_tokens, preset.truncation, preset.rules)


def _network(preset: Preset, tokenizer: Tokenizer, corpus: Corpus, base: Bundle | None) -> BiLSTM:
    """A new network of the preset's sizes, or one of the sizes and weights of `base`."""
    weights = onnx_graph.read(base.model) if base else None
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
        preset.short_tokens,
    )
    if base and weights:
        export.load_arrays(model, weights, with_output=base.manifest.labels == corpus.label_names)
    return model
