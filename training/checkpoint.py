"""What a run keeps beside its bundle, so that a kill loses half a minute at most."""

import re
from typing import Any

import torch

from service import bundle
from training.fit import State
from training.options import Options

CHECKPOINT, SOFT_LABELS = "checkpoint.pt", "soft-labels.npy"


class RunError(Exception):
    """A run that cannot start or go on; the message says what was found and what to do."""


def refuse_to_overwrite(options: Options) -> None:
    """Raises RunError where a bundle, or an unfinished run, would be lost; makes the run's folder."""
    if not re.match(bundle.NAME, options.out.name):
        raise RunError(
            f"{options.out}: expected a folder named in letters, digits, '.', '_' and '-', found another name"
        )
    if options.out.exists() and not options.force:
        raise RunError(f"{options.out}: expected no such folder, found one; --force replaces it at the end of the run")
    path = options.folder / CHECKPOINT
    if path.exists() and not (options.resume or options.force):
        raise RunError(f"{options.folder}: found an unfinished run; --resume goes on with it, --force starts anew")
    if options.resume and not path.exists():
        raise RunError(f"{options.folder}: expected a checkpoint to resume from, found none")
    if not options.resume:
        path.unlink(missing_ok=True)
    options.folder.mkdir(parents=True, exist_ok=True)


def save(options: Options, state: State, spent_seconds: float) -> None:
    """Writes `state`, whole or not at all, and the seconds that the run has spent."""
    path = options.folder / CHECKPOINT
    content = {"options": options.fingerprint(), "state": state.snapshot(), "spent_seconds": spent_seconds}
    torch.save(content, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)  # a kill in the middle of a write loses nothing


def restore(options: Options, state: State) -> float:
    """Fills `state` and returns the seconds that the run had spent. Raises RunError for other options than it had."""
    path = options.folder / CHECKPOINT
    content = torch.load(path, weights_only=True)
    ours = options.fingerprint()
    if different := [key for key, value in ours.items() if _plain(content["options"].get(key)) != _plain(value)]:
        raise RunError(f"{path}: expected a run with the same options, found others: {', '.join(different)}")
    state.restore(content["state"])
    return float(content["spent_seconds"])


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def remove(options: Options) -> None:
    """Ends a run whose bundle is written: only its draft stays."""
    for name in (CHECKPOINT, SOFT_LABELS):
        (options.folder / name).unlink(missing_ok=True)
