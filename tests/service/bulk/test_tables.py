"""The reader of tables, on files as people have them."""

import contextlib
import gzip
import io
import itertools
import os
import re
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.bulk import tables
from service.bulk.tables import BadRow, Reading, Row, TableError, Tally
from tests.support.tables import CASES, COUNT, EACH, ROWS, Case, objects, table
from tests.support.tables import lines as json_lines


def reading_of(case: Case) -> Reading:
    options = case.options
    return Reading(
        text=options.get("text-column"),
        label=options.get("label-column"),
        encoding=options.get("encoding"),
        delimiter=options.get("delimiter"),
        quoting=options.get("quoting"),  # type: ignore[arg-type]
        header="no-header" not in options,
    )


def read(path: Path, reading: Reading = tables.JUDGED) -> tuple[list[Row], list[str]]:
    """The rows that can be used, and all that there is to tell."""
    notes, bad = Tally(), Tally()
    rows = []
    for row in tables.read(path, reading, notes=notes):
        if isinstance(row, BadRow):
            bad.add(row.reason, row.place)
        else:
            rows.append(row)
    return rows, [*bad.lines(), *notes.lines()]


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case.name}" for i, case in enumerate(CASES)])
def test_every_kind_of_file(case: Case, tmp_path: Path) -> None:
    path = case.write(tmp_path)
    if case.error:
        # Of a tar only the training command tells what is in it: it knows one.
        message = "found a tar archive: unpack it" if "found a tar" in case.error else case.error
        with pytest.raises(TableError, match=message):
            read(path, reading_of(case))
        return
    rows, told = read(path, reading_of(case))
    assert Counter(row.label for row in rows) == case.labels
    for expected in case.told:
        assert any(re.search(expected, line) for line in told), (expected, told)
    if rows:
        assert rows[0].text == (case.first or ROWS[0][0])
        assert [row.line for row in rows] == sorted({row.line for row in rows}), "each has its place"


