import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from service.model.classifier import Classifier
from training.data.corpus import Labelled
from training.data.sources import DataError
from training.evaluation import by_label, evaluate, misjudged
from training.evaluation.evaluate import Answers
from training.fitting.loop import Epoch
from training.release import card, confusion, figures

NAMES = ("no", "yes")


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
        answers([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]], [0, 1, 1, 1], [1, 9, 7, 9]), NAMES, 1.0, 0.75
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
    by_source = evaluate.report(found, NAMES, 1.0, 0.75)["by_source"]
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
    assert evaluate.report(alone, NAMES, 1.0, 0.5)["by_source"] == {}


def test_three_labels_and_a_label_without_reviews() -> None:
    found = evaluate.report(answers([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], [0, 1]), "abc", 1.0, 0.0)
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
    assert evaluate.report(found, NAMES, 1.0, 0.5)["unflagged"]["reviews"] == 1


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


def test_each_label_by_hand() -> None:
    given = answers([[0.9, 0.05, 0.05], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.8, 0.1, 0.1]], [0, 0, 1, 2])
    found = evaluate.report(given, ("a", "b", "c"), 1.0, 0.0)["by_label"]
    assert found["a"] == {
        "reviews": 2, "answers": 3, "precision": pytest.approx(2 / 3), "recall": 1.0, "f1": pytest.approx(0.8),
        "taken_for": {"a": 2},
    }  # fmt: skip
    assert found["b"]["taken_for"] == {"b": 1}
    assert found["c"] == {
        "reviews": 1, "answers": 0, "precision": None, "recall": 0.0, "f1": 0.0, "taken_for": {"a": 1},
    }  # fmt: skip
    assert by_label.never_answered(found) == ["c"]
    assert list(confusion.on_screen(found)) == [
        "  label  texts  answers  precision  recall      F1",
        "  a          2        3      66.7%  100.0%   80.0%",
        "  b          1        1     100.0%  100.0%  100.0%",
        "  c          1        0          -    0.0%    0.0%",
        "  texts of each label (a line each), by the label answered:",
        "     a  b  c",
        "  a  2  0  0",
        "  b  0  1  0",
        "  c  1  0  0",
        "warning: the label c is never answered, though 1 texts have it: more texts of it, or --balance if it was not "
        "given, would help",
    ]
    card_lines = confusion.in_card({"test": {"by_label": found}})
    assert "| c | 1 | 0 | - | 0.0% | 0.0% |" in card_lines
    assert "| a | 2 | 0 | 0 |" in card_lines
    assert any(line.startswith("**Warning**: the label c is never answered") for line in card_lines)
    assert confusion.in_card({"test": {}}) == []  # of a bundle from before labels were measured


def test_of_many_labels_the_most_frequent_mistakes_are_told() -> None:
    names = [f"a label | of many words {number}" for number in range(12)]
    rows = np.eye(12)[[0, 1, 2, 2, 2, *range(5, 12)]]
    found = evaluate.report(answers(rows.tolist(), list(range(12))), names, 1.0, 0.0)["by_label"]
    lines = list(confusion.on_screen(found))
    assert f"  {names[3]} taken for {names[2]}: 1" in lines
    assert max(len(line) for line in lines if "%" in line) < 80
    assert all(line.count(" | ") == 5 for line in confusion.in_card({"test": {"by_label": found}}) if "%" in line)
    assert figures.confusion({"test": {"figures": {"by_label": found}}}, "many").startswith(b"\x89PNG")


def test_misjudged_texts_are_a_table_without_formulas(tiny_classifier: Classifier, tmp_path: Path) -> None:
    texts = ["=1+1; so\nwonderful", "-5", "\tawful", "@me 好 \U0001f600, superb", "wonderful, brilliant", "charming"]
    reviews = [Labelled(text, 0, 0, "", f"a.csv:{row}") for row, text in enumerate(texts)]
    found, manifest = evaluate.ask(tiny_classifier, reviews), tiny_classifier.manifest
    rows = list(misjudged.rows("test", reviews, found, manifest))
    assert {row.text for row in rows} == {text for text, right in zip(texts, found.right, strict=True) if not right}
    scores = [float(row.score) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert {(row.split, row.label, row.answer) for row in rows} == {("test", "negative", "positive")}

    path = tmp_path / "misjudged.csv"
    odd = [misjudged.Misjudged("test", "a.csv:1", "-1", "+x", "0.9", "0.1", "no", text) for text in texts]
    misjudged.prepare(path)
    misjudged.write(path, odd)
    misjudged.prepare(path)  # one of its own may be replaced
    misjudged.write(path, odd)
    written = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    assert written[0] == list(misjudged.Misjudged._fields)
    assert [row[-1].removeprefix("'") for row in written[1:]] == texts
    assert [row[-1][0] for row in written[1:]] == ["'", "-", "'", "'", "w", "c"]
    assert {tuple(row[2:4]) for row in written[1:]} == {("-1", "'+x")}
    other = tmp_path / "reviews.csv"
    other.write_text("text,label\n")
    for place, message in ((other, "found another: name a new one"), (tmp_path / "no" / "a.csv", "make it first")):
        with pytest.raises(DataError, match=message):
            misjudged.prepare(place)
    assert other.read_text() == "text,label\n"
