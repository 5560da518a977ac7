"""What a person asked of a run."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.sources import Source
from training.recipe.recipes import Preset


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
        """What must be the same for a run to be resumed."""
        sources = [(str(s.path), role, s.text_column, s.label_column, s.group_column) for s, role in self.sources]
        kept = {"preset": self.preset_name, "seed": self.seed, "test_share": self.test_share, "sample": self.sample}
        recipe = dataclasses.asdict(self.preset)
        return {**kept, "recipe": recipe, "sources": sources, "warm_start": str(self.warm_start or "")}
