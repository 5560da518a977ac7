import math

import numpy as np
import pytest

from service.model.classifier import Classifier
from training.data.corpus import Labelled
from training.evaluation import evaluate
from training.evaluation.evaluate import Answers
from training.fitting.loop import Epoch
from training.release import card, figures


def answers(
    probabilities: list[list[float]],
    labels: list[int],
    ratings: list[int] | None = None,
    sources: list[str] | None = None,
) -> Answers:
    count = len(labels)
    return Answers(
        np.array(probabilities),
        np.array(labels),
        np.array(ratings or [0] * count),
        np.arange(50, 50 + 200 * count, 200),
        np.zeros(count),
        np.array(sources or [""] * count),
    )


def test_figures_by_hand() -> None:
    found = evaluate.report(
        answers([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], [0, 1, 1, 1], [1, 9, 7, 9]), 1.0, 0.75
    )
    assert found["accuracy"] == 0.75
    assert found["auroc"] == 1.0
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.36 + 0.09) / 4)
    nll = -(math.log(0.9) + math.log(0.8) + math.log(0.4) + math.log(0.7)) / 4
    assert found["negative_log_likelihood"] == pytest.approx(nll)
    assert found["f1_macro"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found["by_rating"] == {
        "1": {"reviews": 1, "accuracy": 1.0},
        "7": {"reviews": 1, "accuracy": 0.0},
        "9": {"reviews": 2, "accuracy": 1.0},
    }
    assert [bucket["reviews"] for bucket in found["by_length"].values()] == [1, 0, 1, 2]
    assert (found["unflagged"]["reviews"], found["unflagged"]["accuracy"]) == (2, 1.0)
    assert found["expected_calibration_error_before_temperature"] == found["expected_calibration_error"]


def test_figures_of_each_data_set_and_of_each_domain() -> None:
    sources = ["imdb", "fdu-mtl: books", "fdu-mtl: toys", "imdb", "fdu-mtl: toys"]
    found = answers([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7], [0.55, 0.45]], [0, 1, 1, 1, 0], sources=sources)
    assert found.kinds == ["imdb", "fdu-mtl"]
    by_source = evaluate.report(found, 1.0, 0.75)["by_source"]
    assert list(by_source) == ["imdb", "fdu-mtl", "fdu-mtl: books", "fdu-mtl: toys"]
    assert {name: (of["reviews"], of["accuracy"]) for name, of in by_source.items()} == {
        "imdb": (2, 1.0),
        "fdu-mtl": (3, pytest.approx(2 / 3)),
        "fdu-mtl: books": (1, 1.0),
        "fdu-mtl: toys": (2, 0.5),
    }
    assert {name: of["unflagged"]["reviews"] for name, of in by_source.items()} == {
        "imdb": 1, "fdu-mtl": 1, "fdu-mtl: books": 1, "fdu-mtl: toys": 0,
    }  # fmt: skip
    alone = answers([[0.9, 0.1], [0.2, 0.8]], [0, 1])
    assert evaluate.report(alone, 1.0, 0.5)["by_source"] == {}


def test_three_labels_and_a_label_without_reviews() -> None:
    found = evaluate.report(answers([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], [0, 1]), 1.0, 0.0)
    assert found["auroc"] is None
    assert found["accuracy"] == 1.0


def test_reference_histograms_hold_every_review() -> None:
    found = evaluate.reference(answers([[0.9, 0.1], [0.0, 1.0]], [0, 1]))
    for histogram in (found.score, found.tokens, found.unknown_share):
        assert len(histogram.edges) == len(histogram.counts) + 1
        assert sum(histogram.counts) == 2


def test_what_holds_no_known_word_is_flagged_whatever_its_score() -> None:
    found = answers([[0.9, 0.1], [0.9, 0.1]], [0, 1])
    found.unknown_share[1] = 1
    assert evaluate.report(found, 1.0, 0.5)["unflagged"]["reviews"] == 1


def test_asked_through_the_classifier(tiny_classifier: Classifier) -> None:
    found = evaluate.ask(
        tiny_classifier, [Labelled("The film was awful.", 0, 2, "imdb"), Labelled("Superb", 1, 9, "sst")]
    )
    expected = [tiny_classifier([text])[0] for text in ("The film was awful.", "Superb")]
    assert found.score.tolist() == [prediction.score for prediction in expected]
    assert found.tokens.tolist() == [5, 1]
    assert (found.labels.tolist(), found.ratings.tolist()) == ([0, 1], [2, 9])
    assert found.sources.tolist() == ["imdb", "sst"]


def test_the_curves_of_a_run() -> None:
    history = [Epoch(1, 0.7, 0.5, 0.6, 0.55), Epoch(2, 0.4, 0.8, 0.5, 0.75)]
    assert figures.curves(history, "a").startswith(b"\x89PNG")
    assert figures.curves(history, "a") == figures.curves(history, "a")
    assert figures.history_csv(history).decode().splitlines() == [
        "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy",
        "1,0.7,0.5,0.6,0.55",
        "2,0.4,0.8,0.5,0.75",
    ]


def test_the_log_of_readings_only_grows(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert card.readings(tmp_path) == []
    (tmp_path / "README.md").write_text("# card\n\n- no reading\n\n## Readings of the test split\n\n- first\n")
    card.append_reading(tmp_path, "- second")
    assert card.readings(tmp_path) == ["- first", "- second"]
    assert (tmp_path / "README.md").read_text().startswith("# card\n\n- no reading\n")
