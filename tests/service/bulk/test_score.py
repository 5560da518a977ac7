"""`ovation score`: all rows with the classifier's answers, whatever ends the run in between."""

import csv
import json
import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from service.bulk import tables
from service.model.classifier import Classifier
from service.model.sentences import sentences
from service.model.tokenizer import BlankText
from tests.support.server import make_app, serving
from tests.support.tables import CASES, ROWS
from tests.support.tabulated import ANSWER, answers, as_text, command, environment, score, written

PART, SHARD = 512, 16  # rows of a part, parts of a Parquet file
TEXTS = ["The film was wonderful.", 'He said "awful",\nand left.', "naïve 🙂\rand dull", "good " * 1000]


@pytest.fixture
def options(tiny_bundle_path: Path) -> list[str]:
    return ["--bundle", str(tiny_bundle_path), "--workers", "1"]


def write_rows(path: Path, texts: Sequence[str], name: str = "text") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", name), *((str(number), text) for number, text in enumerate(texts))])
    return path


def check_ok(done: subprocess.CompletedProcess[bytes], code: int = 0) -> str:
    assert done.returncode == code, done.stderr.decode()
    return done.stderr.decode()


# What is written


@pytest.mark.parametrize("name", ["out.csv", "out.tsv.gz", "out.jsonl", "out.parquet"])
def test_each_row_has_its_columns_and_the_classifiers_answer(
    name: str, tmp_path: Path, options: list[str], tiny_classifier: Classifier
) -> None:
    source = write_rows(tmp_path / "in.csv", [TEXTS[0], " ", *TEXTS[1:]])
    told = check_ok(score(source, tmp_path / name, *options), 4)
    rows = written(tmp_path / name)
    ids = ["0", "2", "3", "4"]
    expected = [
        {"id": i, "text": text, **answer}
        for i, text, answer in zip(ids, TEXTS, answers(tiny_classifier, TEXTS), strict=True)
    ]
    if name.startswith(("out.csv", "out.tsv")):
        expected = [as_text(row) for row in expected]
        assert float(rows[0]["score"]) == tiny_classifier([TEXTS[0]])[0].score
    assert rows == expected
    rejected = tmp_path / f"{name}.rejected.jsonl"
    assert json.loads(rejected.read_text()) == {"file": "in.csv", "line": 3, "reason": "no text"}
    assert "5 rows read, 4 written, 1 rejected" in told
    assert str(rejected) in told
    assert {path.name for path in tmp_path.iterdir()} == {"in.csv", name, rejected.name}


def test_every_kind_of_file_is_scored(tmp_path: Path, options: list[str], tiny_classifier: Classifier) -> None:
    """Those that need no option, in one folder; each row has the answer of its text."""
    folder = tmp_path / "in"
    counts = {
        case.write(folder / f"{number:03}"): sum(case.labels.values())
        for number, case in enumerate(CASES)
        if not (case.error or case.refused or case.options)
    }
    expected = sum(counts[path] for path in tables.tables_at(folder))
    done = score(folder, tmp_path / "out.jsonl", *options, "--prefix", "p_")
    assert done.returncode in (0, 4), done.stderr.decode()
    rows = written(tmp_path / "out.jsonl")
    # Without labels rows count whose label alone is bad.
    assert len(rows) >= expected > 1000
    texts = {text for text, _ in ROWS}
    known = dict(zip(texts, answers(tiny_classifier, list(texts)), strict=True))
    alike = 0
    for row in rows:
        if (text := row.get("text")) in known:
            assert {name: row[f"p_{name}"] for name in ANSWER} == known[text]
            alike += 1
    assert alike > 1000


def test_a_row_for_each_sentence(tmp_path: Path, options: list[str], tiny_classifier: Classifier) -> None:
    text = "The acting is superb. The plot was awful!\n<br<br />/> Never again."
    source = write_rows(tmp_path / "in.csv", [text, "Dull."])
    check_ok(score(source, tmp_path / "out.jsonl", *options, "--sentences", "--prefix", "its_"))
    rows = written(tmp_path / "out.jsonl")
    expected = []
    for start, end in sentences(text):
        try:
            [answer] = answers(tiny_classifier, [text[start:end]])
        except BlankText:
            continue
        expected.append((text[start:end], start, end, answer["label"], answer["score"]))
    names = ("its_sentence", "its_start", "its_end", "its_label", "its_score")
    assert [tuple(row[name] for name in names) for row in rows if row["id"] == "0"] == expected
    assert len(expected) >= 3
    assert [row["its_sentence"] for row in rows if row["id"] == "1"] == ["Dull."]


