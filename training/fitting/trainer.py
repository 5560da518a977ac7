"""One network trained from where it stands to the end of its plan, saved on the way."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console

from training.fitting.checkpoint import RunError, RunFolder
from training.fitting.examples import Examples
from training.fitting.loop import Plan, Precision, State, fit
from training.fitting.progress import Display
from training.network.bilstm import BiLSTM

_CHECKPOINT_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class Trainer:
    """What every stage of a run has in common."""

    folder: RunFolder
    console: Console
    device: torch.device
    precision: Precision
    began: float  # monotonic seconds at which the run would have begun, had it never been interrupted

    def spent_seconds(self) -> float:
        """What the run has cost so far, sessions before this one included."""
        return time.monotonic() - self.began

    def machine(self) -> str:
        """What the stages run on, for people."""
        on = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else f"{torch.get_num_threads()} CPU threads"
        )
        return f"{on} in {self.precision}"

    def train(
        self,
        stage: str,
        model: BiLSTM,
        plan: Plan,
        shown: Callable[[int], Examples],
        validation: Examples,
        seed: int,
    ) -> State:
        """Fits `model`; a stage that a resumed run had finished only loads its weights.

        `shown` gives the examples of each epoch. Ctrl-C ends the stage with its best epoch so far; RunError where there
        is none yet.
        """
        torch.manual_seed(seed)  # whatever stages came before, in this process or in another
        state = State.start(model.to(self.device), plan)
        machines = self.folder.restore(stage, state)
        if not state.done(plan) and self.machine() not in machines:
            machines.append(self.machine())
        saved = time.monotonic()
        with Display(self.console, stage, plan.epochs) as display:
            try:
                for step in fit(state, plan, shown, validation, seed, self.precision):
                    display.show(step)
                    if step.finished or time.monotonic() - saved > _CHECKPOINT_EVERY_SECONDS:
                        saved = time.monotonic()
                        self.folder.save(stage, state, self.spent_seconds(), machines)
            except KeyboardInterrupt:
                if not state.best:
                    raise RunError(
                        f"interrupted before the first epoch of the {stage} ended: there is nothing to keep yet"
                    ) from None
                self.console.print("interrupted: going on with the best epoch so far (Ctrl-C again ends the run)")
                state.model.load_state_dict(state.best)
                state.model.eval()
        return state
