"""One run, from labelled texts to a verified bundle, told in order."""

import dataclasses
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from service.model import bundle
from service.model.bundle import Bundle
from service.model.tokenizer import SPECIAL, Rules, TokenIds, Tokenizer
from training import few
from training.arguments import say_to
from training.data import mixed_corpus
from training.data.corpus import Corpus
from training.data.overview import examine
from training.data.split import TEST
from training.evaluation import misjudged
from training.fitting.examples import Examples, beside_neutral, part_of, with_sentences
from training.fitting.loop import Plan, State, choose_precision, predict
from training.fitting.trainer import Trainer
from training.network.bilstm import BiLSTM, Head
from training.options import Options
from training.recipe import balance, contrasts, encoder, targets, word_view
from training.recipe.encoder import Labels
from training.recipe.recipes import Preset
from training.recipe.targets import Lessons, undecided_sentences
from training.release import export, onnx_graph, publish


def run(options: Options, console: Console) -> Path:
    """Trains, exports, proves, measures and writes a bundle.

    Raises RunError, DataError, ParityError, BundleError, OldGraph; Stopped where a signal ended the encoder's work.
    """
    started, revision, say = time.monotonic(), publish.source_revision(), say_to(console)
    if options.misjudged:
        misjudged.prepare(options.misjudged)
    folder, preset = options.open_folder(), options.preset
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    trainer = Trainer(folder, console, device, choose_precision(device), started - folder.spent_seconds())
    base = bundle.read(options.warm_start) if options.warm_start else None
    if base:
        onnx_graph.read(base.model)  # before anything is read or trained: raises OldGraph

    corpus, labels = read(options, base, say)
    if few.chosen(corpus, options.preset_name, options.own_validation(), options.is_changed(), options.folds):
        return _run_few(options, corpus, trainer, revision, console)
    if options.folds is None and not options.is_changed() and (line := few.warning(corpus)):
        say(line)
    if base and few.unknown_share(corpus, base) > few.MOST_UNKNOWN:
        raise few.unknown(options.warm_start, corpus, base)
    tokenizer = base.tokenizer if base else _tokenizer(preset, corpus, labels)
    token_ids, offsets = corpus.encode(tokenizer)
    logits = labels.logits if labels else {}
    lessons = targets.prepare(folder, say, corpus, token_ids, offsets, preset.teacher, logits)
    embedding = _embedding(preset, labels, tokenizer, token_ids, device)
    label_weights = balance.label_weights(corpus) if options.balance else None
    say(
        f"{len(tokenizer.vocabulary):,} tokens known, {len(lessons.train):,} training texts, {device.type} in "
        f"{trainer.precision}"
    )

    def train(seed: int) -> State:
        torch.manual_seed(seed)
        model = _network(preset, tokenizer, corpus, base, embedding)

        def fit(stage: str, plan: Plan, lessons: Lessons) -> State:
            shown = _shown(preset, corpus, tokenizer, lessons, offsets, seed)
            plan = dataclasses.replace(plan, label_weights=label_weights)
            return trainer.train(options.stage(stage, seed), model, plan, shown, lessons.validation, seed)

        say(f"{sum(weights.numel() for weights in model.parameters()):,} parameters")
        if preset.mixing is None or corpus.mixed is None:
            return fit("network", preset.plan, lessons)
        fit("first-network", preset.mixing.first, lessons)
        answers = _answers(trainer, model, lessons.validation, options.stage("answers", seed))
        return fit("network", preset.plan, targets.recalibrated(lessons, corpus, answers))

    def calibrated(state: State) -> Bundle:
        return publish.calibrate(options.out.name, state, tokenizer, corpus, lessons.validation, options.right, console)

    state = train(options.seed)
    draft, siblings = calibrated(state), {seed: calibrated(train(seed)) for seed in options.spread}
    how = _provenance(options, corpus, state.model, len(state.history)) | _circumstances(trainer, revision)
    if labels:
        how["encoder"] = labels.fitted
    else:
        how["ladder"] = lessons.ladder | {"network": publish.worth(draft)}
    trained = publish.Trained(draft, how, state.history, siblings)
    publish.publish(trained, corpus, options.out, options.force, options.skip_test, options.misjudged, console)
    folder.empty()
    return options.out


