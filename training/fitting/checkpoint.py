"""What a run keeps beside its bundle, so that a kill loses half a minute at most."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.fitting.loop import State

OPTIONS = "options.json"
_STAGES, _ARRAYS = "*.checkpoint", "*.npy"


class RunError(Exception):
    """A run that cannot start or go on; the message says what was found and what to do."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run that is not finished; one that is not resumed finds nothing in it."""

    path: Path
    resumed: bool = False

    def begun(self) -> bool:
        """Whether a run left anything that it would take time to make again."""
        return any(True for kind in (_STAGES, _ARRAYS) for _ in self.path.glob(kind))

    def save(self, stage: str, state: State, spent_seconds: float, machines: list[str]) -> None:
        """Writes the `state` of a stage, whole or not at all, what the run has spent, and what it was made on."""
        path = self.path / _STAGES.replace("*", stage)
        kept = {"state": state.snapshot(), "spent_seconds": spent_seconds, "machines": machines}
        torch.save(kept, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)  # a kill in the middle of a write loses nothing

    def restore(self, stage: str, state: State) -> list[str]:
        """Fills the `state` of a stage that was begun before; returns the machines that it was made on so far."""
        path = self.path / _STAGES.replace("*", stage)
        if not (self.resumed and path.exists()):
            return []
        kept = _load(path)
        state.restore(kept["state"])
        return list(kept.get("machines", []))

    def save_array(self, name: str, array: NDArray[Any]) -> None:
        """Writes an array, whole or not at all."""
        path = self.path / _ARRAYS.replace("*", name)
        np.save(path.with_suffix(".new.npy"), array)
        path.with_suffix(".new.npy").replace(path)

    def array(self, name: str) -> NDArray[Any] | None:
        """The array that was saved before under `name`, or None."""
        path = self.path / _ARRAYS.replace("*", name)
        return np.load(path, allow_pickle=False) if self.resumed and path.exists() else None

    def machines(self) -> dict[str, list[str]]:
        """What each stage was made on, by its name."""
        return {path.stem: list(_load(path).get("machines", [])) for path in sorted(self.path.glob(_STAGES))}

    def spent_seconds(self) -> float:
        """What the run had spent when it was last saved."""
        paths = self.path.glob(_STAGES) if self.resumed else ()
        return max((float(_load(path)["spent_seconds"]) for path in paths), default=0.0)

    def empty(self) -> None:
        """Removes what a run left whose bundle is written, or is not wanted."""
        for kind in (OPTIONS, _STAGES, _ARRAYS):
            for path in self.path.glob(kind):
                path.unlink()


def _load(path: Path) -> dict[str, Any]:
    """On the CPU, whatever it was saved from; of a file that is only asked for a number, little is read."""
    kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return kept
