"""The arms: each learns from the same few texts and is judged once on the domain's own test reviews."""

import csv
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from benchmarks import small
from service.model import bundle
from training.data.corpus import text_digest
from training.data.fdu_mtl import ProductReview
from training.data.sources import Source
from training.options import Options
from training.recipe.recipes import PRESETS
from training.run import run

NAMES = ("negative", "positive")
# What a careful user would let cross-validation choose from.
_SETTINGS = {
    "tfidfvectorizer__ngram_range": [(1, 1), (1, 2)],
    "tfidfvectorizer__min_df": [1, 2],
    "tfidfvectorizer__sublinear_tf": [False, True],
    "logisticregression__C": [0.3, 1, 3, 10, 30, 100],
}
Reviews = Sequence[ProductReview]


def drawn(reviews: Reviews, size: int, seed: int) -> tuple[Reviews, Reviews]:
    """`size` training reviews of one domain's `reviews`, and all of its test reviews.

    Copies of a training review or of a test review are not drawn, so that every arm learns from as many texts.
    """
    test = [review for review in reviews if review.split == "test"]
    known = {text_digest(review.text) for review in test}
    train = []
    for review in reviews:
        if review.split == "train" and (digest := text_digest(review.text)) not in known:
            known.add(digest)
            train.append(review)
    order = np.random.default_rng(seed).permutation(len(train))[:size]
    return [train[index] for index in order], test


def measure(arm: str, train: Reviews, test: Reviews, seed: int, base: Path) -> dict[str, Any]:
    """The test accuracy of `arm`, and the seconds that its fit takes; of a run, what it told of itself, too."""
    if arm == small.LINEAR:
        return _linear(train, test, seed)
    with tempfile.TemporaryDirectory() as folder:
        return _run(Path(folder), train, test, seed, base if arm == small.WARM else None)


def _linear(train: Reviews, test: Reviews, seed: int) -> dict[str, Any]:
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as cache:
        # Six values of C read the same matrix: it is made once for each fold.
        model = make_pipeline(TfidfVectorizer(), LogisticRegression(solver="liblinear"), memory=cache)
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        search = GridSearchCV(model, _SETTINGS, cv=folds)
        search.fit([review.text for review in train], [review.label for review in train])
        seconds = time.monotonic() - started
        accuracy = search.score([review.text for review in test], [review.label for review in test])
    settings = {name.partition("__")[2]: value for name, value in search.best_params_.items()}
    return {"accuracy": float(accuracy), "told": float(search.best_score_), "seconds": seconds, "settings": settings}


def _run(folder: Path, train: Reviews, test: Reviews, seed: int, base: Path | None) -> dict[str, Any]:
    """By the training command's own function; the test reviews are passed as --test."""
    started = time.monotonic()
    sources = (
        (Source(_table(folder / "train.csv", train)), "data"),
        (Source(_table(folder / "test.csv", test)), "test"),
    )
    preset = PRESETS["base"]
    options = Options("base", preset, sources, folder / "made", seed, warm_start=base, from_nothing=base is None)
    run(options, Console(quiet=True))
    manifest = bundle.read(folder / "made").manifest
    folds = manifest.training["folds"]
    return {
        "accuracy": manifest.metrics["test"]["accuracy"],
        "told": manifest.metrics["validation"]["accuracy"],
        "interval": manifest.metrics["validation"]["accuracy_interval_95"],
        "expected": folds["test_expected_95"],
        "linear_told": folds["linear"]["accuracy"],
        "seconds": time.monotonic() - started,
    }


def _table(path: Path, reviews: Reviews) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((review.text, NAMES[review.label or 0]) for review in reviews)
    return path
