"""What the network is to answer: the mean of what the data says and of what the right teacher says."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from service.model.tokenizer import Tokenizer
from tests.conftest import made_up_reviews, write_csv
from tests.support import data_sets
from training.data import corpus as corpora
from training.data import mixed_corpus, mixture, short_texts
from training.data.corpus import Corpus
from training.data.fdu_mtl import ProductReviews
from training.data.sources import Source
from training.data.split import TRAIN, UNLABELLED, VALIDATION
from training.data.treebank import Treebank
from training.fitting.checkpoint import RunFolder
from training.recipe import linear_teacher, targets
from training.recipe.targets import Lessons

Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("sets")
    films, trees = Source(data_sets.films(folder / "films")), Treebank(data_sets.treebank(folder / "trees"))
    found = mixture.build(films, trees, ProductReviews(data_sets.products(folder / "fdu")))
    return mixed_corpus.build(found, short_texts.choose(found, 1000), "words-and-marks-2")


def prepared(
    corpus: Corpus, folder: Path, logits: dict[int, Floats], teacher: bool = True, told: list[str] | None = None
) -> Lessons:
    tokenizer = Tokenizer(corpus.vocabulary(1000), 40, "head", "words-and-marks-2")
    told = [] if told is None else told
    return targets.prepare(RunFolder(folder), told.append, corpus, *corpus.encode(tokenizer), teacher, logits)


def keys(corpus: Corpus) -> list[int]:
    assert corpus.mixed is not None
    return [int(key) for key in corpus.mixed.keys]


def given(corpus: Corpus) -> Floats:
    """[review] the probability of "positive" that the data itself gives; NaN: none."""
    assert corpus.mixed is not None
    return corpus.mixed.targets


def is_film(corpus: Corpus) -> NDArray[np.bool_]:
    assert corpus.mixed is not None
    films: NDArray[np.bool_] = corpus.mixed.sources == corpus.mixed.names.index("imdb")
    return films & ~corpus.mixed.short


def some_logits(corpus: Corpus, rows: NDArray[np.int64]) -> dict[int, Floats]:
    """Of `rows`, by key; no two alike."""
    generator = np.random.default_rng(0)
    return {keys(corpus)[row]: generator.normal(size=2).astype(np.float32) for row in rows.tolist()}


def by_words(corpus: Corpus, rows: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """What the linear teacher says of `rows`, each by a fold that has not seen it, and whether it is right about each
    of validation."""
    assert corpus.mixed is not None
    labelled = corpus.labels[rows] >= 0
    folds = linear_teacher.fit(corpus.documents, rows[labelled], corpus.labels[rows[labelled]])
    fold_of = np.full(len(rows), linear_teacher.FOLDS)
    fold_of[labelled] = folds.fold_of
    held = corpus.rows(VALIDATION)
    held = held[(corpus.labels[held] >= 0) & np.isin(corpus.mixed.sources[held], corpus.mixed.sources[rows])]
    judged = folds.judge(corpus.documents, held, np.full(len(held), linear_teacher.FOLDS))
    return folds.judge(corpus.documents, rows, fold_of), judged.argmax(axis=1) == corpus.labels[held]


def with_labels(corpus: Corpus, rows: NDArray[np.int64], answers: Floats) -> Floats:
    """The mean of `answers` [row, label] and of what the data says of `rows`, where it says something."""
    positive = given(corpus)[rows, None]
    says = np.concatenate([1 - positive, positive], axis=1)
    return np.where(np.isnan(says), answers, (says + answers) / 2)


def test_a_short_text_is_the_encoders_and_a_review_the_pool_of_both_teachers(corpus: Corpus, tmp_path: Path) -> None:
    assert corpus.mixed is not None
    rows = corpus.rows(TRAIN, UNLABELLED)
    logits = some_logits(corpus, rows)
    lessons = prepared(corpus, tmp_path, logits)
    assert lessons.rows.tolist() == rows.tolist()
    whole = ~corpus.mixed.short[rows]
    answers = np.array([softmax(logits[keys(corpus)[row]]) for row in rows.tolist()])
    counted, right = by_words(corpus, rows[whole])
    together = np.cbrt(answers[whole] ** 2 * counted)
    answers[whole] = together / together.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(lessons.train.targets, with_labels(corpus, rows, answers), atol=1e-5)
    assert lessons.ladder["linear teacher"]["accuracy"] == pytest.approx(right.mean())


def test_of_reviews_without_an_answer_those_with_a_label_go_to_the_linear_teacher(
    corpus: Corpus, tmp_path: Path
) -> None:
    assert corpus.mixed is not None
    rows = corpus.rows(TRAIN, UNLABELLED)
    films = is_film(corpus)[rows]
    lessons = prepared(corpus, tmp_path, some_logits(corpus, rows[~films]))
    rows = rows[~films | (corpus.labels[rows] >= 0)]  # of the others no teacher that has read says anything
    assert lessons.rows.tolist() == rows.tolist()
    films = is_film(corpus)[rows]
    whole = ~corpus.mixed.short[rows]
    counted, _ = by_words(corpus, rows[whole])
    expected = with_labels(corpus, rows[films], counted[films[whole]])
    np.testing.assert_allclose(lessons.train.targets[films], expected, atol=1e-5)


def test_without_an_encoder_the_linear_teacher_answers_for_all(corpus: Corpus, tmp_path: Path) -> None:
    rows = corpus.rows(TRAIN, UNLABELLED)
    lessons = prepared(corpus, tmp_path, {})
    assert lessons.rows.tolist() == rows.tolist()
    expected = with_labels(corpus, rows, by_words(corpus, rows)[0])
    np.testing.assert_allclose(lessons.train.targets, expected, atol=1e-5)


def test_without_any_teacher_what_has_no_label_is_not_shown(corpus: Corpus, tmp_path: Path) -> None:
    lessons = prepared(corpus, tmp_path, {}, teacher=False)
    rows = corpus.rows(TRAIN, UNLABELLED)
    rows = rows[~np.isnan(given(corpus)[rows])]
    assert lessons.rows.tolist() == rows.tolist()  # neutral sentences have no label, but a grade
    np.testing.assert_allclose(lessons.train.targets[:, 1], given(corpus)[rows], atol=1e-6)
    held = corpus.rows(VALIDATION)
    held = held[corpus.labels[held] >= 0]
    assert lessons.validation.targets.argmax(axis=1).tolist() == corpus.labels[held].tolist()


def test_undecided_sentences_are_cut_from_reviews_and_lean_to_neither_label(corpus: Corpus, tmp_path: Path) -> None:
    assert corpus.mixed is not None
    lessons = prepared(corpus, tmp_path, dict.fromkeys(keys(corpus), np.zeros(2, np.float32)))
    cut = np.flatnonzero(corpus.mixed.short[lessons.rows] & np.isnan(given(corpus)[lessons.rows]))
    assert len(cut) >= 2
    under = np.full_like(lessons.train.targets, 0.5)
    under[cut[0]], under[cut[1]] = (0.39, 0.61), (0.59, 0.41)
    found = targets.undecided_sentences(replace(lessons, train=replace(lessons.train, targets=under)), corpus)
    assert found.starts.tolist() == lessons.train.starts[cut[1:]].tolist()
    assert found.ends.tolist() == lessons.train.ends[cut[1:]].tolist()
    assert not len(targets.undecided_sentences(lessons, replace(corpus, mixed=None)))


def test_an_encoder_that_is_less_sure_than_right_is_believed_more(corpus: Corpus, tmp_path: Path) -> None:
    rows = corpus.rows(TRAIN, UNLABELLED, VALIDATION)
    unsure = np.array([[0.1, -0.1], [-0.1, 0.1]], np.float32)
    logits = {keys(corpus)[row]: unsure[max(0, int(corpus.labels[row]))] for row in rows.tolist()}
    lessons = prepared(corpus, tmp_path, logits)
    positive = corpus.labels[lessons.rows] == 1
    assert (lessons.train.targets[positive, 1] > 0.9).all()
    assert (lessons.train.targets[corpus.labels[lessons.rows] == 0, 1] < 0.1).all()


def test_too_few_labels_for_a_linear_teacher_are_told(tmp_path: Path) -> None:
    few = write_csv(tmp_path / "few.csv", made_up_reviews()[::20])
    corpus = corpora.build([(Source(few), "data")], "words-and-marks-2", 0.3, 0)
    told: list[str] = []
    lessons = prepared(corpus, tmp_path, {}, told=told)
    [line] = told
    assert re.fullmatch(
        r"no linear teacher for \d+ labelled texts, the rarest label on [0-4]: expected at most 200,000, .*", line
    )
    assert (lessons.train.targets == np.eye(2)[corpus.labels[lessons.rows]]).all()


def test_targets_are_as_sure_as_the_network_was_right_of_their_kind(corpus: Corpus, tmp_path: Path) -> None:
    assert corpus.mixed is not None
    rows = corpus.rows(TRAIN, UNLABELLED)
    lessons = prepared(corpus, tmp_path, some_logits(corpus, rows))
    held = corpus.rows(VALIDATION)
    held = held[corpus.labels[held] >= 0]
    # Of short texts always right and hardly sure, of reviews very sure and right by chance.
    short, labels = corpus.mixed.short[held], corpus.labels[held]
    sure = np.where(short, 0.1, 5.0) * np.where(short | (np.arange(len(held)) % 2 == 0), 1, -1)
    answers = (np.eye(2)[labels] * sure[:, None]).astype(np.float32)
    before = lessons.train.targets.max(axis=1)
    after = targets.recalibrated(lessons, corpus, answers).train.targets
    np.testing.assert_allclose(after.sum(axis=1), 1, atol=1e-5)
    assert (after.argmax(axis=1) == lessons.train.targets.argmax(axis=1)).all()
    of_short = corpus.mixed.short[lessons.rows]
    assert (after.max(axis=1)[of_short] > before[of_short]).all()
    assert (after.max(axis=1)[~of_short] < before[~of_short]).all()
