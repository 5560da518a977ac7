"""What models are worth of which each judges the texts that it has not seen."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.evaluation.calibration import Booleans
from training.evaluation.intervals import paired_interval, wilson_interval
from training.recipe import linear_model
from training.recipe.few_texts import FOLDS, FewTexts, Floats, Rows

Judge = Callable[[Rows, Rows], Floats]  # (rows to fit, rows to judge) -> logits [judged, label]


@dataclass(frozen=True)
class Judged:
    """The answers to all texts, once for each choice of the folds."""

    labels: Rows  # [text]
    logits: Floats  # [repeat, text, label]
    unknown_share: Floats  # [repeat, text]
    linear: Booleans  # [repeat, text] whether TF-IDF and logistic regression are right, by the same folds
    # [text] whether the network that the run starts from is right, as it is; None: there is none, or of other labels
    start: Booleans | None

    @property
    def right(self) -> Booleans:
        """[repeat, text]"""
        right: Booleans = self.logits.argmax(axis=2) == self.labels
        return right

    @property
    def accuracy(self) -> float:
        """The mean over the repeats."""
        return float(self.right.mean())

    def interval(self, others: int | None = None) -> tuple[float, float]:
        """95 % interval of the accuracy: on all such texts, or on `others` such texts, which chance moves as well."""
        count = len(self.labels)
        size = count if others is None else count * others / (count + others)
        return wilson_interval(self.accuracy * size, size)

    def report(self, test_texts: int) -> dict[str, object]:
        """For the manifest and the card; with the interval in which the figure of the test texts is expected."""
        found: dict[str, object] = {
            "test_expected_95": self.interval(test_texts) if test_texts else None,
            "folds": FOLDS,
            "texts": len(self.labels),
            "accuracies": self.right.mean(axis=1).tolist(),
            "linear": self._beside(self.linear),
        }
        return found | ({"start": self._beside(self.start)} if self.start is not None else {})

    def _beside(self, other: Booleans) -> dict[str, object]:
        """What `other`, `linear` or `start`, is worth, and how much more accurate the model is, with its interval."""
        count, repeats = len(self.labels), len(self.right)
        won = (self.right & ~other).sum() / repeats
        lost = (~self.right & other).sum() / repeats
        interval = paired_interval(won, lost, count)
        return {"accuracy": float(other.mean()), "gain": (won - lost) / count, "gain_interval_95": interval}


def run(
    texts: FewTexts,
    judge: Judge,
    repeats: int,
    seed: int,
    say: Callable[[str], None],
    balance: bool = False,
    start: Booleans | None = None,
) -> Judged:
    """Each of `repeats` draws other folds; says how far it is. `balance` is the linear model's; `start`: see Judged."""
    count = len(texts.labels)
    logits = np.zeros((repeats, count, texts.label_count))
    unknown_share = np.zeros((repeats, count))
    linear = np.zeros((repeats, count), bool)
    for repeat in range(repeats):
        for number, (fitted, judged) in enumerate(texts.folds(seed + repeat), 1):
            logits[repeat, judged] = judge(fitted, judged)
            unknown_share[repeat, judged] = texts.unknown_share(fitted)[judged]
            answers = linear_model.judge(texts, fitted, judged, balance).argmax(axis=1)
            linear[repeat, judged] = answers == texts.labels[judged]
            right = (logits[repeat, judged].argmax(axis=1) == texts.labels[judged]).mean()
            place = f"fold {number} of {FOLDS}" + (f", draw {repeat + 1} of {repeats}" if repeats > 1 else "")
            say(f"{place}: {right:.1%} of {len(judged):,} unseen texts")
    return Judged(texts.labels, logits, unknown_share, linear, start)