def _run_few(options: Options, corpus: Corpus, trainer: Trainer, revision: str | None, console: Console) -> Path:
    """The rest of a run with few labelled texts: judged by folds, then trained on all of them."""
    say, folder = say_to(console), trainer.folder
    base, how_it_starts = few.start(options.warm_start, options.from_nothing, corpus, options.preset)
    say(few.announced(corpus, how_it_starts))
    made = few.make(corpus, base, options.preset, options.seed, options.balance, say)
    headline = {"accuracy": made.judged.accuracy, "accuracy_interval_95": made.judged.interval()}
    name, labels = options.out.name, corpus.label_names
    draft = publish.from_folds(
        name, made.model, made.tokenizer, labels, made.temperature, made.answers, headline, options.right, console
    )
    test_texts = 0 if options.skip_test else len(corpus.rows(TEST))
    for line in few.told(made.judged, test_texts, base):
        say(line)
    how = _provenance(options, corpus, made.model, 0) | _circumstances(trainer, revision)
    how |= {"folds": made.judged.report(test_texts), "warm_start": base.manifest.name if base else "none"}
    trained = publish.Trained(draft, how, probe=publish.probe(draft, made.probe), by_folds=made.answers)
    publish.publish(trained, corpus, options.out, options.force, options.skip_test, options.misjudged, console)
    folder.empty()
    return options.out


def _circumstances(trainer: Trainer, revision: str | None) -> dict[str, Any]:
    """By what a bundle was made, and in what time."""
    return {
        "source_revision": revision,
        "device": trainer.device.type,
        "precision": trainer.precision,
        "threads": torch.get_num_threads(),
        "machines": trainer.folder.machines() or {"network": [trainer.machine()]},
        "wall_seconds": round(trainer.spent_seconds()),
    }


def read(options: Options, base: Bundle | None, say: Callable[[str], None]) -> tuple[Corpus, Labels | None]:
    """The texts, and where several data sets are read with an encoder for a teacher, what it says of them.

    Raises DataError; Stopped where a signal ended the encoder's work.
    """
    rules, max_tokens = reads_as(options.preset, base)
    if options.mixed is None:
        shares = (options.preset.validation_share, options.test_share, options.sample)
        return examine(options.sources, rules, max_tokens, shares, base, say), None
    mixing = options.preset.mixing
    assert mixing is not None
    labels = encoder.teach(options.mixed, options.encoder, mixing) if options.encoder else None
    return mixed_corpus.build(options.mixed.mixture, labels.short_texts if labels else [], rules), labels


def reads_as(preset: Preset, base: Bundle | None) -> tuple[Rules, int]:
    """The tokenizer's rules and the most tokens that it reads: those of `base` where a run starts from one."""
    manifest = base.manifest if base else None
    return (manifest.rules, manifest.max_tokens) if manifest else (preset.rules, preset.max_tokens)


def _shown(
    preset: Preset, corpus: Corpus, tokenizer: Tokenizer, lessons: Lessons, offsets: NDArray[np.int64], seed: int
) -> Callable[[int], Examples]:
    """The examples of each epoch, as many in every one: the lessons, but of those that are short a share; up to so many
    sentences of each, and sentences that turn on a negation. Some reviews are shown beside undecided sentences."""
    shares, short, beside = np.ones(len(lessons.train)), np.zeros(len(lessons.train), np.bool_), 0.0
    if corpus.mixed is not None and preset.mixing is not None:
        short, beside = corpus.mixed.short[lessons.rows], preset.mixing.neutral
        shares[short] = preset.mixing.short_share
    neutral = undecided_sentences(lessons, corpus)
    borders = corpus.sentence_borders(lessons.rows, offsets, tokenizer) if preset.sentences else []
    made_up = preset.contrasts if contrasts.suit(corpus.label_names) else 0.0

    def shown(epoch: int) -> Examples:
        parts = [part_of(np.flatnonzero(shares == share), share, seed, epoch) for share in np.unique(shares).tolist()]
        places = np.concatenate(parts)
        examples = lessons.train.at(places)
        if beside:
            generator = np.random.default_rng((seed, epoch, 2))
            chosen = np.flatnonzero(~short[places] & (generator.random(len(places)) < beside))
            examples = beside_neutral(examples, chosen, neutral, tokenizer.max_tokens, generator)
        if preset.sentences:
            examples = with_sentences(examples, [borders[at] for at in places], preset.sentences, seed, epoch)
        if made_up:
            count = round(made_up * len(examples))
            examples = contrasts.with_contrasts(examples, tokenizer, corpus.label_names, count, seed, epoch)
        return examples

    return shown


