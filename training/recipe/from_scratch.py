"""A network for few labelled texts where there is none to start from: taught by the linear model, in many epochs."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from training.fitting.loop import Precision, State, fit, predict
from training.network.bilstm import BiLSTM
from training.recipe import linear_model
from training.recipe.few_texts import FewTexts, Floats, Rows
from training.recipe.recipes import Preset

_SIZE = 32  # of the embeddings, and units in each direction: as good as 64, in half the time
_STEPS = 400  # of the optimiser, whatever the number of texts
_FEWEST_EPOCHS = 8
_BATCH_SIZE = 32
_LEARNING_RATE = 2e-3
_AVERAGE_DECAY = 0.98  # the average of the weights reaches over some 50 steps


def train(
    texts: FewTexts,
    vocabulary_size: int,
    preset: Preset,
    seed: int,
    device: torch.device,
    precision: Precision,
    each_epoch: Callable[[int, int], None] = lambda epoch, epochs: None,
) -> BiLSTM:
    """The network; calls `each_epoch` with (epoch, epochs) at the end of each.

    The target of a text is the mean of its label and of what a linear model answers that has not seen its label: the
    label alone knows the truth, the linear model how plain it is.
    """
    torch.manual_seed(seed)
    targets = (texts.examples.targets + linear_model.unseen(texts, seed)) / 2
    examples = replace(texts.examples, targets=targets)
    model = BiLSTM(
        vocabulary_size,
        _SIZE,
        _SIZE,
        texts.label_count,
        "pooled",
        word_dropout=preset.word_dropout,
        embedding_dropout=preset.embedding_dropout,
        head_dropout=preset.head_dropout,
    )
    epochs = max(_FEWEST_EPOCHS, round(_STEPS / np.ceil(len(examples) / _BATCH_SIZE)))
    plan = replace(
        preset.plan,
        epochs=epochs,
        batch_size=_BATCH_SIZE,
        learning_rate=_LEARNING_RATE,
        average_decay=_AVERAGE_DECAY,
        patience=None,
        keep="last",
    )
    state = State.start(model.to(device), plan)
    nothing = examples.at(np.zeros(0, np.int64))  # the number of epochs is fixed: no text is needed to choose by
    for step in fit(state, plan, lambda _: examples, nothing, seed, precision):
        if step.finished:
            each_epoch(step.epoch, epochs)
    return state.model


def logits(model: BiLSTM, texts: FewTexts, rows: Rows, precision: Precision) -> Floats:
    """[row, label] of `rows`."""
    found: NDArray[np.float64] = predict(model, texts.examples.at(rows), precision).astype(np.float64)
    return found
