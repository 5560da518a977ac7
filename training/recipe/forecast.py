"""What each stage of a run will cost on this machine, from a few steps timed beforehand."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from torch import nn

from training.fitting.examples import Examples
from training.fitting.loop import Objective, Plan, State, classify, fit
from training.fitting.trainer import Trainer

_STEPS, _TOKENS = 4, 256


@dataclass(frozen=True)
class Stage:
    """A network to be trained, and on how much."""

    name: str
    model: nn.Module
    plan: Plan
    vocabulary_size: int
    labels: int
    tokens: int  # in each epoch
    times: int = 1  # how often the stage runs, each time from another seed
    objective: Objective = classify


def tell(trainer: Trainer, stages: Sequence[Stage]) -> None:
    """Prints the stages and what each should take."""
    trainer.console.print(f"plan, timed on this machine ({trainer.device.type} in {trainer.precision}):")
    total = 0.0
    for stage in stages:
        seconds = stage.times * stage.plan.epochs * stage.tokens * _seconds_per_token(trainer, stage)
        total += seconds
        trainer.console.print(
            f"  {stage.name}: {stage.plan.epochs} epochs of {stage.tokens:,} tokens"
            f"{f', {stage.times} times' if stage.times > 1 else ''}, about {seconds / 60:.0f} minutes",
            highlight=False,
        )
    trainer.console.print(f"  in all about {total / 60:.0f} minutes of training", highlight=False)


def _seconds_per_token(trainer: Trainer, stage: Stage) -> float:
    """Of the fastest step but the first, which prepares the kernels. The stage's model is left as it was."""
    count = _STEPS * stage.plan.batch_size
    token_ids = np.random.default_rng(0).integers(0, stage.vocabulary_size, count * _TOKENS, dtype=np.int32)
    starts = np.arange(count, dtype=np.int64) * _TOKENS
    targets = np.full((count, stage.labels), 1 / stage.labels, np.float32)
    examples = Examples(token_ids, starts, starts + _TOKENS, targets)
    state = State.start(copy.deepcopy(stage.model).to(trainer.device), stage.plan)
    ended = [perf_counter()]
    for step in fit(state, stage.plan, lambda epoch: examples, examples, 0, trainer.precision, stage.objective):
        ended.append(perf_counter())
        if step.step == _STEPS - 1:  # the last one of an epoch would evaluate
            break
    return float(np.diff(ended)[1:].min()) / (stage.plan.batch_size * _TOKENS)