def _answers(trainer: Trainer, model: BiLSTM, examples: Examples, name: str) -> NDArray[np.float32]:
    """The network's logits of `examples`, [example, label]; a resumed run finds those it had."""
    answers = trainer.folder.array(name)
    if answers is None:
        answers = predict(model, examples, trainer.precision)
        trainer.folder.save_array(name, answers)
    return answers


def _tokenizer(preset: Preset, corpus: Corpus, labels: Labels | None) -> Tokenizer:
    """The most frequent tokens of the texts and, with an encoder, of its common words those that are not among them."""
    vocabulary = corpus.vocabulary(preset.vocabulary_size)
    if labels and preset.mixing:
        vocabulary = vocabulary[: preset.vocabulary_size - preset.mixing.encoder_words]
        pieces = labels.load()[1]
        known = set(vocabulary)
        vocabulary += [word for word in word_view.common_words(pieces) if word not in known]
        vocabulary = vocabulary[: preset.vocabulary_size]
    return Tokenizer(vocabulary, preset.max_tokens, preset.truncation, preset.rules)


def _embedding(
    preset: Preset, labels: Labels | None, tokenizer: Tokenizer, token_ids: TokenIds, device: torch.device
) -> Tensor | None:
    """Embeddings [vocabulary, size] to start from: the encoder's view of each word; None without an encoder."""
    if labels is None:
        return None
    vocabulary = tokenizer.vocabulary
    counts = np.bincount(token_ids, minlength=len(vocabulary))
    embedding = word_view.embeddings(*labels.load(), vocabulary, counts, preset.embedding_size, device)
    embedding[: len(SPECIAL)] = 0
    return embedding


def _network(
    preset: Preset, tokenizer: Tokenizer, corpus: Corpus, base: Bundle | None, embedding: Tensor | None
) -> BiLSTM:
    """A new network of the preset's sizes, which starts from `embedding`, or one of the sizes and weights of `base`."""
    weights = onnx_graph.read(base.model) if base else None
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
        preset.short_tokens,
    )
    if base and weights:
        export.load_arrays(model, weights, with_output=base.manifest.labels == corpus.label_names)
    elif embedding is not None:
        model.embedding.weight.data[:, : embedding.shape[1]] = embedding  # of a narrow encoder, a part
    return model


def _provenance(options: Options, corpus: Corpus, model: BiLSTM, epochs: int) -> dict[str, Any]:
    """What one needs to know to make this bundle again."""
    sizes = {  # of the bundle that it started from, where there is one
        "embedding_size": model.embedding.embedding_dim,
        "hidden_size": model.forward_lstm.hidden_size,
        "head": model.head,
    }
    return {
        "preset": options.preset_name,
        "recipe": dataclasses.asdict(options.preset) | sizes,
        "seed": options.seed,
        "sample": options.sample,
        "test_share": options.test_share,
        "balance": options.balance,
        "data": options.data(),
        "left_out": list(options.mixed.leave_out) if options.mixed else [],
        "reviews": corpus.report,
        "warm_start": options.warm_start.name if options.warm_start else None,
        "epochs": epochs,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in ("torch", "onnx", "onnxruntime", "numpy", "scikit-learn")},
    }
