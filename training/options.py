"""What a person asked of a run."""

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.model import bundle
from training.data import packed
from training.data.sources import Source
from training.evaluation.calibration import STATED_RATE
from training.fitting.checkpoint import OPTIONS, RunError, RunFolder
from training.recipe import encoder
from training.recipe.recipes import PRESETS, Preset
from training.recipe.tuning import Tuning

_ROLES = {
    "data": "--data",
    "treebank": "--treebank",
    "products": "--products",
    "validation": "--validation",
    "test": "--test",
    "unlabelled": "--unlabelled",
}


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
    from_nothing: bool = False  # not even from the bundle that ships, where the texts are few
    folds: bool | None = None  # figures from folds and no validation split; None: where the texts are few
    skip_test: bool = False
    resume: bool = False
    force: bool = False
    device: str = "auto"
    balance: bool = False  # rare labels count for more
    right: float = STATED_RATE  # the share of the answers not flagged as uncertain that is to be right
    misjudged: Path | None = None  # where to write the texts that are misjudged
    mixed: encoder.Run | None = None  # several data sets to read in place of `sources`
    encoder: str = ""  # the pretrained encoder to teach from them; "": none

    def open_folder(self) -> RunFolder:
        """Makes the folder beside the bundle in which the run keeps what it needs to be resumed, or finds it.

        Raises RunError where a bundle or another run would be lost, or the run to be resumed had other options.
        """
        if not re.match(bundle.NAME, self.out.name):
            raise RunError(
                f"{self.out}: expected a folder named in letters, digits, '.', '_' and '-', found another name"
            )
        if self.out.exists() and not self.force:
            raise RunError(f"{self.out}: expected no such folder, found one; --force replaces it at the end of the run")
        folder = RunFolder(self.out.with_name(self.out.name + ".run"), self.resume)
        path = folder.path / OPTIONS
        if folder.begun() and not (self.resume or self.force):
            raise RunError(f"{folder.path}: found an unfinished run; --resume goes on with it, --force starts anew")
        if self.resume:
            self._compare(path)
        else:
            folder.empty()
            folder.path.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".new").write_text(json.dumps(self.fingerprint(), indent=1))
            path.with_suffix(".new").replace(path)
        return folder

    def _compare(self, path: Path) -> None:
        """Raises RunError where there is no run to resume, or one with other options."""
        if not path.exists():
            raise RunError(f"{path.parent}: expected an unfinished run to resume, found none")
        if different := self.differences(json.loads(path.read_text())):
            raise RunError(
                f"{path}: expected the options and the data that the run began with, found {'; '.join(different)}; go "
                "on with the same, or begin anew with --force"
            )

    def is_changed(self) -> bool:
        """Whether a person changed how the preset fits a network."""
        plain = PRESETS[self.preset_name]
        return self.preset not in (plain, Tuning().apply(plain, warm_start=True))

    def own_validation(self) -> bool:
        """Whether a table to choose by was named."""
        return any(role == "validation" for _, role in self.sources)

    def stage(self, name: str, seed: int) -> str:
        """The name of a stage that is trained once for each seed: the plain one is the seed's that ships."""
        return name if seed == self.seed else f"{name}-{seed}"

    def fingerprint(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed, by the option that decides it. Raises DataError.

        Data is told by its digest: it may have moved.
        """
        recipe = dataclasses.asdict(self.preset)
        plan = recipe["plan"]
        kept: dict[str, Any] = {"--preset": self.preset_name, "--seed": self.seed, "--epochs": plan.pop("epochs")}
        kept |= {"--learning-rate": plan.pop("learning_rate"), "--embedding-size": recipe.pop("embedding_size")}
        dropouts = {recipe.pop(name): None for name in ("embedding_dropout", "head_dropout")}
        kept |= {"--hidden-size": recipe.pop("hidden_size"), "--dropout": " and ".join(map(str, dropouts))}
        kept |= {"--balance": self.balance, "--right": self.right, "--test-share": self.test_share}
        kept |= {"--sample": self.sample, "--from": self._start(), "--folds": self.folds}
        data = self.data()
        for role, option in _ROLES.items():
            kept[option] = [{"file": d["file"], "sha256": d["sha256"]} for d in data if d["role"] == role]
        if self.mixed:
            kept |= {"--leave-out": ",".join(self.mixed.leave_out), "--encoder": Path(self.encoder).name}
        else:
            kept |= self._reading()
        return kept | {"recipe": recipe}

    def _start(self) -> str:
        return "none" if self.from_nothing else _bundle_digest(self.warm_start)

    def _reading(self) -> dict[str, Any]:
        """How tables are read, by the option that decides it."""
        source = self.sources[0][0]
        reading = source.reading
        kept: dict[str, Any] = {f"--{name}-column": getattr(reading, name) for name in ("text", "label", "group")}
        kept |= {f"--{name}": getattr(reading, name) for name in ("encoding", "delimiter", "quoting")}
        kept |= {"--no-header": not reading.header, "--map-labels": [list(pair) for pair in source.labels.names]}
        return kept | {"--merge-labels": source.labels.merge, "--min-reviews": source.min_reviews}

    def data(self) -> list[dict[str, str]]:
        """The files that are read, each with its role and its SHA-256. Raises DataError."""
        if self.mixed is None:
            return [{"file": s.path.name, "role": role, "sha256": s.digest()} for s, role in self.sources]
        paths = {"data": self.mixed.imdb, "treebank": self.mixed.treebank, "products": self.mixed.products}
        return [
            {"file": path.name, "role": role, "sha256": packed.path_digest(path)}
            for role, path in paths.items()
            if path
        ]

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
