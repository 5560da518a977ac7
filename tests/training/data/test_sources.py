"""Sources on disk, corpus and split, with made-up data of every kind."""

import gzip
import io
import json
import tarfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.model.tokenizer import SPECIAL, Tokenizer, is_blank
from tests.conftest import made_up_reviews, write_csv
from training.data.corpus import Corpus, build, text_digest
from training.data.labels import LabelMap
from training.data.sources import DataError, Review, Source
from training.data.split import LEFT_OUT, TEST, TRAIN, UNLABELLED, VALIDATION, Reviews, split


def write_imdb(folder: Path, count: int = 20) -> tuple[Path, Path]:
    """A small data set in the official layout, as a folder and as an archive with its files in another order."""
    root = folder / "aclImdb"
    for part in ("train/neg", "train/pos", "train/unsup", "test/neg", "test/pos"):
        (root / part).mkdir(parents=True)
        for number in range(count):
            rating = 0 if "unsup" in part else 2 if "neg" in part else 9
            text = f"{part} review number {number} {'bad' if 'neg' in part else 'good'}.<br /><br />The end"
            (root / part / f"{number}_{rating}.txt").write_text(text)
    (root / "README").write_text("not a review")
    (root / "train" / "unsupBow.feat").write_text("not one either")
    with tarfile.open(folder / "aclImdb.tar.gz", "w:gz") as archive:
        for path in sorted(root.rglob("*.txt"), reverse=True):
            archive.add(path, path.relative_to(folder).as_posix())
    return root, folder / "aclImdb.tar.gz"


def test_archive_and_folder_are_the_same(tmp_path: Path) -> None:
    folder, archive = write_imdb(tmp_path)
    from_folder, from_archive = list(Source(folder)), list(Source(archive))
    assert from_folder == from_archive
    assert len(from_folder) == 100
    first = from_folder[0]
    assert first == Review(first.text, "negative", "test", "test/neg/0_2.txt", 0, 2)
    assert Counter((review.split, review.label) for review in from_folder) == {
        ("train", "negative"): 20, ("train", "positive"): 20, ("unlabelled", None): 20,
        ("test", "negative"): 20, ("test", "positive"): 20,
    }  # fmt: skip
    assert [review.number for review in from_folder if review.split == "unlabelled"] == list(range(20))


def test_blocks_copies_and_numbers(tmp_path: Path) -> None:
    folder, _ = write_imdb(tmp_path)
    copied = (folder / "test/pos/3_9.txt").read_text()
    (folder / "train/pos/10_9.txt").write_text(copied.upper() + "!!")  # the same letters: a copy
    (folder / "train/unsup/5_0.txt").write_text(copied)
    (folder / "train/unsup/6_0.txt").write_text((folder / "train/neg/7_2.txt").read_text())
    (folder / "train/unsup/7_0.txt").write_text((folder / "train/neg/0_2.txt").read_text())
    corpus = build([(Source(folder), "data")], "words-and-marks", 0.2, 0.1)
    rows = list(Source(folder))
    places = {part: [rows[row].place for row in corpus.rows(part)] for part in (TRAIN, VALIDATION, TEST, LEFT_OUT)}
    assert [place for place in places[VALIDATION] if "neg" in place] == [
        f"train/neg/{number}_2.txt" for number in (0, 1, 18, 19)
    ]
    assert "train/pos/10_9.txt" in places[LEFT_OUT]
    assert len(places[TEST]) == 40
    assert corpus.report["left out of train: also in test"] == 1
    assert corpus.report["left out of unlabelled: also in test"] == 1
    assert corpus.report["left out of unlabelled: also in validation"] == 1
    assert corpus.report["left out of unlabelled: also in train"] == 1
    assert corpus.report["unlabelled"] == 17
    assert sorted(set(corpus.ratings[corpus.rows(TEST)].tolist())) == [2, 9]


def tables(folder: Path, rows: list[tuple[str, str]]) -> list[Path]:
    """The same rows in every format."""
    lines = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    write_csv(folder / "a.csv", rows)
    (folder / "a.tsv").write_text("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))
    (folder / "a.jsonl").write_text("\ufeff" + lines)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    columns = {"text": [text for text, _ in rows], "label": [label for _, label in rows]}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "a.parquet")
    return [folder / f"a.{suffix}" for suffix in ("csv", "tsv", "jsonl", "jsonl.gz", "parquet")]


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    rows = [*made_up_reviews()[:30], ("Café, 好 and 🙂", "positive")]
    for path in tables(tmp_path, rows):
        source = Source(path)
        assert [(review.text, review.label) for review in source] == rows, path
        assert [review.text for review in source] == [text for text, _ in rows], "readable again"
        assert not source.bad.counts


