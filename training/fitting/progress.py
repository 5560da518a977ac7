"""What a person sees of a run: a live line on a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.fitting.loop import Progress as Step

_PLAIN_EVERY_SECONDS = 30.0


class Display:
    """Shows the steps of a run; `start_epoch` and `start_step` tell where a resumed one begins."""

    def __init__(self, console: Console, stage: str, epochs: int) -> None:
        self._console, self._stage, self._epochs = console, stage, epochs
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[rate]:>9,.0f} tokens/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting", total=None, rate=0.0)
        self._started = self._said = time.monotonic()
        self._tokens = 0
        self._first_step: int | None = None

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def show(self, step: Step) -> None:
        """Tells of one step, and at the end of an epoch of its figures."""
        done, total = (step.epoch - 1) * step.steps + step.step, self._epochs * step.steps
        if self._first_step is None:
            self._first_step = done - 1  # a resumed run's rate counts only what it did itself
        self._tokens += step.tokens
        now = time.monotonic()
        rate = self._tokens / max(1e-9, now - self._started)
        left = (total - done) * (now - self._started) / (done - self._first_step)
        where = (
            f"{self._stage}: epoch {step.epoch}/{self._epochs} step {step.step}/{step.steps} loss {step.train_loss:.4f}"
        )
        self._bar.update(self._task, description=where, completed=done, total=total, rate=rate)
        if step.finished:
            line = step.finished
            self._console.print(
                f"{self._stage}: epoch {line.epoch}/{self._epochs}: train loss {line.train_loss:.4f}, accuracy "
                f"{line.train_accuracy:.2%}; validation loss {line.validation_loss:.4f}, accuracy "
                f"{line.validation_accuracy:.2%}{' (best so far)' if step.improved else ''}; "
                f"{rate:,.0f} tokens/s, {_minutes(left)} left",
                highlight=False,
            )
        elif not self._console.is_terminal and now - self._said > _PLAIN_EVERY_SECONDS:
            self._said = now
            self._console.print(f"{where}; {rate:,.0f} tokens/s, {_minutes(left)} left", highlight=False)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