def test_all_columns_stay_with_their_names(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,Text,label,,note,note\n7,fine,1,x,one,two\n")
    [row] = tables.read(path)
    assert isinstance(row, Row)
    assert row.values == {"id": "7", "Text": "fine", "label": "1", "": "x", "note": "one", "note.1": "two"}
    assert (row.place, row.text, row.label) == ("a.csv:2", "fine", "1")


def test_without_labels_other_columns_tell_a_row_from_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,text\n1,"Good\n' + "".join(f"{i},so so\n" for i in range(2, 40)) + '40,he said "fine"\n')
    rows = list(tables.read(path, labelled=False))
    assert [row.text for row in rows if isinstance(row, Row)][:2] == ['"Good', "so so"]
    assert len(rows) == 40


def test_texts_alone_need_no_label(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("review\nfine\n" * 1 + "good\n")
    assert [row.text for row in tables.read(path, labelled=False) if isinstance(row, Row)] == ["fine", "good"]
    with pytest.raises(TableError, match="label not found among review"):
        list(tables.read(path))


def test_json_strings_alone_are_texts(tmp_path: Path) -> None:
    for name, content in (("a.json", '["fine", "good"]'), ("a.jsonl", '"fine"\n"good"\n')):
        (tmp_path / name).write_text(content)
        rows = list(tables.read(tmp_path / name, labelled=False))
        assert [(row.text, row.values) for row in rows if isinstance(row, Row)] == [
            ("fine", {"text": "fine"}),
            ("good", {"text": "good"}),
        ]


def test_json_objects_in_one_line_are_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}{"text": "good"} {"text": "so so"}\n{"text": "x"}{"te\n')
    rows = list(tables.read(tmp_path / "a.jsonl", labelled=False))
    assert [(row.line, row.text if isinstance(row, Row) else row.reason) for row in rows] == [
        (1, "fine"),
        (1, "good"),
        (1, "so so"),
        (2, "invalid JSON"),
    ]


def test_a_quoted_blank_text_is_a_row_and_an_empty_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text\nfine\n""\n\n" "\ngood\n')
    rows = list(tables.read(path, labelled=False))
    assert [(row.line, row.text if isinstance(row, Row) else row.reason) for row in rows] == [
        (2, "fine"),
        (3, "no text"),
        (5, "no text"),
        (6, "good"),
    ]


def test_a_folder_is_its_tables_in_order(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "b.jsonl").write_bytes(json_lines(objects()))
    (tmp_path / "a.csv").write_text(table())
    for other in ("README.md", ".hidden.csv"):
        (tmp_path / other).write_text("nothing")
    assert tables.tables_at(tmp_path) == [tmp_path / "a.csv", tmp_path / "part" / "b.jsonl"]
    rows, told = read(tmp_path)
    assert [row.file for row in rows] == ["a.csv"] * COUNT + ["b.jsonl"] * COUNT
    assert any("files that are no tables, not read: 1 (README.md)" in line for line in told)


def test_a_zip_is_its_tables_in_order(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("two.csv.gz", gzip.compress(table().encode()))
        archive.writestr("one.csv", table())
        archive.writestr("notes.pdf", b"%PDF")
    rows, told = read(tmp_path / "a.zip")
    assert Counter(row.file for row in rows) == {"a.zip/one.csv": COUNT, "a.zip/two.csv.gz": COUNT}
    assert any("notes.pdf" in line for line in told)


def made_odd(folder: Path, kind: str) -> Path:
    path = folder / "x.csv"
    match kind:
        case "folder":
            path.mkdir()
        case "folder of others":
            path.mkdir()
            (path / "a.txt").write_text("text")
        case "FIFO":
            os.mkfifo(path)
        case "loop":
            path.symlink_to(path)
        case "URL":
            return Path("https://example.org/x.csv")
        case "device":
            return Path("/dev/null")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nothing", "x.csv: expected a file or folder of reviews, found nothing: check the path"),
        ("folder", "expected a folder with tables .*, found an empty folder"),
        ("folder of others", "expected a folder with tables .*, found a.txt"),
        ("FIFO", "expected a file, found a FIFO .*: data is read more than once"),
        ("loop", "expected a readable file, found"),
        ("URL", r"^https://example\.org/x\.csv: expected a file .*, found a URL: download it first"),
        ("device", "expected a file, found a device"),
    ],
)
def test_what_is_no_file_is_told(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=message):
        read(made_odd(tmp_path, kind))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(table())
    (tmp_path / "x.csv").chmod(0)
    with pytest.raises(TableError, match="expected a readable file, found"):
        read(tmp_path / "x.csv")


def test_what_an_extra_would_read_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "python_calamine"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1....PAR1")
    (tmp_path / "a.xls").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    for name, extra in (("a.parquet", "tables"), ("a.xls", "excel")):
        with pytest.raises(
            TableError, match=rf"expected the extra `{extra}` .*: pip install '\.\[{extra}\]' in .* elsewhere"
        ):
            read(tmp_path / name)


def workbook(path: Path, sheets: dict[str, list[list[str | float | None]]]) -> Path:
    """A small .xlsx, written by hand: the tests need no library that writes one."""
    names = list(sheets)
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{package}/content-types"/>')
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r" Type="{relation}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{relation}"><sheets>'
            + "".join(f'<sheet name="{n}" sheetId="{i}" r:id="r{i}"/>' for i, n in enumerate(names, 1))
            + "</sheets></workbook>",
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships">'
            + "".join(
                f'<Relationship Id="r{i}" Type="{relation}/worksheet" Target="worksheets/s{i}.xml"/>'
                for i in range(1, len(names) + 1)
            )
            + "</Relationships>",
        )
        for number, rows in enumerate(sheets.values(), 1):
            cells = "".join(
                f'<row r="{r}">' + "".join(_cell(f"{chr(65 + c)}{r}", value) for c, value in enumerate(row)) + "</row>"
                for r, row in enumerate(rows, 1)
            )
            archive.writestr(
                f"xl/worksheets/s{number}.xml", f'<worksheet xmlns="{main}"><sheetData>{cells}</sheetData></worksheet>'
            )
    return path


