"""The deep teachers: which stages run, from which weights and seeds."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from training import deep_teacher
from training.examples import Examples
from training.language_model import LanguageModel
from training.preset import PRESETS
from training.stage import Trainer


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
    preset = PRESETS["release"]
    [plan] = preset.deep_teachers
    teachers = deep_teacher.fit(cast(Trainer, Recorder()), preset, plan, vocabulary, reviews, reviews, reviews)
    assert [(stage, seed) for stage, seed, _ in started] == [
        ("deep-language-model", 5), ("deep-teacher", 5), ("deep-teacher-2", 6),
    ]  # fmt: skip
    assert [weight for _, _, weight in started[1:]] == [1.0, 1.0]  # as the language model left them
    assert [float(teacher.embedding.weight[2, 0].detach()) for teacher in teachers.values()] == [2.0, 3.0]
    assert shown[1] != shown[2]  # other sentences


def test_a_wide_teacher_learns_from_labels_and_from_as_many_reviews_without() -> None:
    token_ids = np.tile(np.array([3, 4, 5, 6, 7, 2], np.int32), 60)
    ends = np.arange(1, 7) * 60
    soft, hard = np.full((6, 2), 0.5, np.float32), np.eye(2, dtype=np.float32)
    lessons, given = Examples(token_ids, ends - 60, ends, soft), Examples(token_ids, ends[:2] - 60, ends[:2], hard)
    shown: list[Examples] = []
    judged: list[Any] = []

    class Recorder:
        options = SimpleNamespace(seed=1)

        def train(self, stage: str, model: Any, plan: Any, epoch: Any, held: Any, seed: int, objective: Any) -> None:
            shown[:], judged[:] = (epoch(0), epoch(1)), (model, objective)

    preset = PRESETS["release-gpu"]
    plan = replace(preset.deep_teachers[-1], embedding_size=4, hidden_size=4)
    vocabulary = ["", "?", ".", *"abcdefg"]
    deep_teacher.fit(cast(Trainer, Recorder()), preset, plan, vocabulary, given, lessons, given)
    for examples in shown:  # reviews, a sentence of each, unlabelled
        np.testing.assert_array_equal(examples.targets, np.concatenate([hard, hard, np.zeros((2, 2))]))
        assert (examples.ends - examples.starts).tolist() == [60, 60, 6, 6, 60, 60]
        assert (examples.starts[4:] >= 120).all()
    assert shown[0].starts[4:].tolist() != shown[1].starts[4:].tolist()
    model, objective = judged
    assert not model.ngram_buckets
    token = torch.tensor([[3]])
    loss, _, labelled = objective(model.train(), (token, torch.tensor([1]), torch.zeros(1, 2)))
    assert (float(loss.detach()) > 0, labelled) == (True, 0)  # its steps
