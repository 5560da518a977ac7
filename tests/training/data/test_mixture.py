"""The mixture: splits, soft targets, and nothing held out among what is learned from."""

from pathlib import Path

import pytest

from tests.support import data_sets
from training.data import mixture
from training.data.fdu_mtl import ProductReviews
from training.data.mixture import TEST, TRAIN, UNLABELLED, VALIDATION, Mixture
from training.data.sources import DataError, Source
from training.data.treebank import Treebank


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data_sets.films(tmp_path / "films")
    data_sets.treebank(tmp_path / "trees")
    data_sets.products(tmp_path / "fdu")
    return tmp_path


def build(folder: Path, leave_out: tuple[str, ...] = (), sample: float = 1.0) -> Mixture:
    films, trees = Source(folder / "films"), Treebank(folder / "trees")
    return mixture.build(films, trees, ProductReviews(folder / "fdu", leave_out), sample=sample)


def test_no_text_of_a_held_out_split_is_learned_from(folder: Path) -> None:
    # A copy of a validation sentence, as a product review would write it.
    with (folder / "fdu" / "books.task.train").open("a") as file:
        file.write("1\tWARM , funny ! !\n")
    found = build(folder)
    learned = {example.key for example in found.of(TRAIN, UNLABELLED)}
    assert not learned & {example.key for example in found.of(VALIDATION, TEST)}
    assert not learned & found.held_out
    texts = {example.text for example in found.of(TRAIN, UNLABELLED)}
    assert "warm" not in texts  # a phrase of train that is a phrase of the treebank's dev
    assert "warm and funny" in texts
    assert found.report["treebank: left out of train: phrase also in validation"] == 2
    assert found.report["fdu-mtl: left out of train: review also in validation"] == 1
    assert found.report["fdu-mtl: left out of unlabelled: review also in test"] == 2


def test_a_training_phrase_equal_to_a_held_out_sentence_leaves(folder: Path) -> None:
    with (folder / "trees" / "train.txt").open("a") as file:
        file.write("(3 (3 (3 Good) (2 fun)) (2 here))\n")
    found = build(folder)
    assert "Good fun" not in {example.text for example in found.of(TRAIN)}
    assert "Good fun here" in {example.text for example in found.of(TRAIN)}


def test_validation_is_a_tenth_and_the_official_dev(folder: Path) -> None:
    found = build(folder)
    held = found.of(VALIDATION)
    # Blocks at both ends of each label's file ids.
    films = [example.text for example in held if example.source == "imdb"]
    assert [text for text in films if "lovely" in text] == [
        f"A lovely film, number {number}.<br /><br />Go and see it!" for number in (0, 19)
    ]
    assert len(films) == 4
    assert sum(example.kind == "sentence" for example in held) == len(data_sets.TREES["dev.txt"])
    assert {domain: sum(e.domain == domain for e in held) for domain in ("books", "toys_games")} == {
        "books": 2,
        "toys_games": 2,
    }


def test_grades_are_soft_targets(folder: Path) -> None:
    found = build(folder)
    sentences = {e.text: (e.target, e.label) for e in found.examples if e.kind == "sentence"}
    assert sentences["dull, very tiresome"] == (0.05, 0)
    assert sentences["The plot doesn't work."] == (0.25, 0)
    assert sentences["(Part) two"] == (0.5, None)
    assert sentences["It's great"] == (0.75, 1)
    assert sentences["warm and funny"] == (0.95, 1)
    assert {(e.target, e.label) for e in found.of(TRAIN) if e.kind == "review"} == {(0.0, 0), (1.0, 1)}
    assert {(e.target, e.label) for e in found.of(UNLABELLED)} == {(None, None)}


def test_the_same_every_time_and_counted(folder: Path) -> None:
    found = build(folder)
    assert build(folder) == found
    for source, split, kind in {(e.source, e.split, e.kind) for e in found.examples}:
        counted = sum((e.source, e.split, e.kind) == (source, split, kind) for e in found.examples)
        assert found.report[f"{source}: {split}: {kind}"] == counted
    assert len({example.key for example in found.of(TRAIN)}) == len(found.of(TRAIN))


def test_a_domain_left_out_is_nowhere_nor_are_its_copies(folder: Path) -> None:
    with (folder / "fdu" / "books.task.unlabel").open("a") as file:
        file.write("My toys_games came late. I still like it, number 3!\n")
    found = build(folder, ("toys_games",))
    assert not [example for example in found.examples if "toys_games" in example.text]
    assert found.report["fdu-mtl: reviews of domains left out"] == 30
    assert found.report["fdu-mtl: left out of unlabelled: review also in a domain left out"] == 1


def test_a_sample_is_a_share_of_every_source(tmp_path: Path) -> None:
    data_sets.products(tmp_path / "fdu", count=400)
    whole = mixture.build(products=ProductReviews(tmp_path / "fdu"))
    part = mixture.build(products=ProductReviews(tmp_path / "fdu"), sample=0.5)
    assert 0.4 * len(whole.examples) < len(part.examples) < 0.6 * len(whole.examples)
    assert {example.text for example in part.examples} <= {example.text for example in whole.examples}


def test_a_missing_source_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"none: expected an archive or a folder"):
        mixture.build(treebank=Treebank(folder / "none"))
