"""What a person asked of a run."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.model import bundle
from training.data.sources import Source
from training.recipe.recipes import Preset

_ROLES = {"data": "--data", "validation": "--validation", "test": "--test", "unlabelled": "--unlabelled"}


@dataclass(frozen=True)
class Options:
    """What a person asked for."""

    preset_name: str
    preset: Preset
    sources: tuple[tuple[Source, str], ...]  # each with its role: data, validation, test, unlabelled
    out: Path
    seed: int = 1
    spread: tuple[int, ...] = ()  # more seeds of the last stage, measured beside the first to tell chance from skill
    test_share: float = 0.1
    sample: float = 1.0
    warm_start: Path | None = None
    skip_test: bool = False
    resume: bool = False
    force: bool = False
    device: str = "auto"

    @property
    def folder(self) -> Path:
        """Where the run keeps what it needs to be resumed: beside the bundle."""
        return self.out.with_name(self.out.name + ".run")

    def stage(self, name: str, seed: int) -> str:
        """The name of a stage that is trained once for each seed: the plain one is the seed's that ships."""
        return name if seed == self.seed else f"{name}-{seed}"

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed, by the option that decides it. Raises DataError.

        Data is told by its digest: it may have moved.
        """
        recipe = dataclasses.asdict(self.preset)
        epochs = recipe["plan"].pop("epochs")
        kept: dict[str, Any] = {"--preset": self.preset_name, "--epochs": epochs, "--seed": self.seed}
        kept |= {"--test-share": self.test_share, "--sample": self.sample, "--from": _bundle_digest(self.warm_start)}
        for role, option in _ROLES.items():
            kept[option] = [{"file": s.path.name, "sha256": s.digest()} for s, r in self.sources if r == role]
        source = self.sources[0][0]
        reading = source.reading
        kept |= {f"--{name}-column": getattr(reading, name) for name in ("text", "label", "group")}
        kept |= {f"--{name}": getattr(reading, name) for name in ("encoding", "delimiter", "quoting")}
        kept |= {"--no-header": not reading.header, "--map-labels": [list(pair) for pair in source.labels.names]}
        kept |= {"--merge-labels": source.labels.merge, "--min-reviews": source.min_reviews}
        return kept | {"recipe": recipe}

    def differences(self, begun: dict[str, Any]) -> list[str]:
        """What a run that began with the fingerprint `begun` has otherwise, by name. Raises DataError."""
        told = []
        for name, now in json.loads(json.dumps(self.fingerprint())).items():
            before = begun.get(name)
            if name in _ROLES.values():
                told += _changed(name, before or [], now)
            elif before != now and not (name == "recipe" and told):  # mostly it follows from the others
                values = "" if name == "recipe" else f": {_shown(now)}, not {_shown(before)}"
                told.append(f"another {name}{values}")
        return told


def _changed(option: str, before: list[dict[str, str]], now: list[dict[str, str]]) -> list[str]:
    """How the files of one option differ in what they hold."""
    if [file["sha256"] for file in before] == [file["sha256"] for file in now]:
        return []
    names = [[file["file"] for file in files] for files in (before, now)]
    if names[0] != names[1]:
        return [f"another {option}: {' '.join(names[1]) or 'none'}, not {' '.join(names[0]) or 'none'}"]
    changed = [n["file"] for b, n in zip(before, now, strict=True) if b["sha256"] != n["sha256"]]
    return [f"changed data in {option} {', '.join(changed)}"]


def _shown(value: Any) -> str:
    if value is None or value == "" or value == []:
        return "none"
    if isinstance(value, list):
        return " ".join(f"{old}={new or ''}" for old, new in value)
    return str(value)


def _bundle_digest(path: Path | None) -> str:
    """The first digits of the digest of a bundle's manifest, which pins its other files; "" where there is none."""
    manifest = path / bundle.MANIFEST if path else None
    return hashlib.sha256(manifest.read_bytes()).hexdigest()[:16] if manifest and manifest.is_file() else ""
