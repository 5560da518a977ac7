"""The deep teachers: networks too slow to serve, which read all texts first and then learn their labels.

Pretrained as a language model on every training text, labelled or not (Dai and Le 2015), then taught by the labels and
by the linear teacher; where there is a GPU, a wider one by the labels and by its own answers (see `adversarial.py`).
"""

import copy
from functools import partial

import numpy as np
import torch

from training import adversarial
from training.examples import Examples, with_sentences
from training.fit import Objective, classify
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
        ngram_buckets=0 if preset.deep_teacher.adversarial else preset.ngram_buckets,
        ngram_dropout=preset.ngram_dropout,
    )


def stage(number: int) -> str:
    """The name of the stage that trains the deep teacher of this `number`, from 1."""
    return f"deep-teacher-{number}" if number > 1 else "deep-teacher"


def fit(
    trainer: Trainer, preset: Preset, vocabulary: list[str], given: Examples, lessons: Examples, validation: Examples
) -> list[BiLSTM]:
    """The teachers: one network, pretrained on the texts of `lessons`, and its copies, each taught by their targets.

    `lessons` begin with the labelled reviews, which `given` has under their labels.

    Shown other sentences, in another order and with other dropout, copies err somewhat differently; less than networks
    that started apart, but the pretraining is paid for once.
    """
    plan, seed = preset.deep_teacher, trainer.options.seed
    assert plan is not None
    torch.manual_seed(seed)
    network = start(preset, len(vocabulary), lessons.targets.shape[1])
    reader = LanguageModel(network, lessons.counts(len(vocabulary)), plan.sampled, plan.reading_dropout)
    trainer.train("language-model", reader, plan.pretraining, lambda epoch: lessons, validation, seed, predict_next)
    teachers = []
    for number in range(1, plan.count + 1):
        teacher, own_seed = copy.deepcopy(network), seed + number - 1
        shown = partial(with_sentences, lessons, vocabulary, preset.sentences, own_seed)
        judge: Objective = classify
        if plan.adversarial:
            shown = partial(_with_unlabelled, given, lessons, vocabulary, own_seed)
            judge = adversarial.objective(plan.adversarial)
        trainer.train(stage(number), teacher, plan.fine_tuning, shown, validation, own_seed, judge)
        teachers.append(teacher)
    return teachers


def _with_unlabelled(given: Examples, lessons: Examples, vocabulary: list[str], seed: int, epoch: int) -> Examples:
    """`given` under their labels, a sentence of each, and as many reviews without labels, drawn anew every epoch."""
    examples = with_sentences(given, vocabulary, 1, seed, epoch)
    others = np.random.default_rng((seed, epoch, 4)).permutation(len(lessons) - len(given))[: len(given)] + len(given)
    return Examples(
        examples.token_ids,
        np.concatenate([examples.starts, lessons.starts[others]]),
        np.concatenate([examples.ends, lessons.ends[others]]),
        np.concatenate([examples.targets, np.zeros_like(lessons.targets[others])]),
    )
