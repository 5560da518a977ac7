"""What the commands do with files as people have them, up to the start of training."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from service.model.bundle import Bundle
from tests.conftest import made_up_reviews, train, write_csv
from tests.support.tables import CASES, COUNT, EACH, ROWS, Case, table
from training.__main__ import start
from training.data.overview import examine

CAPTURE = pytest.CaptureFixture[str]
IDS = [f"{i}-{case.name}" for i, case in enumerate(CASES)]


def command(*words: str | Path) -> int:
    """Runs a training command in this process; its exit code."""
    try:
        start([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def check(capsys: CAPTURE, *words: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `training check`."""
    code = command("check", *words)
    return (code, *capsys.readouterr())


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_check_tells_of_every_kind_of_file(case: Case, tmp_path: Path, capsys: CAPTURE) -> None:
    code, out, errors = check(capsys, "--data", case.write(tmp_path), *case.arguments)
    if case.error or case.refused:
        assert code == 1
        assert re.search(case.error or case.refused, errors, re.DOTALL), errors
        assert errors.startswith("error: ")
        assert "Traceback" not in errors
        return
    assert (code, errors) == (0, "")
    assert f"rows: {sum(case.labels.values()):,} read" in out
    for label, count in case.labels.items():
        assert re.search(rf'^  {re.escape(label)}: {count:,} \(\d+\.\d%\), for example ".+"$', out, re.MULTILINE), out
    for told in case.told:
        assert re.search(told, out), (told, out)
    assert "train, to learn from: " in out


