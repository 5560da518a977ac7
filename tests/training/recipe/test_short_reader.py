"""The short reader ends between the weights it had after the lessons and after the stretches."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

from service.model.tokenizer import SPECIAL, Tokenizer
from training.fitting.examples import Examples
from training.fitting.trainer import Trainer
from training.network.bilstm import BiLSTM
from training.options import Options
from training.recipe import short_reader
from training.recipe.recipes import PRESETS, Preset
from training.recipe.targets import Lessons


class Told:
    """Stands for a trainer: fills what may learn with 1 in the first stage, with 2 in the second."""

    def __init__(self, preset: Preset) -> None:
        self.options, self.stages = Options("release", preset, (), Path("made")), list[str]()

    def train(self, stage: str, model: BiLSTM, *_: object) -> None:
        self.stages.append(stage)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.fill_(len(self.stages))


def test_it_ends_between_lessons_and_stretches_with_embeddings_and_bias_of_others() -> None:
    plan = PRESETS["release"].short_reader
    assert plan is not None
    preset = replace(PRESETS["release"], short_reader=replace(plan, contrasts=1.0, share=0.75, weight=0.6))
    assert preset.deep_teacher is not None
    tokenizer = Tokenizer([*SPECIAL, "a", "."], 800, "head-and-tail", "words-and-marks")
    token_ids = np.array([*[2] * 19, 3] * 2, np.int32)
    reviews = Examples(token_ids, np.array([0, 20]), np.array([20, 40]), np.eye(2, dtype=np.float32))
    embedding = torch.randn(4, preset.deep_teacher.embedding_size)
    network, told = BiLSTM(4, 8, 8, 2, "pooled"), Told(preset)
    network.output.bias.data.fill_(0.5)
    lessons = Lessons(reviews, reviews, teacher_embedding=embedding)
    names = ("negative", "positive")
    short_reader.fit(cast(Trainer, told), tokenizer, names, lessons, network, seed=2)
    assert told.stages == ["short-lessons-2", "short-reader-2"]
    assert network.short is not None
    assert network.short_weight == 0.6
    weights = network.short.state_dict()
    for name in ("forward_lstm.weight_ih_l0", "output.weight"):
        assert torch.equal(weights[name], torch.full_like(weights[name], 1.75))
    assert torch.equal(network.short.embedding.weight, embedding.half().float())
    assert torch.equal(network.short.output.bias, network.output.bias)
