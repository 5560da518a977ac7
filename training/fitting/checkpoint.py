"""What a run keeps beside its bundle, so that a kill loses half a minute at most."""

import json
import re
from pathlib import Path
from typing import Any

import torch

from service.model import bundle
from training.fitting.loop import State
from training.options import Options

OPTIONS, SOFT_LABELS = "options.json", "soft-labels.npy"
_STAGES = "*.checkpoint"


class RunError(Exception):
    """A run that cannot start or go on; the message says what was found and what to do."""


def open_folder(options: Options) -> None:
    """Makes the run's folder, or finds the one to go on with. Raises RunError where a bundle or a run would be lost."""
    if not re.match(bundle.NAME, options.out.name):
        raise RunError(
            f"{options.out}: expected a folder named in letters, digits, '.', '_' and '-', found another name"
        )
    if options.out.exists() and not options.force:
        raise RunError(f"{options.out}: expected no such folder, found one; --force replaces it at the end of the run")
    path = options.folder / OPTIONS
    if _begun(options) and not (options.resume or options.force):
        raise RunError(f"{options.folder}: found an unfinished run; --resume goes on with it, --force starts anew")
    if options.resume:
        _compare(options, path)
        return
    remove(options)
    options.folder.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".new").write_text(json.dumps(options.fingerprint(), indent=1))
    path.with_suffix(".new").replace(path)


def _begun(options: Options) -> bool:
    """Whether a run left anything that it would take time to make again."""
    return (options.folder / SOFT_LABELS).exists() or any(options.folder.glob(_STAGES))


def _compare(options: Options, path: Path) -> None:
    """Raises RunError where there is no run to resume, or one with other options."""
    if not path.exists():
        raise RunError(f"{options.folder}: expected an unfinished run to resume, found none")
    if different := options.differences(json.loads(path.read_text())):
        raise RunError(
            f"{path}: expected the options and the data that the run began with, found {'; '.join(different)}; go on "
            "with the same, or begin anew with --force"
        )


def save(options: Options, stage: str, state: State, spent_seconds: float, machines: list[str]) -> None:
    """Writes the `state` of a stage, whole or not at all, what the run has spent, and what the stage was made on."""
    path = options.folder / _STAGES.replace("*", stage)
    kept = {"state": state.snapshot(), "spent_seconds": spent_seconds, "machines": machines}
    torch.save(kept, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)  # a kill in the middle of a write loses nothing


def restore(options: Options, stage: str, state: State) -> list[str]:
    """Fills the `state` of a stage that a resumed run had begun; returns the machines that it was made on so far."""
    path = options.folder / _STAGES.replace("*", stage)
    if not (options.resume and path.exists()):
        return []
    kept = _load(path)
    state.restore(kept["state"])
    return list(kept.get("machines", []))


def machines(options: Options) -> dict[str, list[str]]:
    """What each stage was made on, by its name."""
    paths = sorted(options.folder.glob(_STAGES))
    return {path.stem: list(_load(path).get("machines", [])) for path in paths}


def spent_seconds(options: Options) -> float:
    """What the run had spent when it was last saved."""
    paths = options.folder.glob(_STAGES) if options.resume else ()
    return max((float(_load(path)["spent_seconds"]) for path in paths), default=0.0)


def _load(path: Path) -> dict[str, Any]:
    """On the CPU, whatever it was saved from; of a file that is only asked for a number, little is read."""
    kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return kept


def remove(options: Options) -> None:
    """Ends a run whose bundle is written, or is not wanted: only its draft stays."""
    for path in (options.folder / OPTIONS, options.folder / SOFT_LABELS, *options.folder.glob(_STAGES)):
        path.unlink(missing_ok=True)
