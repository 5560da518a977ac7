"""The short reader: a network of its own for texts of a few sentences, trained on nothing else.

First it learns from the lessons in negation alone (`contrasts.py`), then from them beside stretches of reviews and text
that leans to no label. Its embeddings stay as the deep teachers learned them, in the mean: moved, they would learn the
lessons by heart, word by word, and the LSTM nothing that holds for a word that stands in none. It ends between the
weights that it had before the stretches and after: these help with reviews and take from what the lessons taught, and
weights in between lose little of either (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from service.model.tokenizer import Tokenizer
from training.fitting.examples import Examples, stretches, with_texts
from training.fitting.trainer import Trainer
from training.network.bilstm import BiLSTM
from training.options import Options
from training.recipe import contrasts, neutral
from training.recipe.recipes import Preset, ShortReader
from training.recipe.targets import Lessons

_LENGTHS = (10, 80)  # tokens of what it is shown, sentences of reviews and lessons aside
MEAN_TOKENS = sum(_LENGTHS) / 2
_HELD_LESSONS = 2000  # at most: another draw of the same frames and words, to tell how well they are learned


def wanted(options: Options, label_names: Sequence[str]) -> ShortReader | None:
    """How a run that has deep teachers trains one; None without a plan, without lessons, or from a bundle's weights."""
    return options.preset.short_reader if contrasts.suit(label_names) and not options.warm_start else None


def start(preset: Preset, vocabulary_size: int, labels: int) -> BiLSTM:
    """The untrained short reader."""
    assert preset.short_reader is not None
    assert preset.deep_teacher is not None
    return BiLSTM(
        vocabulary_size,
        preset.deep_teacher.embedding_size,
        preset.short_reader.hidden_size,
        labels,
        "pooled",
        embedding_dropout=preset.short_reader.embedding_dropout,
        head_dropout=preset.head_dropout,
    )


def fit(
    trainer: Trainer, tokenizer: Tokenizer, label_names: Sequence[str], lessons: Lessons, network: BiLSTM, seed: int
) -> None:
    """Trains the short reader of `network`, already trained from `seed`, and puts it beside it."""
    preset = trainer.options.preset
    plan = preset.short_reader
    assert plan is not None
    assert lessons.teacher_embedding is not None
    torch.manual_seed(seed)
    reader = start(preset, len(tokenizer.vocabulary), network.labels)
    reader.embedding.weight.data.copy_(lessons.teacher_embedding.half())  # as the graph stores them
    reader.output.bias.data.copy_(network.output.bias.detach())
    for kept in (reader.embedding.weight, reader.output.bias):
        kept.requires_grad_(False)
    count = round(plan.contrasts * len(lessons.train))
    alone = partial(contrasts.alone, tokenizer, label_names, count, seed)
    others = contrasts.alone(tokenizer, label_names, min(count, _HELD_LESSONS), seed, plan.lessons.epochs)
    trainer.train(trainer.options.stage("short-lessons", seed), reader, plan.lessons, alone, others, seed)
    taught = {name: weight.clone() for name, weight in reader.state_dict().items()}
    shown = partial(_shown, preset, tokenizer, label_names, lessons, seed)
    held = stretches(lessons.validation, tokenizer.vocabulary, plan.stretches, _LENGTHS, seed, 0)
    trainer.train(trainer.options.stage("short-reader", seed), reader, plan.plan, shown, held, seed)
    reader.load_state_dict({name: taught[name].lerp(end, plan.share) for name, end in reader.state_dict().items()})
    # A checkpoint may hold the bias of a network that was interrupted, and then trained to its end.
    reader.output.bias.data.copy_(network.output.bias.detach())
    network.short, network.short_weight = reader.to(next(network.parameters()).device), plan.weight


def _shown(
    preset: Preset, tokenizer: Tokenizer, label_names: Sequence[str], lessons: Lessons, seed: int, epoch: int
) -> Examples:
    """The examples of an epoch."""
    plan, reviews = preset.short_reader, len(lessons.train)
    assert plan is not None
    examples = stretches(lessons.train, tokenizer.vocabulary, plan.stretches, _LENGTHS, seed, epoch)
    if lessons.neutral and plan.neutral:
        texts = neutral.alone(lessons.neutral, round(plan.neutral * reviews), _LENGTHS, seed, epoch)
        targets = np.full((len(texts), len(label_names)), 1 / len(label_names), np.float32)
        examples = with_texts(examples, texts, targets)
    count = round(plan.contrasts * reviews)
    return contrasts.with_contrasts(examples, tokenizer, label_names, count, seed, epoch)
