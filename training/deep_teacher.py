"""The deep teachers: networks too slow to serve, which read all texts first and then learn their labels.

Pretrained as a language model on every training text, labelled or not (Dai and Le 2015), then taught by the labels and
by the linear teacher.
"""

import copy
from functools import partial

import torch

from training.examples import Examples, with_sentences
from training.language_model import LanguageModel, predict_next
from training.model import BiLSTM
from training.preset import Preset
from training.stage import Trainer


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


def fit(
    trainer: Trainer, preset: Preset, vocabulary: list[str], lessons: Examples, validation: Examples
) -> list[BiLSTM]:
    """The teachers: one network, pretrained on the texts of `lessons`, and its copies, each taught by their targets.

    Copies that saw the same texts in another order, with other dropout, err differently (Lakshminarayanan et al. 2017).
    """
    plan, seed = preset.deep_teacher, trainer.options.seed
    assert plan is not None
    torch.manual_seed(seed)
    network = start(preset, len(vocabulary), lessons.targets.shape[1])
    reader = LanguageModel(network, lessons.counts(len(vocabulary)))
    trainer.train("language-model", reader, plan.pretraining, lambda epoch: lessons, validation, seed, predict_next)
    teachers = [copy.deepcopy(network) for _ in range(plan.count)]
    for number, teacher in enumerate(teachers):
        shown = partial(with_sentences, lessons, vocabulary, preset.sentences, seed + number)
        name = f"deep-teacher-{number + 1}" if number else "deep-teacher"
        trainer.train(name, teacher, plan.fine_tuning, shown, validation, seed + number)
    return teachers
