"""The deep teachers: networks too slow to serve, which read all texts first and then learn their labels.

Pretrained as a language model on every training text, labelled or not (Dai and Le 2015), then taught by the labels and
by the linear teacher; or, with a norm of steps, by the labels and by its own answers (see `adversarial.py`).
"""

import copy
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from training import adversarial
from training.examples import Examples, with_sentences
from training.fit import Objective, classify
from training.language_model import LanguageModel, predict_next
from training.model import BiLSTM
from training.preset import DeepTeacher, Preset
from training.stage import Trainer


def start(preset: Preset, plan: DeepTeacher, vocabulary_size: int, labels: int) -> BiLSTM:
    """The untrained teacher."""
    return BiLSTM(
        vocabulary_size,
        plan.embedding_size,
        plan.hidden_size,
        labels,
        "pooled",
        word_dropout=preset.word_dropout,
        embedding_dropout=preset.embedding_dropout,
        head_dropout=preset.head_dropout,
        ngram_buckets=0 if plan.step_norm else preset.ngram_buckets,
        ngram_dropout=preset.ngram_dropout,
    )


def reader(network: BiLSTM, plan: DeepTeacher, counts: NDArray[np.int64]) -> LanguageModel:
    """`network` as it reads texts in which each token stands `counts` [vocabulary] times."""
    return LanguageModel(network, counts, plan.sampled, plan.reading_dropout)


def objective(plan: DeepTeacher) -> Objective:
    """What its copies are judged by as they learn to classify."""
    return adversarial.objective(plan.step_norm) if plan.step_norm else classify


def stages(plan: DeepTeacher) -> list[str]:
    """The names of the stage that reads and, after it, of those that learn to classify."""
    numbers = ("", *(f"-{number}" for number in range(2, plan.count + 1)))
    return [f"{plan.name}-language-model", *(f"{plan.name}-teacher{number}" for number in numbers)]


def fit(
    trainer: Trainer,
    preset: Preset,
    plan: DeepTeacher,
    vocabulary: list[str],
    given: Examples,
    lessons: Examples,
    validation: Examples,
) -> dict[str, BiLSTM]:
    """The teachers by their stages: one network, pretrained on the texts of `lessons`, and copies of it, each taught.

    `lessons` begin with the labelled reviews, which `given` has under their labels. Shown other sentences, in another
    order and with other dropout, copies err somewhat differently; less than networks that started apart, but the
    pretraining is paid for once.
    """
    seed, (reading, *classifying) = trainer.options.seed, stages(plan)
    torch.manual_seed(seed)
    network = start(preset, plan, len(vocabulary), lessons.targets.shape[1])
    language_model = reader(network, plan, lessons.counts(len(vocabulary)))
    trainer.train(reading, language_model, plan.pretraining, lambda epoch: lessons, validation, seed, predict_next)
    teachers = {}
    for own_seed, stage in enumerate(classifying, seed):
        teacher = copy.deepcopy(network)
        shown = partial(with_sentences, lessons, vocabulary, preset.sentences, own_seed)
        if plan.step_norm:
            shown = partial(_with_unlabelled, given, lessons, vocabulary, own_seed)
        trainer.train(stage, teacher, plan.fine_tuning, shown, validation, own_seed, objective(plan))
        teachers[stage] = teacher
    return teachers


def _with_unlabelled(given: Examples, lessons: Examples, vocabulary: list[str], seed: int, epoch: int) -> Examples:
    """`given` under their labels, a sentence of each, and of the reviews without labels as many as there are of `given`
    (or all), drawn anew every epoch."""
    examples = with_sentences(given, vocabulary, 1, seed, epoch)
    others = np.random.default_rng((seed, epoch, 4)).permutation(len(lessons) - len(given))[: len(given)] + len(given)
    return Examples(
        examples.token_ids,
        np.concatenate([examples.starts, lessons.starts[others]]),
        np.concatenate([examples.ends, lessons.ends[others]]),
        np.concatenate([examples.targets, np.zeros_like(lessons.targets[others])]),
    )
