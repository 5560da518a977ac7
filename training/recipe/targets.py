"""What the network is to answer for each training text: its label, or what its teachers make of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from training.data.corpus import Corpus
from training.data.split import TRAIN, UNLABELLED, VALIDATION
from training.fitting.checkpoint import RunFolder
from training.fitting.examples import Examples
from training.recipe import linear_teacher

# Above this the n-grams of the linear model would fill the memory of a common machine.
_TEACHER_MAX_REVIEWS = 200_000
_SOFT_LABELS = "soft-labels"


@dataclass(frozen=True)
class Lessons:
    """What a network is trained on."""

    train: Examples  # under their targets, hard or soft
    rows: NDArray[np.int64]  # [example] of `train`: the corpus' row of each
    validation: Examples  # under their labels
    ladder: dict[str, dict[str, float]] = field(default_factory=dict)  # what each teacher is worth on validation


def prepare(
    folder: RunFolder,
    say: Callable[[str], None],
    corpus: Corpus,
    token_ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    teacher: bool,
    logits: Mapping[int, NDArray[np.float32]],
) -> Lessons:
    """`token_ids` [total tokens] and `offsets` [review + 1] are the corpus as `Corpus.encode` gives it.

    `logits` [label] are an encoder's, by the text's key; what it was not asked about is left to the linear teacher,
    where one is wanted (`teacher`). The target of a text with a label, or a grade, is the mean of that and of its
    teacher's answer: the label alone knows the truth, the teacher how plain it is.
    """
    labels = np.eye(len(corpus.label_names), dtype=np.float32)
    held = corpus.rows(VALIDATION)
    held = held[corpus.labels[held] >= 0]

    def stretch(rows: NDArray[np.int64], targets: NDArray[np.float32]) -> Examples:
        return Examples(token_ids, offsets[rows], offsets[rows + 1], targets)

    validation = stretch(held, labels[corpus.labels[held]])
    rows = corpus.rows(TRAIN, UNLABELLED)
    given, answers = _given(corpus, labels)[rows], _asked(corpus, rows, len(labels), logits)
    unasked = rows[np.isnan(answers[:, 0])]
    ladder: dict[str, dict[str, float]] = {}
    if teacher and _can_be_taught(corpus, unasked, say):
        soft, ladder = _linear_teacher(folder, say, corpus, unasked, held)
        answers[np.isnan(answers[:, 0])] = soft
    both = np.stack([given, answers])
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(both).all(axis=(0, 2))
    targets = np.nanmean(both[:, known], axis=0).astype(np.float32)
    return Lessons(stretch(rows[known], targets), rows[known], validation, ladder)


def _given(corpus: Corpus, labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the data itself says of each row: its label or grade, [review, label]; NaN: nothing."""
    given = np.where((corpus.labels >= 0)[:, None], labels[corpus.labels], np.nan)
    if corpus.mixed is not None:
        positive = corpus.mixed.targets[:, None]
        given = np.concatenate([1 - positive, positive], axis=1)
    return given.astype(np.float32)


def _asked(
    corpus: Corpus, rows: NDArray[np.int64], labels: int, logits: Mapping[int, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The encoder's probabilities of `rows`, [row, label]; NaN: it was not asked."""
    found = np.full((len(rows), labels), np.nan, np.float32)
    if corpus.mixed is not None and logits:
        for place, key in enumerate(corpus.mixed.keys[rows].tolist()):
            if key in logits:
                found[place] = softmax(logits[key])
    return found


def _can_be_taught(corpus: Corpus, rows: NDArray[np.int64], say: Callable[[str], None]) -> bool:
    """Whether there are labels enough among `rows` for a linear teacher; says so where not."""
    labels = corpus.labels[rows]
    counts = np.bincount(labels[labels >= 0], minlength=len(corpus.label_names))
    if not len(rows):
        return False
    if counts.min() >= linear_teacher.FOLDS and counts.sum() <= _TEACHER_MAX_REVIEWS:
        return True
    say(
        f"no teacher for {counts.sum():,} labelled reviews, the rarest label on {counts.min()}: training on the "
        f"labels alone; {int((labels < 0).sum()):,} unlabelled reviews give only their words"
    )
    return False


def _linear_teacher(
    folder: RunFolder, say: Callable[[str], None], corpus: Corpus, rows: NDArray[np.int64], held: NDArray[np.int64]
) -> tuple[NDArray[np.float32], dict[str, dict[str, float]]]:
    """The linear teacher's probabilities of `rows` [row, label], and what it is worth on validation.

    Each labelled row is judged by a fold that has not seen its label. A resumed run finds the answers it had.
    """
    if corpus.mixed is not None:  # of the sources that it learns from
        held = held[np.isin(corpus.mixed.sources[held], corpus.mixed.sources[rows])]
    labelled = np.flatnonzero(corpus.labels[rows] >= 0)
    soft = folder.array(_SOFT_LABELS)
    if soft is None:
        judged = np.concatenate([rows, held])
        say(f"linear-teacher: {len(judged):,} texts (75,000 take some two minutes)")
        folds = linear_teacher.fit(corpus.documents, rows[labelled], corpus.labels[rows[labelled]])
        fold_of = np.full(len(judged), linear_teacher.FOLDS)
        fold_of[labelled] = folds.fold_of
        soft = folds.judge(corpus.documents, judged, fold_of)
        folder.save_array(_SOFT_LABELS, soft)
    right = soft[labelled].argmax(axis=1) == corpus.labels[rows[labelled]]
    say(f"linear-teacher: right on {right.mean():.2%} of the training reviews it has not seen")
    truth, of_held = corpus.labels[held], soft[len(rows) :]
    likelihood = np.maximum(of_held[np.arange(len(held)), truth], 1e-6)
    worth = {
        "accuracy": float((of_held.argmax(axis=1) == truth).mean()),
        "negative_log_likelihood": -float(np.log(likelihood).mean()),
    }
    return soft[: len(rows)], {"linear teacher": worth}