def test_bad_rows_are_counted_and_placed(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(
        b'text,label\n"good\nin two lines",1\n,1\n <br /> ,0\nno label,\ntoo,many,fields\nfew\nleft out,3\nfine,0\n'
    )
    source = Source(path, labels=LabelMap.parse(["3="]))
    assert [(review.text, review.place) for review in source] == [
        ("good\nin two lines", "bad.csv:2"),
        ("fine", "bad.csv:10"),
    ]
    lines = source.bad.lines()
    assert lines[:2] == ["no text: 2 (bad.csv:4, bad.csv:5)", "no label: 1 (bad.csv:6)"]
    assert lines[2].startswith("wrong number of columns (expected 2, found 3); a cell that holds the delimiter")
    assert lines[3:] == [
        "wrong number of columns (expected 2, found 1): 1 (bad.csv:8)",
        "the label 3 is left out by --map-labels: 1 (bad.csv:9)",
    ]


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    for name, content, message in (
        ("a.csv", b"says,label\nx,1\n", "text not found among says, label"),
        ("a.tar.gz", b"rubbish", "expected a whole tar archive"),
        ("a.csv.gz", b"\x1f\x8brubbish", "expected a readable file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=message):
            list(Source(tmp_path / name))
    for path in (tmp_path / "none.csv", tmp_path / "none.tar.gz"):
        with pytest.raises(DataError, match="found nothing"):
            list(Source(path))
        with pytest.raises(DataError, match="found nothing"):
            Source(path).digest()


def test_an_archive_of_something_else_is_told(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("train/pos/readme.md"), io.BytesIO())
    with pytest.raises(DataError, match=r"expected files such as train/pos/0_9\.txt"):
        list(Source(tmp_path / "x.tar.gz"))


def test_too_few_of_a_label_is_told(tmp_path: Path) -> None:
    rows = [*made_up_reviews(), ("one of its kind", "mixed")]
    with pytest.raises(DataError, match="train reviews of the label 'mixed', found 1"):
        build([(Source(write_csv(tmp_path / "a.csv", rows)), "data")], "words-and-marks", 0.1, 0.1)
    with pytest.raises(DataError, match=r"at least two labels, found 1: x \(2\)"):
        build([(Source(write_csv(tmp_path / "b.csv", [("a", "x"), ("b", "x")])), "data")], "words", 0.1, 0.1)


def test_labels_are_renamed_joined_and_left_out(tmp_path: Path) -> None:
    rows = [("a", "1"), ("b", "2.0"), ("c", "3"), ("d", "5"), ("e", " 4 "), ("f", "unsure")]
    path = write_csv(tmp_path / "a.csv", rows)
    found = Source(path, labels=LabelMap.parse(["1,2=negative 4,5=positive", "3="]))
    assert [review.label for review in found] == ["negative", "negative", "positive", "positive", "unsure"]
    path = write_csv(tmp_path / "b.csv", [("a", "Very  Good"), ("b", "very good"), ("c", "BAD")])
    assert [review.label for review in Source(path, labels=LabelMap.parse([], merge=True))] == [
        *("very good", "very good", "bad"),
    ]
    renamed = LabelMap.parse(["very good=positive"], merge=True)
    assert [review.label for review in Source(path, labels=renamed)] == ["positive", "positive", "bad"]


@pytest.mark.parametrize("words", [["negative"], ["1=2=3"], ["=positive"], ["1=a", "1=b"], ["1=a b 2=c"]])
def test_a_map_that_says_nothing_clear_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected .*, found"):
        LabelMap.parse(words)


def test_rare_labels_are_left_out(tmp_path: Path) -> None:
    rows = [*made_up_reviews(), ("one of its kind", "mixed")]
    source = Source(write_csv(tmp_path / "a.csv", rows), min_reviews=2)
    corpus = build([(source, "data")], "words-and-marks", 0.1, 0.1)
    assert corpus.label_names == ("negative", "positive")
    assert corpus.splits[-1] == LEFT_OUT
    assert corpus.report["left out: label of fewer than --min-reviews"] == 1
    for wanted in (TRAIN, VALIDATION, TEST):
        for text, label, *_ in corpus.held_out(wanted):
            assert corpus.label_names[label] == dict(rows)[text]
    source = Source(source.path, min_reviews=91)
    with pytest.raises(DataError, match="fewer have 91 reviews, as --min-reviews asks"):
        build([(source, "data")], "words-and-marks", 0.1, 0.1)


def test_of_a_text_under_two_labels_the_more_frequent_stays(tmp_path: Path) -> None:
    torn = [
        ("So so", "positive"),
        ("so so!", "positive"),
        ("SO SO", "negative"),
        ("Hm", "positive"),
        ("hm", "negative"),
    ]
    source = Source(write_csv(tmp_path / "a.csv", [*made_up_reviews(), *torn]))
    corpus = build([(source, "data")], "words-and-marks", 0.1, 0.1)
    assert corpus.report["left out: text under another label"] == 3
    kept = {row - len(made_up_reviews()) for row in np.flatnonzero(corpus.splits != LEFT_OUT).tolist()}
    assert kept & set(range(5)) <= {0, 1}
    assert kept & {0, 1}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), min_size=1, max_size=120), st.integers(0, 4))
