"""Which reviews train, which choose and which judge: without films, groups or copies of a text on both sides."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.data.sources import DataError

TRAIN, VALIDATION, TEST, UNLABELLED, LEFT_OUT = range(5)
NAMES = ("train", "validation", "test", "unlabelled")

Splits = NDArray[np.int8]


@dataclass(frozen=True)
class Reviews:
    """What a split is decided from; every array has one entry a review."""

    labels: NDArray[np.int32]  # -1: unlabelled
    digests: NDArray[np.uint64]  # of the normalised text
    numbers: NDArray[np.int64]  # file ids; -1: none
    given: Splits  # what the source dictates; LEFT_OUT: to be drawn here
    groups: NDArray[np.str_] | None


def split(
    reviews: Reviews, label_names: tuple[str, ...], validation_share: float, test_share: float
) -> tuple[Splits, dict[str, int]]:
    """The split of each review, and a report of what was counted. Raises DataError where a label has too few.

    Copies of a test or validation text leave train and unlabelled; test keeps all its own rows.
    """
    splits = reviews.given.copy()
    report: dict[str, int] = {}
    has_test, has_validation = (bool((splits == part).any()) for part in (TEST, VALIDATION))
    validation_share = 0.0 if has_validation else validation_share
    to_draw = splits == LEFT_OUT
    if to_draw.any():
        _draw(splits, reviews, to_draw, 0.0 if has_test else test_share, validation_share)
    # Copies leave before blocks are cut, or validation would be chosen partly from reviews that then go.
    _leave_out(splits, reviews, TEST, (VALIDATION, TRAIN, UNLABELLED), report)
    if not to_draw.any() and validation_share:
        _cut_blocks(splits, reviews, validation_share)
    _leave_out(splits, reviews, VALIDATION, (TRAIN, UNLABELLED), report)
    _leave_out_repeats(splits, reviews, report)
    _leave_out(splits, reviews, TRAIN, (UNLABELLED,), report)
    _count(splits, reviews, label_names, report)
    return splits, report


def _draw(
    splits: Splits, reviews: Reviews, to_draw: NDArray[np.bool_], test_share: float, validation_share: float
) -> None:
    """Draws by the order of a hash: of the text, or of the group; stratified by the (majority) label."""
    hashes = reviews.digests
    if reviews.groups is not None:
        by_name = {name: _hash(name) for name in set(reviews.groups[to_draw].tolist())}
        hashes = np.array([by_name.get(name, 0) for name in reviews.groups.tolist()], np.uint64)
    # A unit is what must stay together: a group, or the copies of one text. `np.unique` sorts them by hash.
    _, unit_of, sizes = np.unique(hashes[to_draw], return_inverse=True, return_counts=True)
    labels = reviews.labels[to_draw]
    counts = np.zeros((len(sizes), int(labels.max()) + 1), np.int64)  # [unit, label]
    np.add.at(counts, (unit_of, labels), 1)
    unit_split = np.full(len(sizes), TRAIN, np.int8)
    for label in range(counts.shape[1]):
        units = np.flatnonzero(counts.argmax(axis=1) == label)
        middle = np.cumsum(sizes[units]) - sizes[units] / 2
        total = sizes[units].sum()
        unit_split[units[middle < (test_share + validation_share) * total]] = VALIDATION
        unit_split[units[middle < test_share * total]] = TEST
    splits[to_draw] = unit_split[unit_of]


def _cut_blocks(splits: Splits, reviews: Reviews, share: float) -> None:
    """Takes validation from both ends of each label's file ids.

    Inside a block all reviews of a film stand on one side; a random choice would put them on both and read too high.
    """
    for label in range(int(reviews.labels.max()) + 1):
        rows = np.flatnonzero((splits == TRAIN) & (reviews.labels == label))
        rows = rows[np.argsort(reviews.numbers[rows], kind="stable")]
        count = round(share * len(rows))
        splits[rows[: count // 2]] = VALIDATION
        splits[rows[len(rows) - (count - count // 2) :]] = VALIDATION


def _leave_out(splits: Splits, reviews: Reviews, held: int, leaving: tuple[int, ...], report: dict[str, int]) -> None:
    """Reviews in `leaving` whose text also stands in `held` go."""
    known = reviews.digests[splits == held]
    for part in leaving:
        copies = (splits == part) & np.isin(reviews.digests, known)
        if copies.any():
            report[f"left out of {NAMES[part]}: also in {NAMES[held]}"] = int(copies.sum())
        splits[copies] = LEFT_OUT


def _leave_out_repeats(splits: Splits, reviews: Reviews, report: dict[str, int]) -> None:
    """Of equal texts inside train or inside unlabelled the first stays."""
    for part in (TRAIN, UNLABELLED):
        rows = np.flatnonzero(splits == part)
        repeated = np.ones(len(rows), bool)
        repeated[np.unique(reviews.digests[rows], return_index=True)[1]] = False
        if repeated.any():
            report[f"left out of {NAMES[part]}: repeated"] = int(repeated.sum())
        splits[rows[repeated]] = LEFT_OUT


def _count(splits: Splits, reviews: Reviews, label_names: tuple[str, ...], report: dict[str, int]) -> None:
    for part, least in ((TRAIN, 2), (VALIDATION, 1), (TEST, 0)):
        for label, name in enumerate(label_names):
            count = int(((splits == part) & (reviews.labels == label)).sum())
            if count < least:
                raise DataError(
                    f"expected at least {least} {NAMES[part]} reviews of the label {name!r}, found {count}: "
                    "add reviews of it, or leave labels out: --min-reviews N those of fewer than N reviews, "
                    f"--map-labels {name}= this one"
                )
            report[f"{NAMES[part]}: {name}"] = count
    report["unlabelled"] = int((splits == UNLABELLED).sum())


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