class Began(Exception):
    """A run has read its data and would go on."""


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_run_begins_with_the_same_screen(
    case: Case, tmp_path: Path, capsys: CAPTURE, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = case.write(tmp_path)
    code, out, errors = check(capsys, "--data", path, *case.arguments)

    def examine_alone(*arguments: object) -> None:
        examine(*arguments)  # type: ignore[arg-type]
        raise Began

    monkeypatch.setattr("training.run.examine", examine_alone)
    words: tuple[str | Path, ...] = ("run", "--data", path, *case.arguments, "--out", tmp_path / "made")
    if code:
        assert command(*words) == code
    else:
        with pytest.raises(Began):
            command(*words)
    shown, told = capsys.readouterr()
    assert (out.startswith(shown), told) == (True, errors)
    rest = out[len(shown) :]  # what a run says next, where the texts are few
    assert not rest or re.fullmatch(r"few labels \(\d+ texts to learn from\): .+\n", rest), rest


@pytest.mark.parametrize("case", [case for case in CASES if case.labels], ids=lambda case: case.name)
def test_evaluate_reads_the_same(case: Case, tmp_path: Path, tiny_bundle: Bundle, capsys: CAPTURE) -> None:
    renamed = [f"{label}={('negative', 'positive')[i % 2]}" for i, label in enumerate(sorted(case.labels))]
    path = case.write(tmp_path)
    code = command("evaluate", "--bundle", tiny_bundle.path, "--data", path, *case.arguments, "--map-labels", *renamed)
    out, told = capsys.readouterr()
    assert code == 0, told
    report = json.loads(out)
    assert report["reviews"] == sum(case.labels.values())
    for expected in case.told:
        assert re.search(expected, told), (expected, told)


@pytest.mark.parametrize("case", [case for case in CASES if case.error], ids=lambda case: case.name)
def test_evaluate_refuses_the_same(case: Case, tmp_path: Path, tiny_bundle: Bundle, capsys: CAPTURE) -> None:
    path = case.write(tmp_path)
    assert command("evaluate", "--bundle", tiny_bundle.path, "--data", path, *case.arguments) == 1
    assert re.search(case.error, capsys.readouterr().err)


def test_a_messy_file_becomes_a_bundle(tmp_path: Path) -> None:
    rows = [(text, "5.0" if label == "positive" else "1") for text, label in made_up_reviews()]
    rows += [("so so", "3"), ("nan", "1"), ("fine", "N/A"), *rows[:3]]
    path = tmp_path / "messy.CSV"
    path.write_bytes(("sep=;\n" + table(rows, ("Review", " Stars"), ";") + '"Good, but it broke;1\n').encode("cp1252"))
    more = write_csv(tmp_path / "more.csv", [("It is a joy, truly.", "positive"), ("It is a bore, truly.", "negative")])
    mapped = ("--map-labels", "1,2=negative", "4,5=positive", "3=")
    data = ("--data", path, "--data", more, *mapped)
    done = train("run", *data, "--out", tmp_path / "made", "--epochs", "1", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    for line in (
        'messy.CSV: its first line names the delimiter ";"',
        "messy.CSV: the text is guessed to be in the column Review (--text-column names it)",
        "quotes that enclose no cell, read as text: 1 (messy.CSV:189)",
        "--map-labels names labels that are not in the data: 2, 4",
        "rows: 186 read, 3 left out",
        "left out: the label 3 is left out by --map-labels: 1 (messy.CSV:183)",
        "left out: no label: 1 (messy.CSV:185)",
        "copies: 3 rows repeat the text of an earlier one",
        "labels: 2",
    ):
        assert line in [told.strip() for told in done.stdout.splitlines()], (line, done.stdout)
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text())
    assert manifest["labels"] == ["negative", "positive"]
    assert [entry["file"] for entry in manifest["training"]["data"]] == ["messy.CSV", "more.csv"]
    done = train("evaluate", "--model", tmp_path / "made", *data, "--split", "test")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"] == manifest["metrics"]["test"]["accuracy"]


def test_several_files_and_folders_are_one(tmp_path: Path, capsys: CAPTURE) -> None:
    for name, part in (("one", ROWS[:30]), ("two", ROWS[30:])):
        (tmp_path / name).mkdir()
        write_csv(tmp_path / name / "reviews.csv", part)
    whole = write_csv(tmp_path / "whole.csv", ROWS)
    _, apart, _ = check(capsys, "--data", tmp_path / "one", "--data", tmp_path / "two" / "reviews.csv")
    _, once, _ = check(capsys, "--data", whole)
    assert apart.split("rows:")[1] == once.split("rows:")[1]
    _, twice, _ = check(capsys, "--data", whole, "--data", whole)
    assert f"rows: {2 * COUNT} read" in twice
    assert f"copies: {COUNT} rows repeat" in twice


def test_texts_under_two_labels_are_listed(tmp_path: Path, capsys: CAPTURE) -> None:
    torn = [("So so.", "positive"), ("so SO", "negative"), *[(text.upper(), "negative") for text, _ in ROWS[1:9:2]]]
    code, out, _ = check(capsys, "--data", write_csv(tmp_path / "a.csv", [*ROWS, *torn]))
    assert code == 0
    assert "texts under two labels or more: 5" in out
    assert f'a.csv:3: positive 1, negative 1: "{ROWS[1][0]}"' in out
    assert "left out: text under another label: 10" in out


def test_oddities_of_labels_are_told_with_their_remedy(tmp_path: Path, capsys: CAPTURE) -> None:
    rows = [(text, label.title() if i < 10 else label) for i, (text, label) in enumerate(ROWS)]
    path = write_csv(tmp_path / "a.csv", rows)
    _, out, _ = check(capsys, "--data", path)
    assert "Negative (5), negative (25): --merge-labels makes them one, as does --map-labels Negative=negative" in out
    _, out, _ = check(capsys, "--data", path, "--merge-labels")
    assert "negative: 30" in out
    rows = [(text, str(i % 5 + 1)) for i, (text, _) in enumerate(ROWS)]
    path = write_csv(tmp_path / "b.csv", rows)
    assert "--map-labels 1,2=negative 4,5=positive 3= would" in check(capsys, "--data", path)[1]
    _, out, _ = check(capsys, "--data", path, "--map-labels", "1,2=negative", "4,5=positive", "3=", "7=what")
    assert "negative: 24" in out
    assert "names labels that are not in the data: 7" in out
    lone = write_csv(tmp_path / "c.csv", [*ROWS, ("one of a kind", "neutral")])
    code, out, _ = check(capsys, "--data", lone, "--min-reviews", "5")
    assert code == 0
    assert "left out: label of fewer than --min-reviews: 1" in out
    imbalanced = write_csv(tmp_path / "d.csv", [r for i, r in enumerate(ROWS * 4) if r[1] == "positive" or i < 12])
    assert "imbalance: " in check(capsys, "--data", imbalanced)[1]


def test_what_a_starting_bundle_does_not_know_is_told(tmp_path: Path, tiny_bundle: Bundle, capsys: CAPTURE) -> None:
    rows = [(f"Цена хорошая {i}", label) for i, (_, label) in enumerate(ROWS)]
    path = write_csv(tmp_path / "a.csv", rows)
    _, out, _ = check(capsys, "--data", path, "--from", tiny_bundle.path)
    assert re.search(rf"unknown words: (9\d|100)\.\d% of the tokens are not in .* {tiny_bundle.name}", out)
    assert "scripts: Cyrillic 66.7%, digits and marks 33.3%" in out
    assert re.search(rf"at most 3, .* longest 3; 0 have more than the \d+ that {tiny_bundle.name} reads", out)


@pytest.mark.parametrize("name", ["check", "run", "evaluate", "report"])
@pytest.mark.parametrize("kind", ["nothing", "folder", "FIFO", "URL", "empty"])
def test_what_is_no_file_ends_every_command_with_a_line(
    name: str, kind: str, tmp_path: Path, tiny_bundle: Bundle, capsys: CAPTURE
) -> None:
    path = tmp_path / "x.csv"
    match kind:
        case "folder":
            path.mkdir()
        case "FIFO":
            os.mkfifo(path)
        case "empty":
            path.touch()
    words: list[str | Path] = [] if name == "check" else ["--bundle", tiny_bundle.path]
    words = ["--out", tmp_path / "made"] if name == "run" else words
    data = "https://example.org/x.csv" if kind == "URL" else path
    assert command(name, "--data", data, *words) == 1
    errors = capsys.readouterr().err
    assert re.fullmatch(r"error: \S+: expected .*, found .*\n", errors), errors
    assert errors.count("https://") == (kind == "URL")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check",), "expected --data FILE, found none"),
        (("check", "--data", "x", "--delimiter", ";;"), "expected one character or `tab`, found ';;'"),
        (("check", "--data", "x", "--map-labels", "1"), "expected --map-labels OLD,OLD=NEW"),
        (("check", "--data", "x", "--no-header", "--text-column", "text"), "expected numbers of columns"),
    ],
)
def test_options_that_mean_nothing_are_told(words: tuple[str, ...], message: str, capsys: CAPTURE) -> None:
    assert command(*words) == 2
    assert message in capsys.readouterr().err


def test_labels_of_another_bundle_are_told_with_their_remedy(
    tmp_path: Path, tiny_bundle: Bundle, capsys: CAPTURE
) -> None:
    path = write_csv(tmp_path / "a.csv", [(text, str(EACH.keys() >= {label} and "01"[label == "positive"]))
                                          for text, label in ROWS])  # fmt: skip
    assert command("evaluate", "--bundle", tiny_bundle.path, "--data", path) == 1
    assert "found also 0, 1: --map-labels 0=negative renames one" in capsys.readouterr().err


def test_help_names_the_bundle_alone(capsys: CAPTURE) -> None:
    assert command("evaluate", "--help") == 0
    out = capsys.readouterr().out
    assert "--bundle" in out
    assert "--model" not in out
    assert sys.argv  # nothing was read of the process's own arguments
