"""Files as people have them, each of the same made-up reviews, and what is right for each."""

import csv
import gzip
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

_THINGS = ("lamp", "kettle", "chair", "tent", "radio")
_WORDS = {"negative": ("leaks", "broke", "is useless"), "positive": ("is great", "works well", "is lovely")}
COUNT = 60
EACH = {"negative": 30, "positive": 30}
ROWS = [
    (f"The {_THINGS[i % 5]} {_WORDS[label][i % 3]}, I say, after {i} days.", label)
    for i in range(COUNT)
    for label in [("negative", "positive")[i % 2]]
]


@dataclass(frozen=True)
class Case:
    """A file, and what reading it gives."""

    name: str
    content: bytes
    labels: dict[str, int] = field(default_factory=dict)  # of the rows that can be used
    told: tuple[str, ...] = ()  # regular expressions, each of something that is told
    error: str = ""  # a regular expression: the file cannot be read
    refused: str = ""  # a regular expression: it can, but no run could begin
    options: dict[str, str] = field(default_factory=dict)  # as the command names them; "" for flags
    first: str = ""  # the first text, where it is not that of ROWS

    @property
    def arguments(self) -> list[str]:
        """The options as words of a command."""
        return [word for name, value in self.options.items() for word in (f"--{name}", value) if word]

    def write(self, folder: Path) -> Path:
        """The file."""
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)
        return path


def table(
    rows: list[tuple[Any, ...]] = ROWS,
    header: tuple[str, ...] | None = ("text", "label"),
    delimiter: str = ",",
    end: str = "\n",
    quoted: bool = True,
) -> str:
    """A table as the csv module writes it, or with nothing quoted."""
    lines = [*([header] if header else []), *rows]
    if not quoted:
        return "".join(delimiter.join(map(str, line)) + end for line in lines)
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, lineterminator=end).writerows(lines)
    return written.getvalue()


