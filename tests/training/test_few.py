"""Runs with few labelled texts: what they start from, what they tell, and that the network is what was judged."""

import csv
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.model import bundle
from service.model.bundle import Bundle
from service.model.classifier import Classifier
from tests.conftest import made_up_reviews, write_csv
from tests.training.test_check import command
from training.data.corpus import build
from training.data.sources import Source
from training.data.split import TRAIN, VALIDATION
from training.network.bilstm import BiLSTM
from training.recipe import few_texts, last_layer
from training.release import export, onnx_graph


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 reviews with a word that no bundle knows."""
    rows = [(f"{text} Zweifellos!", label) for text, label in made_up_reviews()[::3]]
    return write_csv(tmp_path_factory.mktemp("few") / "few.csv", rows)


@pytest.fixture(scope="module")
def warm(few: Path, tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "warm"
    assert command("run", "--data", few, "--from", tiny_bundle.path, "--out", out, "--device", "cpu") == 0
    return out


def test_a_run_from_a_bundle_is_judged_by_folds_and_learns_from_all(warm: Path, tiny_bundle: Bundle) -> None:
    found = bundle.read(warm)
    folds: dict[str, Any] = found.manifest.training["folds"]
    assert folds["texts"] == found.manifest.metrics["validation"]["reviews"] == 48 + 6
    assert found.manifest.metrics["validation"]["accuracy"] == pytest.approx(np.mean(folds["accuracies"]))
    vocabulary = found.tokenizer.vocabulary
    assert vocabulary[: len(tiny_bundle.tokenizer.vocabulary)] == tiny_bundle.tokenizer.vocabulary
    assert "zweifellos" in vocabulary
    card = (warm / "README.md").read_text()
    assert "each of the 54 texts was judged by a network that had not read it" in card
    assert "TF-IDF and logistic regression, by the same folds" in card
    assert "curves.png" not in card
    assert f"--from {tiny_bundle.manifest.name}" in card


def test_what_the_bundle_is_worth_as_it_is_is_told(
    few: Path, tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with few.open(newline="", encoding="utf-8") as file:
        texts, labels = zip(*((row["text"], row["label"]) for row in csv.DictReader(file)), strict=True)
    answers = Classifier(tiny_bundle, "cpu")(texts)
    right = np.mean([answer.label == label for answer, label in zip(answers, labels, strict=True)])
    words = ("run", "--data", few, "--from", tiny_bundle.path, "--device", "cpu", "--test-share", "0")
    assert command(*words, "--out", tmp_path / "same") == 0
    assert f"tiny as it is, on the same texts: accuracy {right:.2%}. " in capsys.readouterr().out
    assert f"tiny as it is, on the same texts: accuracy {right:.2%}. " in (tmp_path / "same/README.md").read_text()
    assert command(*words, "--out", tmp_path / "other", "--map-labels", "positive=yes") == 0
    assert "as it is" not in capsys.readouterr().out
    assert "start" not in bundle.read(tmp_path / "other").manifest.training["folds"]


def test_figures_of_folds_are_not_measured_again(warm: Path, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (warm / "figures" / "report.json").read_bytes()
    assert command("report", "--bundle", warm, "--data", few) == 0
    assert (warm / "figures" / "report.json").read_bytes() == before
    assert command("evaluate", "--bundle", warm, "--data", few, "--split", "validation") == 1
    assert "has learned from them" in capsys.readouterr().err


def test_a_changed_recipe_is_fitted_in_epochs_and_not_by_folds(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("--epochs", "1"), ("--hidden-size", "8")):
        assert command("run", "--data", few, "--out", tmp_path / "made", "--folds", "--force", *words) == 1
        assert "found options that change how a network is fitted in epochs" in capsys.readouterr().err


def test_rare_labels_of_three_count_for_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Words that are only more frequent under a label, so that a rare one is seldom the likeliest."""
    draw, rows = random.Random(1), []
    for label, own, count in (("good", "fine", 160), ("bad", "awful", 120), ("mixed", "though", 24)):
        for number in range(count):
            text = " ".join(draw.choice(("fine", "awful", "though", own)) for _ in range(4))
            rows.append((f"{text} {number}", label))
    data = write_csv(tmp_path / "three.csv", rows)
    found = {}
    wrong = tmp_path / "wrong.csv"
    for name, more in (("plain", ()), ("balanced", ("--balance", "--misjudged", wrong))):
        words = ("run", "--data", data, "--from", "none", "--device", "cpu", "--test-share", "0", *more)
        assert command(*words, "--out", tmp_path / name) == 0
        manifest = bundle.read(tmp_path / name).manifest
        assert manifest.labels == ("bad", "good", "mixed")
        assert manifest.training["folds"]["texts"] == len(rows)
        assert manifest.training["balance"] == bool(more)
        found[name] = manifest.metrics["validation"]["by_label"]
    assert found["balanced"]["mixed"]["recall"] > found["plain"]["mixed"]["recall"] + 0.3
    assert found["balanced"]["good"]["recall"] > 0.5
    told = capsys.readouterr().out
    assert "few labels (304 texts to learn from)" in told
    assert "validation, by folds: accuracy " in told
    missed = sum(of["reviews"] - of["taken_for"][label] for label, of in found["balanced"].items())
    assert f"{wrong}: {missed} misjudged texts" in told
    assert wrong.read_text("utf-8-sig").count('"folds","three.csv:') == missed
    assert command("evaluate", "--bundle", tmp_path / "plain", "--data", data) == 0
    assert re.search(r"^all: accuracy \d+\.\d\d% .* on 304 reviews$", capsys.readouterr().err, re.MULTILINE)


