from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import made_up_reviews, write_csv
from training.data.corpus import build
from training.data.sources import Source
from training.data.split import TRAIN
from training.fitting.checkpoint import RunError
from training.recipe.balance import label_weights
from training.recipe.recipes import PRESETS
from training.recipe.tuning import Tuning

BASE = PRESETS["base"]


def test_what_is_not_set_stays_as_the_preset_has_it() -> None:
    assert Tuning().apply(BASE) == BASE
    assert Tuning(dropout=0.0).apply(BASE) == replace(BASE, embedding_dropout=0.0, head_dropout=0.0)
    assert Tuning(epochs=2, learning_rate=0.1).apply(BASE).plan == replace(BASE.plan, epochs=2, learning_rate=0.1)


def test_a_warm_start_learns_in_smaller_steps_and_keeps_its_sizes() -> None:
    assert Tuning().apply(BASE, warm_start=True).plan.learning_rate == pytest.approx(BASE.plan.learning_rate / 3)
    assert Tuning(learning_rate=0.1).apply(BASE, warm_start=True).plan.learning_rate == 0.1
    with pytest.raises(RunError, match="leave one of them away"):
        Tuning(hidden_size=8).apply(BASE, warm_start=True)


def test_labels_count_inversely_to_their_share_of_the_training_texts(tmp_path: Path) -> None:
    rows = [row for number, row in enumerate(made_up_reviews()) if row[1] == "positive" or number % 5 == 0]
    corpus = build([(Source(write_csv(tmp_path / "a.csv", rows)), "data")], "words", 0.1, 0.1)
    labels = corpus.labels[corpus.rows(TRAIN)].tolist()
    weights = label_weights(corpus)
    assert weights[0] * labels.count(0) == pytest.approx(weights[1] * labels.count(1))
    assert sum(weights[label] for label in labels) / len(labels) == pytest.approx(1)
