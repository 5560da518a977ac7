"""The training loop: a generator that optimises and decides when to stop, and knows nothing else.

The caller prints, saves and measures time. Between two yields `State` is whole: saved there and restored, a run ends
with the same weights as one that was never interrupted on the same kind of machine.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.fitting.examples import Examples, batches_of
from training.network.bilstm import BiLSTM

Precision = Literal["bf16", "fp32"]
Batch = tuple[Tensor, Tensor, Tensor]  # token ids [batch, time], lengths [batch], targets [batch, label]


@dataclass(frozen=True)
class Plan:
    """How to optimise."""

    epochs: int
    batch_size: int
    learning_rate: float  # the peak, where there is a cycle
    one_cycle: bool = False  # Smith (2018): up over a tenth of the steps, down to nothing along a cosine
    weight_decay: float = 0.0
    clip: float | None = None  # largest norm of the whole gradient
    average_decay: float | None = None  # of the exponential moving average of the weights, per step
    patience: int | None = None  # epochs without a lower validation loss before stopping
    keep: Literal["best", "last"] = "best"  # which epoch's weights the run ends with
    label_weights: tuple[float, ...] | None = None  # what the loss of each label is multiplied by


@dataclass
class Epoch:
    """One line of the history."""

    epoch: int
    train_loss: float
    train_accuracy: float  # against the targets' likeliest label, with dropout on
    validation_loss: float
    validation_accuracy: float


@dataclass(frozen=True)
class Progress:
    """Where the run stands after a step; `finished` is set by the last step of an epoch."""

    epoch: int  # from 1
    step: int  # from 1, within the epoch
    steps: int  # in each epoch
    tokens: int  # real tokens in the step's batch
    train_loss: float  # mean over the epoch so far
    finished: Epoch | None
    improved: bool  # `finished` has the lowest validation loss so far


@dataclass
class State:
    """Everything a run needs to go on from where it stands."""

    model: BiLSTM
    optimiser: torch.optim.AdamW
    average: dict[str, Tensor]  # the averaged weights; the model's own where the plan averages nothing
    epoch: int = 0  # epochs finished
    step: int = 0  # steps done in the epoch under way
    updates: int = 0  # of the average
    totals: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # of that epoch: loss, right, texts
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    since_best: int = 0

    _PLAIN: ClassVar = ("average", "epoch", "step", "updates", "totals", "best", "since_best")

    @classmethod
    def start(cls, model: BiLSTM, plan: Plan) -> "State":
        """A run that has not begun."""
        rate, decay = plan.learning_rate, plan.weight_decay
        optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True)
        return cls(model, optimiser, copy.deepcopy(model.state_dict()) if plan.average_decay else {})

    def snapshot(self) -> dict[str, Any]:
        """The state as plain tensors and numbers, random generators included."""
        return {
            **{name: getattr(self, name) for name in self._PLAIN},
            "history": [vars(line) for line in self.history],
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "generator": torch.get_rng_state(),
            "cuda_generators": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """The reverse of `snapshot`."""
        self.model.load_state_dict(snapshot["model"])
        self.optimiser.load_state_dict(snapshot["optimiser"])
        for name in self._PLAIN:
            setattr(self, name, snapshot[name])
        device = next(self.model.parameters()).device  # perhaps another than it was saved on
        self.average, self.best = (
            {name: tensor.to(device) for name, tensor in weights.items()} for weights in (self.average, self.best)
        )
        self.history = [Epoch(**line) for line in snapshot["history"]]
        torch.set_rng_state(snapshot["generator"])
        torch.cuda.set_rng_state_all(snapshot["cuda_generators"][: torch.cuda.device_count()])

    def weights(self) -> dict[str, Tensor]:
        """The weights to evaluate and to ship at this moment."""
        return self.average or self.model.state_dict()

    def done(self, plan: Plan) -> bool:
        """Whether the plan's epochs or its patience are used up."""
        return self.epoch >= plan.epochs or (plan.patience is not None and self.since_best >= plan.patience)


def fit(
    state: State,
    plan: Plan,
    train: Callable[[int], Examples],
    validation: Examples,
    seed: int,
    precision: Precision,
) -> Iterator[Progress]:
    """Trains `state.model` until the plan is done, yielding after every step.

    `train` gives the examples of each epoch (from 0), as many every time. They and the order of the batches depend on
    `seed` and the epoch alone, so a restored state finds its place. At the end the model holds the weights that
    `plan.keep` names.
    """
    device = next(state.model.parameters()).device
    while not state.done(plan):
        examples = train(state.epoch)
        batches = batches_of(examples.lengths(), plan.batch_size, seed, state.epoch)
        while state.step < len(batches):
            rate = learning_rate(plan, state.epoch * len(batches) + state.step, plan.epochs * len(batches))
            batch = examples.batch(batches[state.step], device)
            _step(state, plan, rate, batch, precision)
            state.step += 1
            epoch, step, mean_loss = state.epoch + 1, state.step, state.totals[0] / max(1.0, state.totals[2])
            # The state is whole at every yield, so an epoch is closed before its last step is told.
            finished = _finish_epoch(state, plan, validation, precision) if step == len(batches) else None
            improved = finished is not None and state.since_best == 0
            yield Progress(epoch, step, len(batches), int(batch[1].sum()), mean_loss, finished, improved)
            if finished:
                break
    state.model.load_state_dict(state.best if plan.keep == "best" else state.weights())
    state.model.eval()


