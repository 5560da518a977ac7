"""The treebank in its official layout."""

import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import data_sets
from training.data.sources import DataError
from training.data.treebank import Treebank


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return data_sets.treebank(tmp_path / "trees")


def test_sentences_come_before_phrases_as_people_write_them(folder: Path) -> None:
    found = list(Treebank(folder))
    train = [phrase for phrase in found if phrase.split == "train"]
    assert [(phrase.text, phrase.grade, phrase.label) for phrase in train if phrase.whole] == [
        ("It's great", 3, 1),
        ("The plot doesn't work.", 1, 0),
        ("(Part) two", 2, None),
        ("dull, very tiresome", 0, 0),
        ("warm and funny", 4, 1),
    ]
    assert [phrase.whole for phrase in train] == sorted((phrase.whole for phrase in train), reverse=True)
    assert ("doesn't", 1) in [(phrase.text, phrase.grade) for phrase in train]
    assert not {",", ".", "("} & {phrase.text for phrase in found}
    counts = {split: sum(phrase.whole for phrase in found if phrase.split == split) for split in ("validation", "test")}
    assert counts == {"validation": 3, "test": 2}


def test_an_archive_and_its_folder_are_one_data_set(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "sst.tar.gz", "w:gz") as archive:
        archive.add(folder, "sst")
    with zipfile.ZipFile(tmp_path / "trees.zip", "w") as packed:
        for path in folder.iterdir():
            packed.write(path, f"trees/{path.name}")
    for path in (tmp_path / "sst.tar.gz", tmp_path / "trees.zip"):
        assert list(Treebank(path)) == list(Treebank(folder))
        assert Treebank(path).digest() == Treebank(folder).digest()


def test_the_digest_tells_another_text(folder: Path) -> None:
    before = Treebank(folder).digest()
    (folder / "dev.txt").write_text("(4 (4 warm) (3 fun))\n")
    assert Treebank(folder).digest() != before


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("(5 (2 A) (2 film))", "'5' where a grade"),
        ("(2 (2 A) (2 film)", "1 brackets left open"),
        ("(2 (2 A) (2 film)))", "a bracket too many"),
        ("(2 (2 A) (2 film)) (2 more)", "'2' where a grade"),
        ("(2 (2 A) (2 ))", "a node without words"),
        ("A film", "'A' outside of the tree"),
    ],
)
def test_a_damaged_tree_is_placed(folder: Path, line: str, found: str) -> None:
    with (folder / "train.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=rf"train\.txt:6: expected one tree .*, found {found}.*fetch"):
        list(Treebank(folder))


def test_missing_and_damaged_files_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    (folder / "dev.txt").unlink()
    with pytest.raises(DataError, match=r"found no dev\.txt: fetch the whole treebank"):
        list(Treebank(folder))
    with pytest.raises(DataError, match=r"expected an archive or a folder .*, found nothing: check the path"):
        list(Treebank(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found none of them"):
        list(Treebank(tmp_path / "empty"))
    (tmp_path / "bad.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"found a damaged one .*: fetch it again"):
        list(Treebank(tmp_path / "bad.tar.gz"))
    (folder / "dev.txt").write_bytes(b"(2 caf\xe9)\n")
    with pytest.raises(DataError, match=r"dev\.txt: expected UTF-8"):
        list(Treebank(folder))
