"""The deep teachers: networks too slow to serve, which read all texts first and then learn their labels.

Pretrained as a language model on every training text, labelled or not (Dai and Le 2015), then taught by the labels and
by the linear teacher.
"""

import copy
from functools import partial

import torch

from training.fitting.examples import Examples, with_sentences
from training.fitting.trainer import Trainer
from training.network.bilstm import BiLSTM
from training.recipe.language_model import LanguageModel, predict_next
from training.recipe.recipes import Preset


def start(preset: Preset, vocabulary_size: int, labels: int) -> BiLSTM:
    """The untrained teacher."""
    assert preset.deep_teacher is not None
    return BiLSTM(
        vocabulary_size,
        preset.deep_teacher.embedding_size,
        preset.deep_teacher.hidden_size,
        labels,
        "pooled",
        word_dropout=preset.word_dropout,
        embedding_dropout=preset.embedding_dropout,
        head_dropout=preset.head_dropout,
        ngram_buckets=preset.ngram_buckets,
        ngram_dropout=preset.ngram_dropout,
    )


def stage(number: int) -> str:
    """The name of the stage that trains the deep teacher of this `number`, from 1."""
    return f"deep-teacher-{number}" if number > 1 else "deep-teacher"


def fit(
    trainer: Trainer, preset: Preset, vocabulary: list[str], lessons: Examples, validation: Examples
) -> list[BiLSTM]:
    """The teachers: one network, pretrained on the texts of `lessons`, and its copies, each taught by their targets.

    Shown other sentences, in another order and with other dropout, copies err somewhat differently; less than networks
    that started apart, but the pretraining is paid for once.
    """
    plan, seed = preset.deep_teacher, trainer.options.seed
    assert plan is not None
    torch.manual_seed(seed)
    network = start(preset, len(vocabulary), lessons.targets.shape[1])
    reader = LanguageModel(network, lessons.counts(len(vocabulary)))
    trainer.train("language-model", reader, plan.pretraining, lambda epoch: lessons, validation, seed, predict_next)
    teachers = []
    for number in range(1, plan.count + 1):
        teacher, own_seed = copy.deepcopy(network), seed + number - 1
        shown = partial(with_sentences, lessons, vocabulary, preset.sentences, own_seed)
        trainer.train(stage(number), teacher, plan.fine_tuning, shown, validation, own_seed)
        teachers.append(teacher)
    return teachers