def test_no_text_stands_in_two_splits_whatever_the_labels(
    tmp_path_factory: pytest.TempPathFactory, more: list[tuple[int, int]], least: int
) -> None:
    rows = [*made_up_reviews(), *((f"text {text}", ("positive", "negative", "a", "b")[label]) for text, label in more)]
    path = write_csv(tmp_path_factory.mktemp("torn") / "a.csv", rows)
    try:
        corpus = build([(Source(path, min_reviews=least), "data")], "words-and-marks", 0.1, 0.1)
    except DataError:
        return  # a label with too few: told
    splits = {part: {rows[row][0] for row in corpus.rows(part).tolist()} for part in (TRAIN, VALIDATION, TEST)}
    assert not splits[TRAIN] & (splits[VALIDATION] | splits[TEST])
    assert not splits[VALIDATION] & splits[TEST]
    labels = {(rows[row][0], int(corpus.labels[row])) for row in np.flatnonzero(corpus.splits != LEFT_OUT).tolist()}
    assert len(labels) == len({text for text, _ in labels}), "no text under two labels"
    for wanted in (TRAIN, VALIDATION, TEST):
        found = list(corpus.held_out(wanted))
        assert [text for text, *_ in found] == [rows[row][0] for row in corpus.rows(wanted).tolist()]


def made(tmp_path: Path, *extra: tuple[Source, str]) -> Corpus:
    source = Source(write_csv(tmp_path / "all.csv", made_up_reviews()))
    return build([(source, "data"), *extra], "words-and-marks", 0.1, 0.1)


def test_files_of_their_own_take_the_place_of_shares(tmp_path: Path) -> None:
    whole = made(tmp_path)
    assert [len(whole.rows(part)) for part in (TRAIN, VALIDATION, TEST)] == [144, 18, 18]
    own = Source(write_csv(tmp_path / "own.csv", [("a test of its own", "positive"), ("another", "negative")]))
    texts = Source(write_csv(tmp_path / "texts.csv", [("no label here", "ignored")]), labelled=False)
    with_test = made(tmp_path, (own, "test"), (texts, "unlabelled"))
    assert [len(with_test.rows(part)) for part in (TRAIN, VALIDATION, TEST, UNLABELLED)] == [162, 18, 2, 1]
    with_validation = made(tmp_path, (own, "validation"))
    assert [len(with_validation.rows(part)) for part in (TRAIN, VALIDATION, TEST)] == [162, 2, 18]


