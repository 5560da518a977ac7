"""What the network is to answer for each training review: its label, or what its teachers make of it."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor

from training.data.corpus import Corpus
from training.data.split import TRAIN, UNLABELLED, VALIDATION
from training.evaluation.calibration import fit_weights, pool
from training.fitting import checkpoint
from training.fitting.examples import Examples
from training.fitting.loop import predict
from training.fitting.trainer import Trainer
from training.recipe import deep_teacher, linear_teacher, neutral
from training.recipe.recipes import Preset

# Above this the n-grams of the linear model would fill the memory of a common machine.
_TEACHER_MAX_REVIEWS = 200_000


@dataclass(frozen=True)
class Lessons:
    """What a network is trained on, and what it may start from."""

    train: Examples  # under their targets, hard or soft
    validation: Examples  # under their labels
    ladder: dict[str, dict[str, float]] = field(default_factory=dict)  # what each teacher is worth on validation
    embedding: Tensor | None = None  # [vocabulary, embedding] that the first deep teacher has learned
    # [vocabulary, wider]: the mean of all deep teachers', which began as one language model.
    teacher_embedding: Tensor | None = None
    neutral: list[NDArray[np.int32]] = field(default_factory=list)  # sentences that lean to no label, token ids [time]


def prepare(
    trainer: Trainer,
    preset: Preset,
    corpus: Corpus,
    token_ids: NDArray[np.int32],
    offsets: NDArray[np.int64],
    vocabulary: list[str],
) -> Lessons:
    """`token_ids` [total tokens] and `offsets` [review + 1] are the corpus as `Corpus.encode` gives it."""
    labelled, others, held = corpus.rows(TRAIN), corpus.rows(UNLABELLED), corpus.rows(VALIDATION)
    hard = np.eye(len(corpus.label_names), dtype=np.float32)

    def stretch(rows: NDArray[np.int64], targets: NDArray[np.float32]) -> Examples:
        return Examples(token_ids, offsets[rows], offsets[rows + 1], targets)

    given, validation = stretch(labelled, hard[corpus.labels[labelled]]), stretch(held, hard[corpus.labels[held]])
    smallest = int(np.bincount(corpus.labels[labelled]).min())
    if not preset.teacher or smallest < linear_teacher.FOLDS or len(labelled) > _TEACHER_MAX_REVIEWS:
        if preset.teacher or len(others):
            trainer.console.print(
                f"no teacher for {len(labelled):,} labelled reviews, the rarest label on {smallest}: training on the "
                f"labels alone; {len(others):,} unlabelled reviews give only their words",
                highlight=False,
            )
        return Lessons(given, validation)

    both, truth = np.concatenate([labelled, others]), corpus.labels[held]
    linear, linear_validation = np.split(_linear_teacher(trainer, corpus, both), [len(both)])
    # Half label, half teacher: the label alone knows the truth, the teacher how plain it is.
    soft = linear.copy()
    soft[: len(labelled)] = (linear[: len(labelled)] + given.targets) / 2
    lessons = stretch(both, soft)
    held_linear = _log(linear_validation)[None]  # [1, validation, label]
    if not (preset.deep_teacher and len(others)):
        return Lessons(lessons, validation, {"linear teacher": _worth(held_linear, truth)})
    networks = deep_teacher.fit(trainer, preset, vocabulary, lessons, validation)
    unlabelled = stretch(others, soft[len(labelled) :])
    held_deep, deep = (
        np.stack([log_softmax(predict(network, part, trainer.precision), axis=1) for network in networks])
        for part in (validation, unlabelled)
    )  # [deep teacher, review, label]
    held_all = np.concatenate([held_linear, held_deep])
    # The labelled reviews keep their targets: the deep teachers know their labels by heart.
    weights = fit_weights(held_all, truth)
    soft[len(labelled) :] = np.exp(pool(np.concatenate([_log(unlabelled.targets)[None], deep]), weights))
    names = ["linear teacher", *(deep_teacher.stage(number + 1).replace("-", " ") for number in range(len(networks)))]
    ladder = {name: _worth(held[None], truth) for name, held in zip(names, held_all, strict=True)}
    ladder["all teachers"] = _worth(held_all, truth)
    told = ", ".join(f"{name} {found['accuracy']:.2%}" for name, found in ladder.items())
    shares = ", ".join(f"{weight:.2f} {name}" for name, weight in zip(names, weights, strict=True))
    trainer.console.print(f"on validation: {told}, pooled by the weights {shares}", highlight=False)
    first = networks[0]  # where one will do
    learned, counts = first.embedding.weight.detach().cpu(), lessons.counts(len(vocabulary))
    embedding = reduced(learned, counts, preset.embedding_size)
    left_open = []
    if preset.neutral:
        left_open = neutral.find(first, given, lessons, vocabulary, trainer.options.seed, trainer.precision)
    mean = torch.stack([network.embedding.weight.detach().cpu() for network in networks]).mean(dim=0)
    return Lessons(stretch(both, soft), validation, ladder, embedding, mean, left_open)


def reduced(embedding: Tensor, counts: NDArray[np.int64], size: int) -> Tensor:
    """The `size` directions [vocabulary, size] in which `embedding` [vocabulary, wider] spreads most.

    A token weighs as the root of how often it stands in the texts, `counts` [vocabulary]. The origin, which padding
    keeps, stays where it is.
    """
    weighed = embedding * torch.from_numpy(counts**0.25).float()[:, None]
    _, directions = torch.linalg.eigh(weighed.T @ weighed)  # in the order of what they hold, the least first
    found: Tensor = embedding @ directions[:, -size:]
    return found


def _log(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.log(np.maximum(probabilities, 1e-6))


def _worth(held: NDArray[np.float32], truth: NDArray[np.int32]) -> dict[str, float]:
    """Of log-probabilities [teacher, review, label], pooled, for reviews whose labels are `truth` [review]."""
    pooled = pool(held, fit_weights(held, truth))
    return {
        "accuracy": float((pooled.argmax(axis=1) == truth).mean()),
        "negative_log_likelihood": -float(pooled[np.arange(len(truth)), truth].mean()),
    }


def _linear_teacher(trainer: Trainer, corpus: Corpus, texts: NDArray[np.int64]) -> NDArray[np.float32]:
    """The teacher's probabilities [texts + validation, label]; a resumed run finds those it had.

    `texts` begin with the labelled reviews; each of them is judged by a fold that has not seen its label.
    """
    path = trainer.options.folder / checkpoint.SOFT_LABELS
    if trainer.options.resume and path.exists():
        return np.asarray(np.load(path))
    labelled, judged = corpus.rows(TRAIN), np.concatenate([texts, corpus.rows(VALIDATION)])
    trainer.console.print(f"linear-teacher: {len(judged):,} texts (75,000 take some two minutes)", highlight=False)
    folds = linear_teacher.fit(corpus.documents, labelled, corpus.labels[labelled])
    fold_of = np.full(len(judged), linear_teacher.FOLDS)
    fold_of[: len(labelled)] = folds.fold_of
    soft = folds.judge(corpus.documents, judged, fold_of)
    accuracy = float((soft[: len(labelled)].argmax(axis=1) == corpus.labels[labelled]).mean())
    trainer.console.print(
        f"linear-teacher: right on {accuracy:.2%} of the training reviews it has not seen", highlight=False
    )
    np.save(path.with_suffix(".new.npy"), soft)
    path.with_suffix(".new.npy").replace(path)
    return soft
