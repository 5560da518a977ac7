"""Many at once: files and pasted rows, their answers, and what is taken away."""

import csv
import io
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.service.page.conftest import open_view, shown_percent

TEXTS = ["Superb, a joy.", "Dull and awful.", 'It is, in a way, "fine".', "Two\nlines, one text: wonderful!"]
FILES = {
    "reviews.csv": '\ufefftext,stars\r\n"Superb, a joy.",5\r\nDull and awful.,1\r\n'
    '"It is, in a way, ""fine"".",3\r\n"Two\nlines, one text: wonderful!",5\r\n',
    "reviews.tsv": "id\treview\n1\tSuperb, a joy.\n2\tDull and awful.\n",
    "semicolons.csv": "review;stars\nSuperb, a joy.;5\nDull and awful.;1\n",
    "lines.txt": "Superb, a joy.\n\nDull and awful.\n",
    "rows.jsonl": '{"id": 1, "text": "Superb, a joy."}\n{"id": 2, "text": "Dull and awful."}\n',
    "array.json": '[{"text": "Superb, a joy."}, {"text": "Dull and awful."}]',
    "strings.ndjson": '"Superb, a joy."\n"Dull and awful."\n',
}


def judge(page: Any) -> None:
    page.get_by_role("button", name="Judge them").click()
    page.locator(".work", has_text="judged in").wait_for()


def table(page: Any) -> list[list[str]]:
    rows = page.locator(".answers tbody tr").all()
    return [row.locator("td").all_text_contents() for row in rows]


def downloaded(page: Any) -> list[list[str]]:
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download as CSV").click()
    content = Path(waiting.value.path()).read_bytes().decode("utf-8-sig")
    return list(csv.reader(io.StringIO(content, newline="")))


def batch(url: str, texts: list[str]) -> list[dict[str, Any]]:
    answer = httpx.post(f"{url}/predict/batch", json={"texts": texts}, timeout=60)
    predictions: list[dict[str, Any]] = answer.json()["predictions"]
    return predictions


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_and_judged(page: Any, url: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name].encode())
    open_view(page, url, "many")
    page.locator("#file").set_input_files(tmp_path / name)
    judge(page)
    texts = TEXTS if name == "reviews.csv" else TEXTS[:2]
    expected = dict(zip(texts, batch(url, texts), strict=True))
    rows = table(page)
    assert len(rows) == len(texts)
    scores = [expected[row[1]]["probabilities"]["positive"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    for row, score in zip(rows, scores, strict=True):
        assert expected[row[1]]["label"] in row[2]
        assert row[3] == shown_percent(score)


def test_a_file_is_dropped(page: Any, url: str) -> None:
    open_view(page, url, "many")
    drop = """(content) => {
      const data = new DataTransfer();
      data.items.add(new File([content], "reviews.csv"));
      const options = {dataTransfer: data, bubbles: true, cancelable: true};
      document.querySelector(".drop").dispatchEvent(new DragEvent("drop", options));
    }"""
    page.evaluate(drop, FILES["reviews.csv"])
    page.get_by_text("4 rows, read as CSV.").wait_for()


def test_the_column_and_the_header_are_chosen(page: Any, url: str) -> None:
    open_view(page, url, "many")
    page.get_by_label("Or paste rows").fill("A,Dull.\nB,Superb.\n")
    page.get_by_role("button", name="Read these rows").click()
    assert page.get_by_label("Column with the text").input_value() == "1"
    page.get_by_label("The first row has the names").check()
    page.get_by_text("1 row, read as CSV.").wait_for()
    page.get_by_label("The first row has the names").uncheck()
    page.get_by_label("Column with the text").select_option("0")
    judge(page)
    assert sorted(row[1] for row in table(page)) == ["A", "B"]


def test_answers_are_sorted_filtered_and_taken_away(page: Any, url: str, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_bytes(FILES["reviews.csv"].encode())
    open_view(page, url, "many")
    page.locator("#file").set_input_files(tmp_path / "reviews.csv")
    judge(page)
    assert page.locator(".histogram li").count() == 20
    first = table(page)
    page.get_by_role("button", name="Probability of positive").click()
    assert table(page) == first[::-1]
    assert page.locator("[aria-sort=ascending]").count() == 1
    page.locator(".answers select").select_option("negative")
    answers = batch(url, TEXTS)
    assert len(table(page)) == sum(answer["label"] == "negative" for answer in answers)
    page.locator(".answers select").select_option("")
    page.get_by_label("only where it is not sure").check()
    assert len(table(page)) == sum(answer["uncertain"] for answer in answers)
    page.get_by_label("only where it is not sure").uncheck()
    head, *rows = downloaded(page)
    assert head == ["text", "stars", "label", "score", "uncertain", "negative", "positive", "problem"]
    told = {row[0]: row[2:4] for row in rows}
    assert told == {text: [answer["label"], str(answer["score"])] for text, answer in zip(TEXTS, answers, strict=True)}


def test_many_rows_go_in_slices_and_stop_where_asked(page: Any, url: str) -> None:
    slices: list[int] = []
    page.on("request", lambda r: slices.append(r.post_data.count("\n")) if r.url.endswith("/predict/stream") else None)
    open_view(page, url, "many")
    lines = "Array.from({length: count}, (_, n) => `Film ${n}`).join('\\n')"
    fill = f"(count) => document.querySelector('#paste').value = {lines}"
    page.evaluate(fill, 1_100)
    page.get_by_role("button", name="Read these rows").click()
    judge(page)
    assert slices == [500, 500, 100]
    page.get_by_text("100 of 1,100 shown").wait_for()
    page.get_by_role("button", name="Show 100 more").click()
    assert len(table(page)) == 200
    page.evaluate(fill, 6_000)
    page.get_by_role("button", name="Read these rows").click()
    page.get_by_text("Only the first 5,000 of 6,000 rows are taken").wait_for()
    page.get_by_role("button", name="Judge them").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled after").wait_for()


def test_a_row_without_an_answer_says_why(page: Any, url: str) -> None:
    open_view(page, url, "many")
    page.get_by_label("Or paste rows").fill('{"text": "Superb."}\n{"text": " "}')
    page.get_by_role("button", name="Read these rows").click()
    judge(page)
    assert "1 judged" in page.locator(".work").inner_text()
    assert "only white space" in page.locator(".answers .failed").inner_text()
    assert "only white space" in downloaded(page)[2][-1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b" \n ", "There are no rows in it."),
        (b"text\ncaf\xe9\n", "The file is neither UTF-8 nor UTF-16."),
        (b'{"text": "a"}\nnot json\n', "Line 2 is not JSON"),
    ],
)
def test_what_cannot_be_read_is_told(page: Any, url: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(content)
    open_view(page, url, "many")
    page.locator("#file").set_input_files(tmp_path / "rows")
    assert reason in page.get_by_role("alert").inner_text()


def test_utf_16_is_read(page: Any, url: str, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_bytes(FILES["reviews.csv"].removeprefix("\ufeff").encode("utf-16"))
    open_view(page, url, "many")
    page.locator("#file").set_input_files(tmp_path / "reviews.csv")
    page.get_by_text("4 rows, read as CSV.").wait_for()