def test_what_is_held_out_comes_back_as_text(tmp_path: Path) -> None:
    source = Source(write_csv(tmp_path / "all.csv", made_up_reviews()))
    corpus = build([(source, "data")], "words-and-marks", 0.1, 0.1)
    found = list(corpus.held_out(TEST))
    labels = dict(made_up_reviews())
    assert len(found) == 18
    assert all(corpus.label_names[label] == labels[text] for text, label, *_ in found)
    assert {(review.rating, review.source) for review in found} == {(0, "")}
    assert len(list(corpus.held_out(TRAIN))) == 144


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 1), st.integers(0, 12)), min_size=60, max_size=300),
    st.booleans(),
)
def test_no_text_and_no_group_stands_on_both_sides(rows: list[tuple[int, int, int]], grouped: bool) -> None:
    digests = np.array([text_digest(f"text {text}") for text, _, _ in rows], np.uint64)
    reviews = Reviews(
        labels=np.array([label for _, label, _ in rows], np.int32),
        digests=digests,
        numbers=np.full(len(rows), -1),
        given=np.full(len(rows), LEFT_OUT, np.int8),
        groups=np.array([f"group {group}" for _, _, group in rows]) if grouped else None,
    )
    try:
        splits, _ = split(reviews, ("a", "b"), 0.1, 0.1)
    except DataError:
        return  # too few of a label: told, not split
    sides = [set(digests[splits == part].tolist()) for part in (TRAIN, VALIDATION, TEST)]
    assert not sides[0] & (sides[1] | sides[2])
    assert not sides[1] & sides[2]
    if reviews.groups is not None:
        of_groups = [set(reviews.groups[splits == part].tolist()) for part in (TRAIN, VALIDATION, TEST)]
        assert not of_groups[0] & of_groups[1]
        assert not of_groups[0] & of_groups[2]
        assert not of_groups[1] & of_groups[2]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.text(alphabet="ab.'!é <br/>", min_size=1, max_size=40), min_size=1, max_size=8),
    st.sampled_from(["words", "words-and-marks", "words-and-marks-2"]),
    st.sampled_from(["head", "tail", "head-and-tail"]),
)
def test_the_corpus_encodes_as_the_tokenizer_does(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], rules: str, truncation: str
) -> None:
    texts = [text for text in texts if not is_blank(text)]
    rows = [*made_up_reviews()[::3], *((text, "positive") for text in texts)]
    path = tmp_path_factory.mktemp("encode") / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    corpus = build([(Source(path), "data")], rules, 0.1, 0.1)  # type: ignore[arg-type]
    tokenizer = Tokenizer([*SPECIAL, "a", "b", "the", "."], 5, truncation, rules)  # type: ignore[arg-type]
    token_ids, offsets = corpus.encode(tokenizer)
    for row, (text, _) in enumerate(rows):
        expected = tokenizer.encode(text).token_ids
        assert token_ids[offsets[row] : offsets[row + 1]].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("max_tokens", "truncation", "expected"),
    [
        (40, "head-and-tail", ["Not good at all.", "Is it?", "No!", "Why"]),
        (10, "head-and-tail", ["Not good at all."]),  # the end of the text is no sentence of its own
        (8, "head", ["Not good at all.", "Is it?"]),
        (6, "head", ["Not good at all."]),
        (4, "tail", []),
    ],
)
def test_sentences_are_found_in_what_the_network_reads(
    tmp_path: Path, max_tokens: int, truncation: Any, expected: list[str]
) -> None:
    rows = [*made_up_reviews(), ("Not good at all. Is it?<br />No! Why", "negative")]
    corpus = build([(Source(write_csv(tmp_path / "a.csv", rows)), "data")], "words-and-marks-2", 0.1, 0.1)
    tokenizer = Tokenizer(corpus.vocabulary(1000, min_count=1), max_tokens, truncation, "words-and-marks-2")
    token_ids, offsets = corpus.encode(tokenizer)
    last = np.array([len(rows) - 1])
    [borders] = corpus.sentence_borders(last, offsets, tokenizer)
    found = [token_ids[start:end].tolist() for start, end in pairwise(borders.tolist())]
    assert found == [tokenizer.encode(sentence).token_ids.tolist() for sentence in expected]
    assert borders[0] == offsets[-2]
    assert borders[-1] <= offsets[-1]


def test_the_vocabulary_counts_train_and_unlabelled_alone(tmp_path: Path) -> None:
    own = Source(write_csv(tmp_path / "own.csv", [("secret secret secret", "positive"), ("x", "negative")]))
    texts = Source(write_csv(tmp_path / "texts.csv", [("open open open", "")]), labelled=False)
    vocabulary = made(tmp_path, (own, "test"), (texts, "unlabelled")).vocabulary(100)
    assert vocabulary[:2] == list(SPECIAL)
    assert "open" in vocabulary
    assert "secret" not in vocabulary
    assert len(made(tmp_path).vocabulary(7)) == 7