def objects(text: str = "text", label: str = "label", labels: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """The rows as JSON objects; `labels` gives each label's value."""
    return [{text: words, label: (labels or {}).get(name, name)} for words, name in ROWS]


def lines(values: list[Any]) -> bytes:
    """JSON lines."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


def _packed(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, content)
        file.writestr("__MACOSX/._" + name, b"\0\1\2")
    return archive.getvalue()


def _tarred(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as file:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        file.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _parquet(columns: dict[str, list[Any]]) -> bytes:
    written = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), written)
    return written.getvalue()


SHORT = "".join(f"bad {i},0\nfine {i},1\n" for i in range(20))
_ALSO = "".join(f"dull {i},0\nnice {i},1\n" for i in range(10))
_SHORT_EACH = {"0": 30, "1": 30}
_ACCENTS = [
    (text + (" caf\xe9 \u2019tr\xe8s bien\u2019" if i % 3 == 0 else ""), label) for i, (text, label) in enumerate(ROWS)
]
_PARAGRAPHS = [(f"{text}\n\nPros: light, cheap\nCons: none, really", label) for text, label in ROWS]
_MIXED_ENDS = "".join(line + ("\n", "\r\n", "\r")[i % 3] for i, line in enumerate(table().splitlines()))
_NESTED = [{"review": {"text": text}, "meta": {"label": label}} for text, label in ROWS]
_TWEETS = [
    ("04"[label == "positive"], 1000 + i, "Mon May 11", "NO_QUERY", "me", text) for i, (text, label) in enumerate(ROWS)
]
_CSV = table().encode()
_LITERAL = "quotes that enclose no cell, read as text: {}"


def _quoted(line: str, more: dict[str, int], told: str = "", first: str = "bad 0", name: str = "quote.csv") -> Case:
    """A short table with one odd line in its middle; `more` are the labels of that line."""
    labels = {label: count + more.get(label, 0) for label, count in _SHORT_EACH.items()}
    content = f"text,label\n{SHORT}{line}\n{_ALSO}"
    return Case(name, content.encode(), labels, (told,) if told else (), first=first)


QUOTES = [
    _quoted('"Good,1', {"1": 1}, _LITERAL.format(r"1 \(quote.csv:42\)")),
    _quoted('"12" pan arrived bent,0', {"0": 1}, _LITERAL.format(1)),
    _quoted('"never closed,0', {"0": 1}, _LITERAL.format(1)),
    _quoted('"Good,1\nfine,1\n"great" ending,1', {"1": 3}, _LITERAL.format(2)),
    _quoted('"Good,1\nfine,1\nhe said ""so"",1', {"1": 3}, _LITERAL.format(1)),
    _quoted('"Good,1\nbad,0\nhe said "fine",1', {"0": 1, "1": 2}, _LITERAL.format(1)),
    _quoted(r'"He said \"meh, fine\" to me",0', {"0": 1}, "quotes inside of quoted cells"),
    _quoted('"He said ""meh, fine"" to me",0', {"0": 1}),
    _quoted('5" pan, not 6",0'.replace(", ", " "), {"0": 1}),
    _quoted('"Two lines,\nboth, of ""one"" cell",1', {"1": 1}),
    _quoted('"He said ""so"",\nand left",1', {"1": 1}),
    _quoted('"Good, really.\nI paid 3,0\nfor it",1', {"1": 1}),
    _quoted('"a, b",1,', {"1": 1}, "empty cells beyond the last column"),
    _quoted(",", {}, "empty rows, not read"),
    _quoted("one, two, three,1", {}, r"wrong number of columns \(expected 2, found 4\).*: 1 \(quote.csv:42\)"),
    Case(
        "first.csv",
        f'text,label\n"Good,1\n{SHORT}"great" ending,1\n{_ALSO}'.encode(),
        {"0": 30, "1": 32},
        (_LITERAL.format(2),),
        first='"Good',
    ),
    Case(
        "label-first.csv",
        (
            'label,text\n1,"Good\n' + "".join(f"0,bad {i}\n1,fine {i}\n" for i in range(30)) + '1,he said "fine"\n'
        ).encode(),
        {"0": 30, "1": 32},
        (_LITERAL.format(1),),
        first='"Good',
    ),
    Case(  # the line after an unclosed quote is a record; the one with the quote has too many cells to be told apart
        "between.csv",
        (
            "id,text,label,\n"
            + "".join(f'{i},"bad, {i}",0,\n{i},"fine, {i}",1,\n' for i in range(30))
            + '30,"one, two,0,\n31,"three, four",1,\n32,"bad, 32",0,\n'
        ).encode(),
        {"0": 31, "1": 31},
        (r"wrong number of columns \(expected 4, found 2\).*: 1 \(between.csv:62\)",),
        first="bad, 0",
    ),
    Case(
        "label-first-paragraphs.csv",
        table([(label, text) for text, label in _PARAGRAPHS], ("label", "text")).encode(),
        EACH,
        first=_PARAGRAPHS[0][0],
    ),
    Case("paragraphs.csv", table(_PARAGRAPHS).encode(), EACH, first=_PARAGRAPHS[0][0]),
    Case("paragraphs-crlf.csv", table(_PARAGRAPHS, end="\r\n").encode(), EACH, first=_PARAGRAPHS[0][0]),
    Case(
        "never.csv",
        ("text,label\n" + "".join(f'"bad {i},0\n"fine {i},1\n' for i in range(30))).encode(),
        _SHORT_EACH,
        (_LITERAL.format(60),),
        first='"bad 0',
    ),
    Case(
        "quotes.tsv",
        (
            'text\tlabel\n"Good\t1\n' + SHORT.replace(",", "\t") + '"great" ending\t1\n' + _ALSO.replace(",", "\t")
        ).encode(),
        {"0": 30, "1": 32},
        ("cells that begin with a quote.*--quoting csv.*: 2",),
        first='"Good',
    ),
    Case(
        "insisted.csv",
        f'text,label\n"Good",1\n{SHORT}{_ALSO}'.encode(),
        {"0": 30, "1": 31},
        first='"Good"',
        options={"quoting": "none"},
    ),
    Case(
        "insisted.tsv",
        table(_PARAGRAPHS, delimiter="\t").encode(),
        EACH,
        first=_PARAGRAPHS[0][0],
        options={"quoting": "csv"},
    ),
]
ENCODINGS = [
    Case(
        "cp1252.csv",
        table(_ACCENTS).encode("cp1252"),
        error=r"expected UTF-8, found 20 of 61 lines .* first at cp1252.csv:2; cp1252 fits: --encoding cp1252",
    ),
    Case(
        "cp1252-all.csv",
        table([(f"{text} caf\xe9", label) for text, label in ROWS], delimiter=";").encode("cp1252"),
        error="60 of 61 lines .*cp1252 fits: --encoding cp1252",
    ),
    Case(  # no letter beyond ASCII
        "cp1252-typography.csv",
        table([(f"It\u2019s \u201c{text}\u201d \u2013 isn\u2019t it\u2026", label) for text, label in ROWS]).encode(
            "cp1252"
        ),
        error="60 of 61 lines .*cp1252 fits: --encoding cp1252",
    ),
    Case(
        "mac-roman.csv",
        table([(f"It\u2019s \u201c{text}\u201d, very tr\xe8s bien", label) for text, label in ROWS]).encode(
            "mac-roman"
        ),
        error="60 of 61 lines .*mac-roman fits: --encoding mac-roman",
    ),
    Case(
        "cp1252-insisted.csv",
        table(_ACCENTS).encode("cp1252"),
        EACH,
        options={"encoding": "cp1252"},
        first=_ACCENTS[0][0],
    ),
    Case(
        "russian.csv",
        table([(f"Очень хорошо сделано {i}", label) for i, (_, label) in enumerate(ROWS)]).encode("cp1251"),
        error="cp1251 fits: --encoding cp1251",
    ),
    Case(
        "japanese.csv",
        table([(f"とても良い映画でした。{i}", label) for i, (_, label) in enumerate(ROWS)]).encode("cp932"),
        error="cp932 fits: --encoding cp932",
    ),
    Case(
        "mixed.csv",
        ("text,label\n" + table(_ACCENTS, None)).encode() + "caf\xe9,positive\n".encode("latin-1"),
        error="found 1 of 62 lines .* mixed.csv:62; .*other lines are UTF-8.*--encoding utf-8",
    ),
    Case(
        "damaged.csv",
        table(_ACCENTS).encode() + b"caf\xe9,positive\n",
        EACH,
        ("bad encoding: 1",),
        options={"encoding": "utf-8"},
        first=_ACCENTS[0][0],
    ),
    Case("unmarked.csv", _CSV.decode().encode("utf-16-le"), error="UTF-16 without a mark: --encoding utf-16-le"),
    Case("utf16.csv", _CSV.decode().encode("utf-16"), EACH),
    Case(
        "unicode-text.txt",
        table(_ACCENTS, delimiter="\t", quoted=False, end="\r\n").encode("utf-16"),
        EACH,
        ("delimiter tab",),
        first=_ACCENTS[0][0],
    ),
    Case("utf32.csv", _CSV.decode().encode("utf-32"), EACH),
    Case("marked.csv", b"\xef\xbb\xbf" + _CSV, EACH),
    Case("marked.jsonl", b"\xef\xbb\xbf" + lines(objects()), EACH),
    Case("unheard-of.csv", _CSV, error="expected an encoding that Python knows", options={"encoding": "cp9999"}),
    Case("nul.csv", _CSV.replace(b"lamp", b"la\0mp"), EACH, ("NUL characters removed",)),
]
FORMS = [
    Case("plain.csv", _CSV, EACH),
    Case("UPPER.CSV", _CSV, EACH),
    Case("cr.csv", table(end="\r").encode(), EACH),
    Case("mixed-ends.csv", _MIXED_ENDS.encode(), EACH),
    Case("header-ends-in-cr.csv", _CSV.replace(b"\n", b"\r", 3), EACH),
    Case("odd-header.csv", b'"a\rb",x\ry\r\n' + _CSV, error="(?s)not found among .*line 2 looks like the header"),
    Case(
        "put-together.csv",
        _CSV + b"\xef\xbb\xbf" + _CSV,
        {"negative": 60, "positive": 60},
        (r"repeat the column names, not read: 1 \(put-together.csv:62\)",),
    ),
    Case("titled.csv", b"Report,\n" + _CSV, error="not found among .*line 2 looks like the header: remove"),
    Case("commas.jsonl", lines(objects()).replace(b"}\n", b"},\n"), EACH),
    Case("sequence.jsonl", lines(objects()).replace(b"{", b"\x1e{"), EACH),
    Case("mixed-ends.jsonl", lines(objects()).replace(b"\n", b"\r", 3), EACH),
    Case(
        "paragraphs.tsv",
        table(_PARAGRAPHS, delimiter="\t").encode(),
        EACH,
        ("between tabs, too, quotes enclose cells",),
        first=_PARAGRAPHS[0][0],
    ),
    Case("caret-unnamed.csv", table(delimiter="^", quoted=False).encode(), error="not found among .*--delimiter"),
    Case("index.csv", table([(i, *row) for i, row in enumerate(ROWS)], ("", "text", "label")).encode(), EACH),
    Case("caps.csv", table(header=("Text", "LABEL")).encode(), EACH, ("column Text is taken for text", "LABEL")),
    Case(
        "spaces.csv",
        "".join(["text, label\n", *(f'"{text}", {label}\n' for text, label in ROWS)]).encode(),
        EACH,
        ("blanks around column names",),
    ),
    Case(
        "blanks-in-labels.csv",
        table([(text, f" {label} ") for text, label in ROWS]).encode(),
        EACH,
        ("blanks around labels, left out: 60",),
    ),
    Case(
        "blanks-before.csv",
        "".join(["label, text\n", *(f'{label}, "{text}"\n' for text, label in ROWS)]).encode(),
        EACH,
    ),
    Case(
        "semicolon.csv",
        table([(text, label, "3,50") for text, label in ROWS], ("text", "label", "price"), ";").encode(),
        EACH,
        ('delimiter ";"',),
    ),
    Case("pipe.csv", table(delimiter="|", quoted=False).encode(), EACH, (r'delimiter "\|"',)),
    Case("tabs.csv", table(delimiter="\t", quoted=False).encode(), EACH, ("delimiter tab",)),
    Case(
        "sep.csv",
        b"sep=;\r\n" + table(delimiter=";", end="\r\n").encode(),
        EACH,
        ('first line names the delimiter ";"',),
    ),
    Case("caret.csv", table(delimiter="^", quoted=False).encode(), EACH, options={"delimiter": "^"}),
    Case("trailing.csv", table([(*row, "") for row in ROWS], ("text", "label", "")).encode(), EACH),
    Case("blank-lines.csv", b"\n\n" + _CSV.replace(b"\n", b"\n\n"), EACH),
    Case("gz.csv.gz", gzip.compress(_CSV), EACH),
    Case("lies.csv", gzip.compress(_CSV), EACH),
    Case("reviews.zip", _packed("reviews.csv", _CSV), EACH),
    Case("zipped.csv", _packed("reviews.jsonl", lines(objects())), EACH),
    Case("mine.tar.gz", _tarred("reviews.csv", _CSV), error="found a tar of reviews.csv: unpack it"),
    Case("tarred.csv", _tarred("reviews.csv", _CSV), error="found a tar of reviews.csv: unpack it"),
    Case("array.json", json.dumps(objects()).encode(), EACH),
    Case("array.jsonl", json.dumps(objects()).encode(), EACH),
    Case("pretty.jsonl", json.dumps(objects(), indent=1).encode(), EACH),
    Case("pretty-objects.json", "\n".join(json.dumps(row, indent=2) for row in objects()).encode(), EACH),
    Case("wrapped.json", json.dumps({"version": 1, "data": objects()}).encode(), EACH),
    Case("unnamed.txt", lines(objects()), EACH),
    Case(
        "columns.json",
        json.dumps({"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}}).encode(),
        error="one object that holds whole columns: write rows",
    ),
    Case("cut.json", json.dumps(objects()).encode()[:-60], error=r"cut.json:1: expected a whole JSON array, found it"),
    Case("rows.parquet", _parquet({"text": [t for t, _ in ROWS], "label": [n for _, n in ROWS]}), EACH),
    Case("named-wrongly.csv", _parquet({"text": [t for t, _ in ROWS], "label": [n for _, n in ROWS]}), EACH),
    Case("rubbish.parquet", b"rubbish", error=r"expected what \.parquet stands for"),
    Case("rubbish.csv.gz", b"\x1f\x8brubbish", error="expected a readable file, found a damaged one"),
    Case("picture.csv", b"\x89PNG\r\n\x1a\n", error="found a picture"),
    Case("binary.csv", bytes(range(256)) + bytes(400), error="found binary data|UTF-16"),
    Case("arrays.json", json.dumps(ROWS).encode(), error="expected JSON objects .*, found arrays"),
    Case("no-rows.json", b"[]", error="expected JSON objects .*, found none"),
    Case("long.jsonl", lines(objects()) + b" " * 2**25, error=r"long\.jsonl:61: expected lines of at most"),
    Case("empty.csv", b"", error="found an empty file"),
    Case("empty.csv.gz", gzip.compress(b""), error="found an empty file"),
    Case("empty.zip", b"PK\5\6" + bytes(18), error="expected a zip of tables .*, found nothing"),
    Case("blank.csv", b"\n \n\n", error="found only blank lines"),
    Case("header.csv", b"text,label\n", refused="found 0: none; no rows were found"),
]
COLUMNS = [
    Case(
        "twice.csv",
        table([(*row, "x") for row in ROWS], ("text", "label", "label")).encode(),
        error="expected one column label, found 2: label and label, columns 2 and 3",
    ),
    Case(
        "twice-in-case.csv",
        table([(*row, "x") for row in ROWS], ("text", "Label", "LABEL")).encode(),
        error="found 2: Label and LABEL, columns 2 and 3",
    ),
    Case(
        "unmeant-twice.csv", table([(*row, "x", "y") for row in ROWS], ("text", "label", "note", "note")).encode(), EACH
    ),
    Case(
        "title.csv",
        table([(text[:9], text[9:], label) for text, label in ROWS], ("title", "body", "label")).encode(),
        EACH,
        options={"text-column": "title,body"},
        first=f"{ROWS[0][0][:9]}\n{ROWS[0][0][9:]}",
    ),
    Case(
        "title-unread.csv",
        table([("Oh", *row) for row in ROWS], ("title", "body", "label")).encode(),
        EACH,
        ("text is guessed to be in the column body", "title is not read: --text-column title,body joins"),
    ),
    Case(
        "ambiguous.csv",
        table([(text, text, label) for text, label in ROWS], ("review", "comment", "label")).encode(),
        error="found 2: --text-column review or --text-column comment",
    ),
    Case(
        "two-labels.csv",
        table([(*row, 1) for row in ROWS], ("text", "sentiment", "rating")).encode(),
        error="found 2: --label-column sentiment or --label-column rating",
    ),
    Case("imdb.csv", table(header=("review", "sentiment")).encode(), EACH, ("column review", "column sentiment")),
    Case(
        "units.csv",
        table([(text, 3, label) for text, label in ROWS], ("Review (en)", "Price (EUR)", "Class")).encode(),
        EACH,
        (r"column Review \(en\)", "column Class"),
    ),
    Case(
        "sst.tsv",
        table(header=("sentence", "label"), delimiter="\t", quoted=False).encode(),
        EACH,
        ("column sentence",),
    ),
    Case(
        "unknown.csv",
        table(header=("says", "thinks")).encode(),
        error="text not found among says, thinks: name yours with --text-column",
    ),
    Case(
        "tweets.csv",
        table(_TWEETS, None).encode(),
        error="first row looks like data.*--no-header .*--text-column 6 --label-column 1",
    ),
    Case(
        "tweets-numbered.csv",
        table(_TWEETS, None).encode(),
        {"0": 30, "4": 30},
        options={"no-header": "", "text-column": "6", "label-column": "1"},
    ),
    Case(
        "unnumbered.csv",
        table(header=None).encode(),
        error="expected column numbers with --no-header",
        options={"no-header": ""},
    ),
    Case("nested.jsonl", lines(_NESTED), EACH, options={"text-column": "review.text", "label-column": "meta.label"}),
    Case("nested-unnamed.jsonl", lines(_NESTED), EACH, (r"column review\.text", r"column meta\.label")),
    Case(
        "struct.parquet",
        _parquet({"review": [{"text": t} for t, _ in ROWS], "label": [n for _, n in ROWS]}),
        EACH,
        options={"text-column": "review.text"},
    ),
]
CELLS = [
    Case(
        "stars.jsonl",
        lines(objects("reviewText", "overall", {"negative": 1.0, "positive": 5})),
        {"1": 30, "5": 30},
        ("column reviewText", "column overall"),
    ),
    Case(
        "stars-mixed.jsonl",
        lines([{"text": text, "stars": (i % 2 * 4 + 1) * (1 if i % 3 else 1.0)} for i, (text, _) in enumerate(ROWS)]),
        {"1": 30, "5": 30},
    ),
    Case(
        "numbers.csv",
        table([(text, ("-1", "1.0", "-1.0", "1")[i % 4]) for i, (text, _) in enumerate(ROWS)]).encode(),
        {"-1": 30, "1": 30},
    ),
    Case(
        "german.csv",
        table([(text, ("1,0", "5,0")[i % 2]) for i, (text, _) in enumerate(ROWS)], delimiter=";").encode(),
        {"1": 30, "5": 30},
    ),
    Case("bool.jsonl", lines(objects(labels={"negative": False, "positive": True})), {"false": 30, "true": 30}),
    Case("listed.jsonl", lines(objects(labels={"negative": ["negative"], "positive": ["positive"]})), EACH),
    Case(
        "listed-twice.jsonl", lines([*objects(), {"text": "x", "label": ["a", "b"]}]), EACH, ("list of several.*: 1",)
    ),
    Case(
        "case.csv",
        table([(text, label.title() if i % 4 == 0 else label) for i, (text, label) in enumerate(ROWS)]).encode(),
        {"Negative": 15, "negative": 15, "positive": 30},
    ),
    Case(
        "missing.csv",
        table([(text, "N/A" if i < 6 else label) for i, (text, label) in enumerate(ROWS)]).encode(),
        {"negative": 27, "positive": 27},
        (r"no label: 6 \(missing.csv:2, missing.csv:3, missing.csv:4, \.\.\.\)",),
        first=ROWS[6][0],
    ),
    Case(
        "nan.csv",
        table([("nan" if i < 4 else text, label) for i, (text, label) in enumerate(ROWS)]).encode(),
        {"negative": 28, "positive": 28},
        (r'only "nan".*: 4 \(nan.csv:2',),
        first=ROWS[4][0],
    ),
    Case(
        "numbers.jsonl",
        lines([{"text": i if i < 4 else text, "label": label} for i, (text, label) in enumerate(ROWS)]),
        EACH,
        first="0",
    ),
    Case("first.jsonl", lines([{"text": "fine"}, *objects()]), EACH, (r"no label: 1 \(first.jsonl:1\)",)),
    Case(
        "bad.jsonl",
        lines(objects()) + b'{"text": \n[1]\n"x"\n{"text": null, "label": 1}\n{"text": ["a"], "label": 1}\n',
        EACH,
        (r"invalid JSON: 1 \(bad.jsonl:61\)", "no JSON object: 2", "no text: 1", "the text is a list.*: 1"),
    ),
    Case(
        "ragged.csv",
        table(quoted=False).encode(),
        refused=r"wrong number of columns \(expected 2, found 4\).*: 60 \(ragged.csv:2",
    ),
    Case(
        "one-label.csv",
        table([(text, "positive") for text, _ in ROWS]).encode(),
        {"positive": 60},
        refused="at least two labels, found 1: positive",
    ),
    Case(
        "lone.csv",
        table([*ROWS, ("one of a kind", "neutral")]).encode(),
        {**EACH, "neutral": 1},
        refused="label 'neutral', found 1: .*--min-reviews",
    ),
]
CASES = [*QUOTES, *ENCODINGS, *FORMS, *COLUMNS, *CELLS]