def test_pipes(options: list[str], tiny_classifier: Classifier) -> None:
    lines = b'{"text": "The film was wonderful.", "id": [7]}\nno JSON\n{"text": "awful"}\n'
    done = score("-", "-", *options, "--format", "jsonl", stdin=lines)
    told = check_ok(done, 4)
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {"text": TEXTS[0], "id": [7], **answers(tiny_classifier, [TEXTS[0]])[0]}
    assert second["label"] == tiny_classifier(["awful"])[0].label
    assert '{"file": "<stdin>", "line": 2, "reason": "invalid JSON"}' in told


def test_columns_of_json_that_come_late(tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "in.jsonl").write_text('{"text": "fine", "a": 1}\n' * PART + '{"text": "fine", "late": 2}\n')
    told = check_ok(score(tmp_path / "in.jsonl", tmp_path / "out.csv", *options), 4)
    assert "1 rejected" in told
    assert "write JSON lines" in (tmp_path / "out.csv.rejected.jsonl").read_text()
    check_ok(score(tmp_path / "in.jsonl", tmp_path / "out.jsonl", *options))
    assert written(tmp_path / "out.jsonl")[-1]["late"] == 2


# What is refused


def test_errors_name_the_remedy(tmp_path: Path, options: list[str]) -> None:
    good = write_rows(tmp_path / "good.csv", TEXTS)
    clash = tmp_path / "clash.csv"
    clash.write_text("text,label,score\nfine,a,b\n")
    (tmp_path / "none.csv").write_text("id,text\n")
    (tmp_path / "there.csv").write_text("kept")
    cases = [
        ((clash, tmp_path / "out.csv"), 1, "found label, score in the table, too: --prefix"),
        ((tmp_path / "none.csv", tmp_path / "out.csv"), 1, "none.csv: expected rows with texts, found none"),
        ((good, tmp_path / "there.csv"), 1, "--force replaces it"),
        ((good, tmp_path / "out.xlsx"), 1, "--format names one of"),
        ((good, tmp_path / "no" / "out.csv"), 1, f"found none at {tmp_path / 'no'}: make it"),
        ((good, "-", "--format", "parquet"), 1, "expected a folder for Parquet, found a pipe"),
        ((good, tmp_path / "out.csv", "--bundle", tmp_path / "nowhere"), 3, "--bundle or OVATION_MODEL"),
        ((good, tmp_path / "out.csv", "--url", "http://127.0.0.1:9"), 1, "--url http://127.0.0.1:9: expected"),
    ]
    running = [
        (subprocess.Popen(command(*a[:2], *options, *a[2:]), stderr=subprocess.PIPE, env=environment()), code, message)
        for a, code, message in cases
    ]
    for process, code, message in running:
        _, told = process.communicate(timeout=100)
        assert (process.returncode, message in told.decode()) == (code, True), told.decode()
        assert "Traceback" not in told.decode()
    assert (tmp_path / "there.csv").read_text() == "kept"
    assert not (tmp_path / "out.csv").exists()


def test_a_full_disk_is_told(tmp_path: Path, options: list[str]) -> None:
    source = write_rows(tmp_path / "in.csv", TEXTS)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(source, "-", *options), stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=100
        )
    assert done.returncode == 1
    assert (
        done.stderr.decode()
        .splitlines()[-1]
        .endswith("found: No space left on device: make room there, and start again")
    )


