"""Fine-tuning the teacher: one epoch in an order fixed beforehand, with checkpoints that a killed run goes on from."""

import hashlib
import json
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.sources import DataError
from training.recipe.encoder_network import Pieces, Teacher, choose_bf16, loss_of

_POOL = 64  # batches whose texts are sorted by length together
_SHOWN_SECONDS = 20.0
STOPPED = 143  # what a shell reports of a process that SIGTERM ended
_SHOWN_KEPT = 12  # lines of progress from which the speed is reckoned


@dataclass(frozen=True)
class Plan:
    """How the teacher is fitted."""

    batch: int = 32
    encoder_rate: float = 1.5e-4
    head_rate: float = 1e-3
    warm_up: float = 0.06  # share of the steps
    weight_decay: float = 0.01
    seed: int = 1


class Stopped(Exception):
    """The run was asked to stop and has saved where it stands."""


class Stop:
    """Whether SIGTERM or SIGINT has come."""

    def __init__(self) -> None:
        self.wanted = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Notes the signals instead of dying from them; the handlers before come back at the end.

        Raises Stopped at the end where a signal came after the last look at `wanted`: nothing may be left to do.
        """

        def note(number: int, frame: FrameType | None) -> None:
            self.wanted = True

        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self.wanted:
            raise Stopped("label: stopped; what was made is kept")


def batches(lengths: NDArray[np.int64], size: int, seed: int) -> list[NDArray[np.int64]]:
    """The rows of each step: shuffled, sorted by length in pools of _POOL batches, the batches shuffled again."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(lengths))
    found = []
    for start in range(0, len(order), _POOL * size):
        pool = order[start : start + _POOL * size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        found += [pool[place : place + size] for place in range(0, len(pool), size)]
    return [found[index] for index in random.permutation(len(found))]


def rate(step: int, steps: int, warm_up: float) -> float:
    """The share of the peak learning rate at `step` of `steps`: up from 0, then down to 0 in a line."""
    rising = max(1, round(warm_up * steps))
    return (step + 1) / rising if step < rising else (steps - step) / max(1, steps - rising)


def fit(
    teacher: Teacher,
    pieces: Pieces,
    targets: NDArray[np.float32],
    plan: Plan,
    checkpoint: Path,
    identity: str,
    stop: Stop,
    say: Callable[[str], None],
    device: torch.device,
    save_seconds: float = 600.0,
) -> dict[str, Any]:
    """Fits `teacher` to `targets` [text, label] and returns what is worth noting.

    Writes `checkpoint` every `save_seconds`, and goes on from it where it holds the same `identity` and plan: the same
    steps follow as if nothing had happened. Raises Stopped once `stop` is wanted and the state is saved, DataError
    where the checkpoint is another run's.
    """
    steps = batches(pieces.lengths, plan.batch, plan.seed)
    identity = hashlib.sha256(f"{identity} {json.dumps(asdict(plan), sort_keys=True)}".encode()).hexdigest()
    wanted = torch.from_numpy(targets).to(device)
    teacher.to(device).train()
    groups = [
        {"params": list(teacher.encoder.parameters()), "peak": plan.encoder_rate},
        {"params": list(teacher.head.parameters()), "peak": plan.head_rate},
    ]
    optimizer = torch.optim.AdamW(groups, lr=plan.head_rate, weight_decay=plan.weight_decay, fused=True)
    state = _resume(checkpoint, identity)
    if state is None:
        bf16, why = choose_bf16(teacher, *pieces.batch(max(steps, key=lambda rows: pieces.lengths[rows].sum()), device))
        step, losses, spent = 0, 0.0, 0.0
    else:
        teacher.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        step, losses, spent = state["step"], state["losses"], state["seconds"]
        bf16, why = state["bf16"], state["why"]
        say(f"fit: going on at step {step:,} of {len(steps):,}")
    say(f"fit: {len(targets):,} texts, {len(steps):,} steps of {plan.batch}; {why}")
    pace = _Pace(pieces.lengths, steps, step, say)
    saved = started = time.monotonic()

    def keep() -> None:
        seconds = spent + time.monotonic() - started
        found = {"weights": teacher.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "losses": losses}
        _write(checkpoint, found | {"seconds": seconds, "bf16": bf16, "why": why, "identity": identity})

    while step < len(steps):
        if stop.wanted:
            keep()
            raise Stopped(f"fit: stopped and saved at step {step:,} of {len(steps):,}")
        torch.manual_seed(plan.seed * 1_000_003 + step)  # dropout is the same whether or not the run was interrupted
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * rate(step, len(steps), plan.warm_up)
        rows = steps[step]
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = teacher(*pieces.batch(rows, device))
        loss = loss_of(logits, wanted[torch.from_numpy(rows).to(device)])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, losses = step + 1, losses + loss.item()
        pace.tell(step, loss.item())
        if time.monotonic() - saved >= save_seconds:
            keep()
            say(f"fit: saved at step {step:,}")
            saved = time.monotonic()
    keep()
    return {
        "texts": len(targets),
        "steps": len(steps),
        "mean_loss": losses / max(1, len(steps)),
        "seconds": round(spent + time.monotonic() - started),
        "computed_in": why,
    }


def _resume(checkpoint: Path, identity: str) -> dict[str, Any] | None:
    if not checkpoint.exists():
        return None
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if state["identity"] != identity:
        raise DataError(
            f"{checkpoint}: expected a checkpoint of the same data, encoder and plan, found another run's: "
            "give the options that it was started with, or another --out"
        )
    return state


def _write(path: Path, state: dict[str, Any]) -> None:
    """Written aside and renamed, so that a kill leaves the old file or the new one."""
    aside = path.with_name(path.name + ".new")
    with aside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


class _Pace:
    """Says how fast a run goes and how long it will take.

    The time left is reckoned in word pieces, since long texts take longer, at the speed of the last minutes, since a
    run may be paused.
    """

    def __init__(
        self, lengths: NDArray[np.int64], steps: list[NDArray[np.int64]], step: int, say: Callable[[str], None]
    ) -> None:
        self._pieces = np.cumsum([0, *(int(lengths[rows].max()) * len(rows) for rows in steps)])  # [step + 1] padded
        self._rows = np.cumsum([0, *map(len, steps)])  # [step + 1]
        self._recent = deque([(time.monotonic(), step)], _SHOWN_KEPT)  # when something was said, and the step then
        self._say, self._loss = say, 0.0

    def tell(self, step: int, loss: float) -> None:
        """Called after every step, with how many are done; says something every _SHOWN_SECONDS."""
        self._loss = 0.98 * self._loss + 0.02 * loss if self._loss else loss
        now, last = time.monotonic(), len(self._rows) - 1
        if now - self._recent[-1][0] < _SHOWN_SECONDS and step < last:
            return
        then, before = self._recent[0]
        pieces, rows = self._pieces[step] - self._pieces[before], self._rows[step] - self._rows[before]
        left = (self._pieces[last] - self._pieces[step]) * (now - then) / pieces
        self._recent.append((now, step))
        place = f"step {step:,} of {last:,}, loss {self._loss:.3f}"
        self._say(f"fit: {place}, {rows / (now - then):.1f} rows/s, {left / 60:.0f} min left")
