"""Several data sets as one corpus: what is in it, and what is known of each text."""

import numpy as np
import pytest

from service.model.tokenizer import words
from tests.support import data_sets
from training.data import mixed_corpus, mixture, short_texts
from training.data.corpus import Corpus, Mixed
from training.data.fdu_mtl import ProductReviews
from training.data.mixture import Mixture
from training.data.sources import Source
from training.data.split import TEST, TRAIN, UNLABELLED, VALIDATION
from training.data.treebank import Treebank


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Mixture:
    folder = tmp_path_factory.mktemp("sets")
    films, trees = Source(data_sets.films(folder / "films")), Treebank(data_sets.treebank(folder / "trees"))
    return mixture.build(films, trees, ProductReviews(data_sets.products(folder / "fdu")))


@pytest.fixture(scope="module")
def corpus(everything: Mixture) -> Corpus:
    return mixed_corpus.build(everything, short_texts.choose(everything, 1000), "words-and-marks-2")


def known(corpus: Corpus) -> Mixed:
    assert corpus.mixed is not None
    return corpus.mixed


def row_of(corpus: Corpus, text: str) -> int:
    [row] = [row for row in range(len(corpus.texts)) if corpus.texts[row] == text]
    return row


def test_every_text_keeps_what_its_data_set_says_of_it(corpus: Corpus) -> None:
    of = known(corpus)
    expected = {
        "A lovely film, number 7.<br /><br />Go and see it!": ("imdb", TRAIN, 1, 1.0, 9, False),
        "Two dull hours, number 0. Avoid.": ("imdb", VALIDATION, 0, 0.0, 2, False),
        "I saw it, number 3. The plot fails!": ("imdb", UNLABELLED, -1, np.nan, 0, False),
        "It's great": ("sst", TRAIN, 1, 0.75, 0, True),
        "(Part) two": ("sst", TRAIN, -1, 0.5, 0, True),  # neutral: a target without a label
        "warm, funny": ("sst", VALIDATION, 1, 0.95, 0, True),
        "good fun": ("sst", TEST, 1, 0.75, 0, True),
        "Go and see it!": ("imdb", UNLABELLED, -1, np.nan, 0, True),  # cut from a review
    }
    for text, (source, part, label, target, rating, short) in expected.items():
        row = row_of(corpus, text)
        found = (of.source_of(row), corpus.splits[row], corpus.labels[row], corpus.ratings[row], of.short[row])
        assert found == (source, part, label, rating, short), text
        np.testing.assert_allclose(of.targets[row], target, rtol=1e-6, err_msg=text)
        assert of.keys[row] == mixture.key(text)
    assert corpus.neutral(VALIDATION) == ["A film"]
    # What was cut from a product review is of no domain any more.
    assert {"imdb", "sst", "fdu-mtl: books", "fdu-mtl: toys_games", "fdu-mtl"} == set(of.names)
    assert corpus.label_names == ("negative", "positive")


def test_tokens_are_those_of_the_texts(corpus: Corpus) -> None:
    rows = np.arange(len(corpus.texts))
    documents = list(corpus.documents(rows))
    assert documents == [words(corpus.texts[row], "words-and-marks-2") for row in rows.tolist()]


def test_only_whole_texts_judge_and_choose(everything: Mixture, corpus: Corpus) -> None:
    for part, name in ((VALIDATION, "validation"), (TEST, "test")):
        texts = [corpus.texts[row] for row in corpus.rows(part).tolist()]
        assert texts == [example.text for example in everything.of(name) if example.kind != "phrase"]
        labelled = [e for e in everything.of(name) if e.kind != "phrase" and e.label is not None]
        found = list(corpus.held_out(part))
        assert [(review.text, review.label, review.rating) for review in found] == [
            (example.text, example.label, example.rating) for example in labelled
        ]
        assert {review.source for review in found} == {"imdb", "sst", "fdu-mtl: books", "fdu-mtl: toys_games"}
    held = set(known(corpus).keys[corpus.rows(VALIDATION, TEST)].tolist())
    assert not held & set(known(corpus).keys[corpus.rows(TRAIN, UNLABELLED)].tolist())


def test_short_texts_of_the_treebank_stand_in_it_once(everything: Mixture) -> None:
    chosen = short_texts.choose(everything, 1000)
    assert {"phrase", "sentence", "cut"} == {text.kind for text in chosen}
    without = mixed_corpus.build(everything, (), "words-and-marks-2")
    with_them = mixed_corpus.build(everything, chosen, "words-and-marks-2")
    assert len(with_them.texts) == len(without.texts) + sum(text.kind == "cut" for text in chosen)