def _judge(model: BiLSTM, batch: Batch, label_weights: Sequence[float] | None) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy against the target distributions, and for how many the target's likeliest label is named."""
    token_ids, lengths, targets = batch
    logits = model(token_ids, lengths)
    weights = None if label_weights is None else torch.tensor(label_weights, device=targets.device)
    loss = nn.functional.cross_entropy(logits.float(), targets, weight=weights)
    return loss, (logits.argmax(1) == targets.argmax(1)).sum()


def _step(state: State, plan: Plan, rate: float, batch: Batch, precision: Precision) -> None:
    for group in state.optimiser.param_groups:
        group["lr"] = rate
    state.model.train()
    state.optimiser.zero_grad()
    with _autocast(batch[0].device, precision):
        loss, right = _judge(state.model, batch, plan.label_weights)
    loss.backward()  # type: ignore[no-untyped-call]
    if plan.clip is not None:
        nn.utils.clip_grad_norm_(state.model.parameters(), plan.clip)
    state.optimiser.step()
    if plan.average_decay:
        # Early on the average follows closely, or it would remember the random start.
        state.updates += 1
        decay = min(plan.average_decay, state.updates / (10 + state.updates))
        for name, tensor in state.model.state_dict().items():
            state.average[name].lerp_(tensor, 1 - decay)
    count = len(batch[2])
    for index, amount in enumerate((float(loss.detach()) * count, float(right), count)):
        state.totals[index] += amount


def _finish_epoch(state: State, plan: Plan, validation: Examples, precision: Precision) -> Epoch:
    """Evaluates the weights as they would ship, and notes whether they are the best so far."""
    live = copy.deepcopy(state.model.state_dict())
    state.model.load_state_dict(state.weights())
    loss, accuracy = evaluate(state.model, validation, precision, plan.label_weights)
    lowest = min((line.validation_loss for line in state.history), default=math.inf)
    total_loss, right, count = state.totals
    line = Epoch(state.epoch + 1, total_loss / count, right / count, loss, accuracy)
    state.history.append(line)
    state.since_best = 0 if loss < lowest else state.since_best + 1
    if loss < lowest:
        state.best = copy.deepcopy(state.model.state_dict())
    state.model.load_state_dict(live)
    state.epoch += 1
    state.step, state.totals = 0, [0.0, 0.0, 0.0]
    return line


def evaluate(
    model: BiLSTM,
    examples: Examples,
    precision: Precision,
    label_weights: Sequence[float] | None = None,
    batch_size: int = 128,
) -> tuple[float, float]:
    """Mean loss, with each label's multiplied by its weight, and share of right predictions."""
    order = np.argsort(examples.lengths(), kind="stable")
    device = next(model.parameters()).device
    total, right = 0.0, 0
    model.eval()
    with torch.inference_mode(), _autocast(device, precision):
        for start in range(0, len(order), batch_size):
            batch = examples.batch(order[start : start + batch_size], device)
            loss, good = _judge(model, batch, label_weights)
            total, right = total + float(loss) * len(batch[2]), right + int(good)
    return total / max(1, len(order)), right / max(1, len(order))


def predict(model: BiLSTM, examples: Examples, precision: Precision, batch_size: int = 128) -> NDArray[np.float32]:
    """Logits [example, label]."""
    order = np.argsort(examples.lengths(), kind="stable")
    device = next(model.parameters()).device
    found = np.zeros(examples.targets.shape, np.float32)
    model.eval()
    with torch.inference_mode(), _autocast(device, precision):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            token_ids, lengths, _ = examples.batch(chosen, device)
            found[chosen] = model(token_ids, lengths).float().cpu().numpy()
    return found


def learning_rate(plan: Plan, step: int, steps: int) -> float:
    """The rate of `step` (from 0) among `steps`."""
    if not plan.one_cycle:
        return plan.learning_rate
    warm = max(1, steps // 10)
    if step < warm:
        return plan.learning_rate * (step + 1) / warm
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def choose_precision(device: torch.device) -> Precision:
    """bf16 where a step of an LSTM in it works (on CPUs oneDNN wants AVX-512), else fp32."""
    if device.type == "cpu" and "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return "fp32"
    try:
        lstm = nn.LSTM(16, 16).to(device)
        with torch.random.fork_rng(), torch.autocast(device.type, torch.bfloat16):
            lstm(torch.zeros(2, 2, 16, device=device))[0].float().sum().backward()
    except RuntimeError:
        return "fp32"
    return "bf16"


def _autocast(device: torch.device, precision: Precision) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