def test_a_label_too_rare_for_folds_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*made_up_reviews(), *((f"So so, {number} days.", "mixed") for number in range(9))]
    data = write_csv(tmp_path / "rare.csv", rows)
    assert command("check", "--data", data) == 0
    told = capsys.readouterr().out
    assert "warning: fewer than 10 texts to learn from of mixed: trained in epochs" in told
    assert command("run", "--data", data, "--no-folds", "--epochs", "1", "--out", tmp_path / "made") == 0
    assert "there would be folds" not in capsys.readouterr().out  # nobody asked for them
    assert command("check", "--data", data, "--map-labels", "mixed=") == 0
    told = capsys.readouterr().out
    assert "few labels" in told
    assert "warning" not in told


def test_from_nothing_and_by_groups(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f'"{text}",{label},{number // 3}' for number, (text, label) in enumerate(made_up_reviews()[::3])]
    grouped = tmp_path / "grouped.csv"
    grouped.write_text("\n".join(["text,label,product", *rows]) + "\n")
    words = ("run", "--data", grouped, "--group-column", "product", "--out", tmp_path / "made", "--device", "cpu")
    assert command(*words, "--from", "none") == 0
    told = capsys.readouterr().out
    assert "from nothing, as asked" in told
    assert "fold 5 of 5" in told
    assert "test texts are to be expected between" in told
    assert "--seed 1 --from none`" in (tmp_path / "made" / "README.md").read_text()
    [answer] = Classifier(bundle.read(tmp_path / "made"), "cpu")(["The film was wonderful."])
    assert answer.label == "positive"


def test_what_a_run_would_start_from_is_told(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("check", "--data", few) == 0
    assert "from reviews-bilstm, which reads 800 tokens of a text, and whose labels fit" in capsys.readouterr().out
    renamed = ("--map-labels", "positive=yes", "--map-labels", "negative=no")
    assert command("check", "--data", few, *renamed) == 0
    assert "its labels are others" in capsys.readouterr().out
    strange = [(" ".join(f"{word}ov" for word in text.split()), label) for text, label in made_up_reviews()]
    table = write_csv(tmp_path / "strange.csv", strange)
    assert command("check", "--data", table) == 0
    assert "from nothing: " in capsys.readouterr().out


def test_a_bundle_that_does_not_know_the_words_is_refused(
    tiny_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strange = [(" ".join(f"{word}ov" for word in text.split()), label) for text, label in made_up_reviews()]
    table = write_csv(tmp_path / "strange.csv", strange)
    for more in ((), ("--epochs", "1")):
        words = ("run", "--data", table, "--from", tiny_bundle.path, "--out", tmp_path / "made", *more)
        assert command(*words) == 1
        assert "start from nothing with --from none" in capsys.readouterr().err


def test_the_network_answers_as_the_last_layer_that_was_judged(few: Path, tiny_bundle: Bundle) -> None:
    """The word units, the new last layer and the old network are one BiLSTM, up to float16 embeddings."""
    corpus = build([(Source(few), "data")], "words-and-marks-2", 0.1, 0.1)
    rows = corpus.rows(TRAIN, VALIDATION)
    weights = onnx_graph.read(tiny_bundle.model)
    old = BiLSTM(len(tiny_bundle.tokenizer.vocabulary), 64, 64, 2, "pooled")
    export.load_arrays(old, weights)
    for base in (old.eval(), None):
        vocabulary = corpus.vocabulary(1000, min_count=1)
        if base is not None:
            known = tiny_bundle.tokenizer.vocabulary
            vocabulary = [*known, *(word for word in vocabulary if word not in known)]
        tokenizer = type(tiny_bundle.tokenizer)(vocabulary, 400, "head-and-tail", "words-and-marks-2")
        texts = few_texts.read(corpus, rows, tokenizer, base)
        fitted = last_layer.fit(texts, 0)
        made = fitted.network(base, len(vocabulary))
        export.round_embedding(made)
        onnx_model = onnx_graph.build(export.arrays(made))
        assert export.prove_parity(made, onnx_model, 1.0, 400) < export.PARITY_TOLERANCE
        found = few_texts.read(corpus, rows, tokenizer, made).pooled[:, -2:]
        assert found == pytest.approx(fitted.logits(texts), abs=1e-3)
