"""Trains the preset `article` with `training.fitting`, an epoch at a time."""

import os
from dataclasses import replace
from time import perf_counter
from typing import Any

import torch

from training.fitting.examples import Examples
from training.fitting.loop import Precision, State, choose_precision, evaluate, fit
from training.network.bilstm import BiLSTM
from training.recipe.recipes import Preset

CPU = torch.device("cpu")


class Ours:
    """One training run on the reviews `train`, with `validation` after each epoch; it computes in `precision`."""

    def __init__(self, preset: Preset, vocabulary_size: int, train: Examples, validation: Examples, seed: int) -> None:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.manual_seed(seed)
        sizes = (vocabulary_size, preset.embedding_size, preset.hidden_size, 2)
        self._model = BiLSTM(*sizes, preset.head, preset.dense_size)
        self._model.register_forward_pre_hook(self._count)
        self.precision: Precision = choose_precision(CPU)
        state = State.start(self._model, preset.plan)
        self._progress = fit(state, preset.plan, lambda epoch: train, validation, seed, self.precision)
        self._computed = 0

    def _count(self, model: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        self._computed += inputs[0].numel()

    def epoch(self) -> dict[str, float]:
        """Tokens, time steps (with padding) and seconds of the next epoch, without its last step, which validates."""
        tokens = computed = self._computed = 0
        began, ended = perf_counter(), 0.0
        for step in self._progress:
            if step.finished:
                break
            ended, computed = perf_counter(), self._computed
            tokens += step.tokens
        return {"tokens": tokens, "steps": computed, "seconds": ended - began}

    def accuracy(self, evaluation: Examples) -> float:
        """The accuracy on `evaluation`, in fp32. Raises RuntimeError before the last epoch has ended."""
        if next(self._progress, None) is not None:
            raise RuntimeError("expected a run at its end, found another step")
        return evaluate(self._model, evaluation, "fp32")[1]


def planned(preset: Preset, epochs: int | None) -> Preset:
    """The preset, with `epochs` in place of its own unless None."""
    return replace(preset, plan=replace(preset.plan, epochs=epochs)) if epochs else preset
