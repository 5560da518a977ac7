"""The models and the reviews of the comparison; the standard library alone, for the environment of `compiled`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

Predict = Callable[[str], int]  # a raw text -> the index of its label
PredictMany = Callable[[Sequence[str]], object]  # up to TOGETHER raw texts -> their predictions, of any type
TOGETHER = 64  # texts
_WARM_UP = 16  # texts


@dataclass(frozen=True)
class Contestant:
    """A model in one precision, with its accuracy on validation and functions that time it."""

    name: str
    precision: str
    accuracy: float
    seconds: Callable[[], float]  # to predict all of `Split.timed`, one text a call
    about: dict[str, Any] = field(default_factory=dict)  # further fields of `described`
    seconds_together: Callable[[], float] | None = None  # the same with TOGETHER texts a call, where that is faster

    @property
    def key(self) -> str:
        """Unique within a run."""
        return f"{self.name} {self.precision}"

    def described(self) -> dict[str, Any]:
        """The contestant's point in frontier.json."""
        known = {"key": self.key, "name": self.name, "precision": self.precision, "accuracy": self.accuracy}
        return known | self.about


@dataclass(frozen=True)
class Split:
    """The validation reviews of an archive."""

    data: Path
    digest: str  # SHA-256 of `data`
    sample: float  # share of the archive that is used
    share: float  # of the training reviews that is held out for validation
    labels: tuple[str, ...]
    reviews: Sequence[tuple[str, int]]  # text, index of its label
    timed: Sequence[str]  # texts of some of `reviews`

    def accuracy(self, predicted: Sequence[int]) -> float:
        """The share of `reviews` whose label is that of `predicted` [review], indices of labels."""
        return sum(label == true for label, (_, true) in zip(predicted, self.reviews, strict=True)) / len(self.reviews)

    def contestant(
        self, name: str, precision: str, predict: Predict, about: dict[str, Any], together: PredictMany | None = None
    ) -> Contestant:
        """A contestant that runs in this process, by `predict`, and `together` for many texts a call."""
        accuracy = self.accuracy([predict(text) for text, _ in self.reviews])
        alone = Contestant(name, precision, accuracy, lambda: seconds(predict, self.timed), about)
        return replace(alone, seconds_together=lambda: seconds_together(together, self.timed)) if together else alone


def seconds(predict: Predict, texts: Sequence[str]) -> float:
    """Seconds to predict all `texts`, one a call, after _WARM_UP calls that do not count."""
    for text in texts[:_WARM_UP]:
        predict(text)
    began = perf_counter()
    for text in texts:
        predict(text)
    return perf_counter() - began


def seconds_together(predict: PredictMany, texts: Sequence[str]) -> float:
    """Seconds to predict all `texts`, TOGETHER a call, after one call that does not count."""
    parts = [texts[start : start + TOGETHER] for start in range(0, len(texts), TOGETHER)]
    predict(parts[0])
    began = perf_counter()
    for part in parts:
        predict(part)
    return perf_counter() - began
