"""What the network is to answer for each training text: its label, or what its teachers make of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from training.data.corpus import Corpus
from training.data.split import TRAIN, UNLABELLED, VALIDATION
from training.evaluation.calibration import fit_temperature
from training.fitting.checkpoint import RunFolder
from training.fitting.examples import Examples
from training.recipe import linear_teacher

# Above this the n-grams of the linear model would fill the memory of a common machine.
_TEACHER_MAX_REVIEWS = 200_000
_SOFT_LABELS = "soft-labels"
_UNDECIDED = 0.1  # how far from one half a target may be that leans to neither label


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

    `logits` [label] are an encoder's, by the text's key. Where one is wanted (`teacher`), a linear teacher answers as
    well: beside an encoder for whole reviews, alone for all texts. The target of a text with a label, or a grade, is
    the mean of that and of its teachers' answer: the label alone knows the truth, the teachers how plain it is.
    """
    labels = np.eye(len(corpus.label_names), dtype=np.float32)
    held = _held(corpus)

    def stretch(rows: NDArray[np.int64], targets: NDArray[np.float32]) -> Examples:
        return Examples(token_ids, offsets[rows], offsets[rows + 1], targets)

    validation = stretch(held, labels[corpus.labels[held]])
    rows = corpus.rows(TRAIN, UNLABELLED)
    given, answers = _given(corpus), _asked(corpus, logits)
    if corpus.mixed is not None and logits:
        _calibrate(corpus, given, answers)
    given, answers = given[rows], answers[rows]
    asked = ~np.isnan(answers[:, 0])
    by_linear = ~asked  # whom the linear teacher answers for
    if corpus.mixed is not None and logits:
        by_linear = ~corpus.mixed.short[rows] & (asked | ~np.isnan(given[:, 0]))
    ladder: dict[str, dict[str, float]] = {}
    if teacher and _can_be_taught(corpus, rows[by_linear], say):
        linear, ladder = _linear_teacher(folder, say, corpus, rows[by_linear], held)
        pooled = asked[by_linear]
        linear[pooled] = _pool(answers[by_linear][pooled], linear[pooled])
        answers[by_linear] = linear
    both = np.stack([given, answers])
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(both).all(axis=(0, 2))
    targets = np.nanmean(both[:, known], axis=0).astype(np.float32)
    return Lessons(stretch(rows[known], targets), rows[known], validation, ladder)


def recalibrated(lessons: Lessons, corpus: Corpus, answers: NDArray[np.float32]) -> Lessons:
    """`lessons` that make a network as sure as it is right, of each kind of text.

    `answers` [validation example, label] are the logits of a network that learned `lessons`. The targets of each kind
    are brought to the temperature at which its answers to that kind are calibrated. One temperature for all is folded
    into a bundle's weights; it can't mend a network that is too sure of product reviews and not sure enough of
    sentences.
    """
    assert corpus.mixed is not None
    held, targets = _held(corpus), lessons.train.targets.copy()
    sets = np.array([name.split(": ")[0] for name in corpus.mixed.names])  # without their domains
    kinds = np.where(corpus.mixed.short, "short", sets[corpus.mixed.sources])
    for kind in np.unique(kinds[held]):
        judged, learned = kinds[held] == kind, kinds[lessons.rows] == kind
        temperature = fit_temperature(answers[judged].astype(np.float64), corpus.labels[held[judged]])
        targets[learned] = softmax(_log(targets[learned]) / temperature, axis=1)
    return replace(lessons, train=replace(lessons.train, targets=targets))


def undecided_sentences(lessons: Lessons, corpus: Corpus) -> Examples:
    """Those of the sentences cut from reviews whose targets lean to neither label: what is neutral, and what is mixed.

    The treebank's texts are not among them, since most are pieces of sentences. Without an encoder nothing was cut.
    """
    if corpus.mixed is None:
        return lessons.train.at(np.array([], np.int64))
    cut = corpus.mixed.short & np.isnan(corpus.mixed.targets)
    undecided = np.abs(lessons.train.targets - 0.5).max(axis=1) < _UNDECIDED
    return lessons.train.at(np.flatnonzero(cut[lessons.rows] & undecided))


def _held(corpus: Corpus) -> NDArray[np.int64]:
    """The rows of the validation texts that have a label."""
    held = corpus.rows(VALIDATION)
    return held[corpus.labels[held] >= 0]


def _given(corpus: Corpus) -> NDArray[np.float32]:
    """What the data itself says of each row: its label or grade, [review, label]; NaN: nothing."""
    if corpus.mixed is None:
        labels = np.eye(len(corpus.label_names), dtype=np.float32)
        return np.where((corpus.labels >= 0)[:, None], labels[corpus.labels], np.float32(np.nan))
    positive = corpus.mixed.targets[:, None]
    return np.concatenate([1 - positive, positive], axis=1)


def _asked(corpus: Corpus, logits: Mapping[int, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The encoder's probabilities of each row, [review, label]; NaN: it was not asked."""
    found = np.full((len(corpus.labels), len(corpus.label_names)), np.nan, np.float32)
    if corpus.mixed is not None and logits:
        for row, key in enumerate(corpus.mixed.keys.tolist()):
            if key in logits:
                found[row] = logits[key]
    return np.asarray(softmax(found, axis=1), np.float32)


def _calibrate(corpus: Corpus, given: NDArray[np.float32], answers: NDArray[np.float32]) -> None:
    """Brings the encoder's `answers` [review, label] to the temperature at which they are calibrated on validation.

    Short texts and reviews have a temperature of their own. The encoder learned the treebank's grades, by which "good"
    is positive at 0.75; so it is right about a sentence far more often than it is sure. The grades, in `given`, are
    brought to the temperature of the short texts as well.
    """
    assert corpus.mixed is not None
    held = (corpus.splits == VALIDATION) & (corpus.labels >= 0) & ~np.isnan(answers[:, 0])
    for kind, parts in ((corpus.mixed.short, (answers, given)), (~corpus.mixed.short, (answers,))):
        judged = held & kind
        if judged.any():
            temperature = fit_temperature(_log(answers[judged]), corpus.labels[judged])
            for part in parts:
                part[kind] = softmax(_log(part[kind]) / temperature, axis=1)


def _pool(encoder: NDArray[np.float32], linear: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logarithmic opinion pool (Heskes 1998) of two teachers' probabilities [text, label].

    A weighted mean of log-probabilities, brought back to a sum of 1. The encoder counts twice as much, as a logistic
    regression over both has it on validation, for films and products alike.
    """
    return np.asarray(softmax(2 / 3 * _log(encoder) + 1 / 3 * _log(linear), axis=1), np.float32)


def _log(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.log(np.clip(probabilities.astype(np.float64), 1e-6, 1))


def _can_be_taught(corpus: Corpus, rows: NDArray[np.int64], say: Callable[[str], None]) -> bool:
    """Whether there are labels enough among `rows` for a linear teacher; says so where not."""
    labels = corpus.labels[rows]
    counts = np.bincount(labels[labels >= 0], minlength=len(corpus.label_names))
    if not len(rows):
        return False
    if counts.min() >= linear_teacher.FOLDS and counts.sum() <= _TEACHER_MAX_REVIEWS:
        return True
    say(
        f"no linear teacher for {counts.sum():,} labelled texts, the rarest label on {counts.min()}: expected at most "
        f"{_TEACHER_MAX_REVIEWS:,}, and each label on at least {linear_teacher.FOLDS}"
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