def test_a_table_that_changes_while_it_is_read_is_told(tmp_path: Path, options: list[str]) -> None:
    source = write_rows(tmp_path / "in.csv", [*_many(4 * PART)])
    process = subprocess.Popen(
        command(source, "-", *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert process.stdout
    assert process.stdout.read(1)
    # Now it writes more than the pipe takes, and so waits for a reader.
    with source.open("a") as file:
        file.write("7,one more\n")
    _, told = process.communicate(timeout=100)
    assert (process.returncode, "in.csv: expected a table that stays as it is" in told.decode()) == (1, True)


def test_with_force_a_finished_file_is_replaced(tmp_path: Path, options: list[str]) -> None:
    source = write_rows(tmp_path / "in.csv", TEXTS)
    (tmp_path / "out.csv").write_text("old")
    check_ok(score(source, tmp_path / "out.csv", *options, "--force"))
    assert len(written(tmp_path / "out.csv")) >= len(TEXTS)


def test_a_table_is_never_replaced_by_its_own_answers(tmp_path: Path, options: list[str]) -> None:
    source = write_rows(tmp_path / "in.csv", TEXTS)
    before = source.read_bytes()
    for read in (source, tmp_path):  # a folder of tables, too
        process = score(read, source, *options, "--force")
        assert "expected another OUT than IN" in check_ok(process, 1)
        assert source.read_bytes() == before


# Killed and resumed


def parts(out: Path) -> int:
    """How many parts the journal of an unfinished run has."""
    journal = out.with_name(f"{out.name}.partial") / "journal.json"
    return int(json.loads(journal.read_text())["parts"]) if journal.exists() else 0


@pytest.mark.parametrize(("name", "least"), [("out.csv.gz", 1), ("out.parquet", SHARD + 1)])
def test_a_killed_run_goes_on_byte_for_byte(name: str, least: int, tmp_path: Path, options: list[str]) -> None:
    """It is killed once so many parts are written: of Parquet some in a shard, some that wait for theirs."""
    count = SHARD + 8
    texts = [f"{text} In {number} days." if number % 97 else " " for number, text in enumerate(_many(count * PART))]
    source = write_rows(tmp_path / "in.csv", texts)
    check_ok(score(source, tmp_path / f"whole.{name}", *options), 4)
    out = tmp_path / name
    process = subprocess.Popen(command(source, out, *options), stderr=subprocess.DEVNULL, env=environment())
    while parts(out) < least:
        assert process.poll() is None
    process.kill()
    process.wait()
    before = parts(out)
    assert least <= before < count
    if name == "out.csv.gz":
        told = check_ok(score(source, out, *options, "--encoding", "utf-8"), 1)
        assert "with another reading: --force starts over" in told
    told = check_ok(score(source, out, *options), 4)
    assert f"going on after {before * PART:,} rows" in told
    assert contents(out) == contents(tmp_path / f"whole.{name}")
    rejected = [path.with_name(f"{path.name}.rejected.jsonl") for path in (out, tmp_path / f"whole.{name}")]
    assert rejected[0].read_bytes() == rejected[1].read_bytes()


def contents(out: Path) -> list[tuple[str, bytes]]:
    """The bytes of a file, or of each in a folder."""
    if out.is_file():
        return [("", out.read_bytes())]
    return [(path.name, path.read_bytes()) for path in sorted(out.iterdir())]


def _many(count: int) -> Iterator[str]:
    for number in range(count):
        yield ROWS[number % len(ROWS)][0]


class Gated:
    """The service behind an ASGI wrapper that counts the texts of batches, and answers none while it is closed."""

    def __init__(self, classifier: Classifier, after: int) -> None:
        self._app = make_app(classifier)
        self._after = after  # texts
        self.texts = Counter[str]()
        self.closed = threading.Event()
        self.refusals = 3  # of the first batches, with 429

    @contextmanager
    def serving(self) -> Iterator[str]:
        with serving(self) as url:  # type: ignore[arg-type]
            yield url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/predict/batch":
            await self._app(scope, receive, send)
            return
        if self.refusals:
            self.refusals -= 1
            await _refuse(send, 429)
            return
        if self._after is not None and self.texts.total() >= self._after:
            self.closed.set()
            await _refuse(send, 503)
            return
        body = bytearray()

        async def reading() -> Any:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        await self._app(scope, reading, send)
        self.texts.update(json.loads(bytes(body))["texts"])

    def open(self) -> None:
        self._after = 10**9


async def _refuse(send: Send, status: int) -> None:
    headers = [(b"retry-after", b"0"), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def test_a_service_that_refuses_and_stops_and_a_run_that_is_killed(tmp_path: Path, tiny_classifier: Classifier) -> None:
    texts = [f"{text} In {number} days." for number, text in enumerate(_many(8 * PART))]
    source, out = write_rows(tmp_path / "in.csv", texts), tmp_path / "out.jsonl"
    gated = Gated(tiny_classifier, after=5 * PART)
    with gated.serving() as url:
        arguments = (source, out, "--url", url, "--workers", "1")
        process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, env=environment())
        assert gated.closed.wait(60)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 143, told.decode()
        assert "the same command goes on" in told.decode()
        gated.open()
        check_ok(score(*arguments))
    rows = written(out)
    assert [row["id"] for row in rows] == [str(number) for number in range(len(texts))]
    assert [row["score"] for row in rows[::37]] == [tiny_classifier([text])[0].score for text in texts[::37]]
    twice = [text for text, count in gated.texts.items() if count > 1]
    assert set(gated.texts) == set(texts)
    assert len(twice) <= 2 * PART  # what one process has in work


def test_the_processes_end_with_their_parent(tmp_path: Path, tiny_classifier: Classifier) -> None:
    source = write_rows(tmp_path / "in.csv", list(_many(2 * PART)))
    gated = Gated(tiny_classifier, after=PART)
    with gated.serving() as url:
        arguments = command(source, tmp_path / "out.csv", "--url", url, "--workers", "2")
        read, write = os.pipe()
        process = subprocess.Popen(arguments, stderr=write, env=environment())
        os.close(write)
        assert gated.closed.wait(60)
        process.kill()
        process.wait()
        with open(read, "rb") as errors:
            errors.read()  # ends when nobody has the pipe any more