def _cell(place: str, value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


def test_a_workbook_is_the_sheets_that_have_the_columns(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine", reason="the extra `excel` is not installed: Excel files are not tested")
    texts: list[list[str | float | None]] = [[text, 5.0] for text, _ in ROWS]
    rows: list[list[str | float | None]] = [[], ["Review", "Stars"], *texts, [None, None]]
    path = workbook(tmp_path / "a.xlsx", {"Reviews": rows, "About": [["made by"], ["me"]], "Empty": []})
    found, told = read(path)
    assert [(row.text, row.label) for row in found] == [(text, "5") for text, _ in ROWS]
    assert found[0].place == "a.xlsx[Reviews]:3"
    assert list(found[0].values) == ["Review", "Stars"]
    assert any("sheets without the columns, not read: 1 (a.xlsx[About])" in line for line in told)
    (tmp_path / "b.xlsx").write_bytes(path.read_bytes()[:300])
    with pytest.raises(TableError, match=r"found a damaged one|found it damaged"):
        read(tmp_path / "b.xlsx")


class Pipe(io.RawIOBase):
    """A table that is written while it is read."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts, self._left = parts, b""
        self.given = 0  # bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while len(self._left) < len(buffer) and (part := next(self._parts, None)) is not None:
            self._left += part
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        self.given += count
        return count


@pytest.mark.parametrize("kind", ["csv", "quoted", "array"])
def test_a_pipe_is_read_only_a_little_ahead(kind: str) -> None:
    count = 15_000
    row = {"csv": b"%d,0\n", "quoted": b'"%d ""is"" it,\nyes",0\n', "array": b'{"text": "%d", "label": 0},\n'}[kind]
    start, end = (b"[", b'{"text": "x", "label": 1}]') if kind == "array" else (b"text,label\n", b"x,1\n")
    parts = itertools.chain([start], (row % (i + 10**150) for i in range(count)), [end])
    pipe, read_so_far, found = Pipe(parts), 0, 0
    for made in tables.read(io.BufferedReader(pipe)):
        assert isinstance(made, Row)
        read_so_far += len(made.text)
        found += 1
        assert pipe.given < 1.5 * read_so_far + 2**20
    assert found == count + 1
    assert pipe.given > 2**21


@settings(deadline=None, max_examples=80)
@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from("ab\"'\\,;\t\n .é<|"), max_size=12).map(lambda text: f"x{text}x"),
            st.sampled_from(["neg", "pos"]),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_whatever_the_csv_module_writes_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], end: str, quote_all: bool
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    content = table(rows, end=end)
    if quote_all:
        content = "".join(f'"{text.replace(chr(34), 2 * chr(34))}","{label}"{end}' for text, label in rows)
        content = f"text,label{end}{content}"
    path.write_bytes(content.encode())
    found, _ = read(path)
    assert [(row.text, row.label) for row in found] == rows


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=300), st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.json", "a.zip", "a.gz", "a.parquet"]))
def test_nothing_but_its_own_error_comes_of_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("any") / name
    for start in (b"", b"text,label\n", b'{"text": ', b"["):
        path.write_bytes(start + content)
        with contextlib.suppress(TableError):
            read(path)


def test_labels_of_a_sorted_file_are_known_when_they_come(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    late = '"Good,pos\n' + "".join(f"fine {i},pos\n" for i in range(30)) + '"great" ending,pos\n'
    path.write_text("text,label\n" + "".join(f"bad {i} {'-' * 60},neg\n" for i in range(5_000)) + late)
    assert Counter(row.label for row in read(path)[0]) == {"neg": 5_000, "pos": 32}
    assert EACH.keys() == {"negative", "positive"}
