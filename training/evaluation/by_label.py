"""How each label fares: what is found of it, what is taken for it, and which labels are confused."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from training.evaluation.calibration import Floats

Labels = NDArray[np.int64]  # [review]


def report(probabilities: Floats, labels: Labels, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """For each of `names`: its reviews, how often it is answered, precision, recall, F1 and what it is taken for.

    `probabilities` are [review, label]. Precision is None where a label is never answered, recall where it has no
    review. `taken_for` holds, by the label answered, how many of its reviews are answered so, where any are.
    """
    predicted, every = probabilities.argmax(axis=1), np.arange(len(names))
    matrix = confusion_matrix(labels, predicted, labels=every)  # [true label, label answered]
    # Where a label has neither reviews nor answers there is no F1; scikit-learn calls it 0.
    figures = precision_recall_fscore_support(labels, predicted, labels=every, zero_division=0)
    found = {}
    for row, (name, precision, recall, f1) in enumerate(zip(names, *figures[:3], strict=True)):
        count, said = int(matrix[row].sum()), int(matrix[:, row].sum())
        found[name] = {
            "reviews": count,
            "answers": said,
            "precision": float(precision) if said else None,
            "recall": float(recall) if count else None,
            "f1": float(f1) if said or count else None,
            "taken_for": {names[at]: int(matrix[row, at]) for at in np.flatnonzero(matrix[row]).tolist()},
        }
    return found


def never_answered(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The labels that have reviews and are never answered; `found` as `report` gives it."""
    return [name for name, of in found.items() if of["reviews"] and not of["answers"]]
