"""The deep teacher: a network too slow to serve, which reads all texts first and then learns their labels.

Pretrained as a language model on every training text, labelled or not (Dai and Le 2015), then taught by the labels and
by the linear teacher.
"""

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


def fit(trainer: Trainer, preset: Preset, vocabulary: list[str], lessons: Examples, validation: Examples) -> BiLSTM:
    """The teacher, pretrained on the texts of `lessons` and then taught by their targets."""
    plan, seed = preset.deep_teacher, trainer.options.seed
    assert plan is not None
    torch.manual_seed(seed)
    network = start(preset, len(vocabulary), lessons.targets.shape[1])
    reader = LanguageModel(network, lessons.counts(len(vocabulary)))
    trainer.train("language-model", reader, plan.pretraining, lambda epoch: lessons, validation, seed, predict_next)

    def shown(epoch: int) -> Examples:
        return with_sentences(lessons, vocabulary, preset.sentences, seed, epoch)

    trainer.train("deep-teacher", network, plan.fine_tuning, shown, validation, seed)
    return network
