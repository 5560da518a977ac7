"""What the frontier compares, and on which reviews; with the standard library alone, for every environment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

Judge = Callable[[str], int]  # a raw text -> the index of its label
JudgeMany = Callable[[Sequence[str]], object]  # raw texts, as many as are asked at once
TOGETHER = 64  # texts
_WARM_UP = 16  # texts


@dataclass(frozen=True)
class Contestant:
    """One way to judge a review."""

    name: str
    precision: str
    accuracy: float  # on validation
    seconds: Callable[[], float]  # what it takes for the timed texts
    about: dict[str, Any] = field(default_factory=dict)
    seconds_together: Callable[[], float] | None = None  # with TOGETHER texts a call, where that is another thing

    @property
    def key(self) -> str:
        """Its name among the others."""
        return f"{self.name} {self.precision}"

    def described(self) -> dict[str, Any]:
        """As JSON knows it."""
        known = {"key": self.key, "name": self.name, "precision": self.precision, "accuracy": self.accuracy}
        return known | self.about


@dataclass(frozen=True)
class Split:
    """The validation reviews of an archive."""

    data: Path
    digest: str  # SHA-256 of `data`
    sample: float  # share of the archive that is used
    share: float  # of train that is held out
    labels: tuple[str, ...]
    reviews: Sequence[tuple[str, int]]  # text, index of its label
    timed: Sequence[str]  # some of the texts

    def accuracy(self, judged: Sequence[int]) -> float:
        """Of the labels `judged`, one a review."""
        return sum(label == true for label, (_, true) in zip(judged, self.reviews, strict=True)) / len(self.reviews)

    def contestant(
        self, name: str, precision: str, judge: Judge, about: dict[str, Any], together: JudgeMany | None = None
    ) -> Contestant:
        """One that runs in this process."""
        accuracy = self.accuracy([judge(text) for text, _ in self.reviews])
        found = Contestant(name, precision, accuracy, lambda: seconds(judge, self.timed), about)
        return replace(found, seconds_together=lambda: seconds_together(together, self.timed)) if together else found


def seconds(judge: Judge, texts: Sequence[str]) -> float:
    """What `judge` takes for all `texts`, one at a time, after a few to warm up."""
    for text in texts[:_WARM_UP]:
        judge(text)
    began = perf_counter()
    for text in texts:
        judge(text)
    return perf_counter() - began


def seconds_together(judge: JudgeMany, texts: Sequence[str]) -> float:
    """The same with TOGETHER of the texts a call."""
    parts = [texts[start : start + TOGETHER] for start in range(0, len(texts), TOGETHER)]
    judge(parts[0])
    began = perf_counter()
    for part in parts:
        judge(part)
    return perf_counter() - began
