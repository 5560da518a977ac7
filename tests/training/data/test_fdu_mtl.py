"""FDU-MTL in its official layout."""

import tarfile
from pathlib import Path

import pytest

from tests.support import data_sets
from training.data.fdu_mtl import LEFT_OUT, ProductReviews
from training.data.sources import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return data_sets.products(tmp_path / "fdu")


def test_every_file_is_read_with_its_domain_and_split(folder: Path) -> None:
    found = list(ProductReviews(folder))
    counts = {(review.domain, review.split): 0 for review in found}
    for review in found:
        counts[review.domain, review.split] += 1
    each = {"train": 20, "test": 4, "unlabelled": 6}
    assert counts == {(domain, split): n for domain in ("books", "toys_games") for split, n in each.items()}
    first, second = found[4:6]  # books.task.test stands first
    assert first.text == "awful books! it broke (twice) and i can't use it. number 0"
    assert (second.label, second.place) == (1, "books.task.train:2")
    assert second.text == "i love this books, it's good and it doesn't break. number 1"
    assert {review.label for review in found if review.split == "unlabelled"} == {None}


def test_an_archive_and_its_folder_are_one_data_set(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "fdu.tar.gz", "w:gz") as archive:
        archive.add(folder, "fdu-mtl")
    packed = ProductReviews(tmp_path / "fdu.tar.gz")
    assert list(packed) == list(ProductReviews(folder))
    assert packed.digest() == ProductReviews(folder).digest()


def test_domains_can_be_left_out_whole(folder: Path) -> None:
    found = list(ProductReviews(folder, ("toys_games",)))
    assert {review.domain for review in found if review.split == LEFT_OUT} == {"toys_games"}
    assert {review.domain for review in found if review.split != LEFT_OUT} == {"books"}
    with pytest.raises(DataError, match=r"expected to leave out some of books, toys_games; found cars: name domains"):
        list(ProductReviews(folder, ("cars",)))


def test_lines_of_another_encoding_and_without_text_are_survived(folder: Path) -> None:
    (folder / "books.task.train").write_bytes(
        "1\tun clich\xe9\n0\t \n0\tpi\xe8ce\n".encode("cp1252") + b"1\tcaf\xc3\xa9\n"
    )
    reviews = ProductReviews(folder)
    for _ in range(2):
        assert [r.text for r in reviews if (r.domain, r.split) == ("books", "train")] == ["un cliché", "pièce", "café"]
        assert dict(reviews.bad) == {"no text": 1}


@pytest.mark.parametrize("line", ["2\tfine", "fine", "1 fine"])
def test_a_damaged_line_is_placed(folder: Path, line: str) -> None:
    with (folder / "books.task.test").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"books\.task\.test:5: expected 0 or 1, a tab and a text, found .*: fetch"):
        list(ProductReviews(folder))


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected files such as books\.task\.train, found none of them"):
        list(ProductReviews(tmp_path))
