"""The deep teachers: which stages run, from which weights and seeds."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from training.fitting.examples import Examples
from training.fitting.trainer import Trainer
from training.recipe import deep_teacher
from training.recipe.language_model import LanguageModel
from training.recipe.recipes import PRESETS


def test_each_teacher_starts_from_the_language_model_with_a_seed_of_its_own() -> None:
    started: list[tuple[str, int, float]] = []
    shown: list[list[int]] = []

    class Recorder:
        options = SimpleNamespace(seed=5)

        def train(
            self, stage: str, model: torch.nn.Module, plan: Any, epoch: Any, held: Any, seed: int, *_: Any
        ) -> None:
            network = model.network if isinstance(model, LanguageModel) else model
            weight = cast(Any, network).embedding.weight
            started.append((stage, seed, float(weight[2, 0].detach())))
            shown.append(epoch(0).starts.tolist())
            torch.nn.init.constant_(weight, len(started))

    vocabulary = ["", "?", ".", *"abcdefg"]
    token_ids = np.tile(np.array([3, 4, 5, 6, 7, 2], np.int32), 40)
    reviews = Examples(token_ids, np.array([0, 120]), np.array([120, 240]), np.eye(2, dtype=np.float32))
    teachers = deep_teacher.fit(cast(Trainer, Recorder()), PRESETS["release"], vocabulary, reviews, reviews)
    assert [(stage, seed) for stage, seed, _ in started] == [
        ("language-model", 5), ("deep-teacher", 5), ("deep-teacher-2", 6),
    ]  # fmt: skip
    assert [weight for _, _, weight in started[1:]] == [1.0, 1.0]  # as the language model left them
    assert [float(teacher.embedding.weight[2, 0].detach()) for teacher in teachers] == [2.0, 3.0]
    assert shown[1] != shown[2]  # other sentences
