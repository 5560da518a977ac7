"""The first view: a text, its verdict, its words, its sentences, and the calls that give the same."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from tests.service.page.conftest import ask, open_view, settle, shown_percent, write

MIXED = "The acting is superb. The plot is a mess, and the jokes 😀 fall flat."


def words(page: Any) -> list[str]:
    found: list[str] = page.locator(".evidence .token").all_inner_texts()
    return found


def check_verdict(page: Any, answer: dict[str, Any]) -> None:
    word = page.locator(".verdict .word").inner_text()
    if answer["uncertain"]:
        assert word == "Not sure"
        leaning = f"It leans to {answer['label']}, at {shown_percent(answer['score'])}"
        assert leaning in page.locator(".verdict .meaning").inner_text()
    else:
        assert word.lower() == answer["label"]
        assert page.locator(".verdict .score").inner_text() == shown_percent(answer["score"])
    high = max(answer["probabilities"])  # "positive"
    bar = page.locator(".verdict .two").get_attribute("aria-label")
    assert bar == f"Probability: {shown_percent(answer['probabilities'][high])} {high}"


def test_every_sample_gets_the_answer_of_the_api(page: Any, url: str) -> None:
    open_view(page, url)
    samples = page.locator(".samples button")
    assert samples.count() >= 9
    for sample in samples.all():
        sample.click()
        settle(page)
        assert sample.get_attribute("aria-pressed") == "true"
        check_verdict(page, ask(url, page.get_by_label("Your text").input_value()))


def test_the_verdict_tells_what_was_read(page: Any, url: str) -> None:
    open_view(page, url)
    write(page, "Qwxz zzyxq.")
    assert "does not know" in page.locator(".verdict .facts").inner_text()
    write(page, "good " * 900)
    assert "Only 800 of 900 tokens were read" in page.locator(".verdict .meaning").inner_text()
    assert page.locator(".evidence .unread").count() == 1
    facts = page.locator(".verdict .facts").inner_text()
    assert re.search(r"[\d.]+ m?s there and back", facts)
    assert re.search(r"[\d.]+ m?s in the service", facts)


def test_without_a_text_there_is_no_verdict(page: Any, url: str) -> None:
    open_view(page, url)
    page.get_by_label("Your text").fill("  \n ")
    assert page.locator(".verdict .word").inner_text() == "Nothing to read yet"
    for part in ("evidence", "sentences", "buildup", "calls"):
        assert page.locator(f".{part}").is_hidden()


def test_each_word_has_its_weight(page: Any, url: str) -> None:
    open_view(page, url)
    write(page, MIXED)
    answer = ask(url, MIXED, evidence=True, offsets="utf16")
    encoded = MIXED.encode("utf-16-le")
    expected = [encoded[2 * t["start"] : 2 * t["end"]].decode("utf-16-le") for t in answer["evidence"]["tokens"]]
    assert words(page) == expected
    assert page.locator(".evidence .words").inner_text() == MIXED
    sign = 1 if answer["label"] == "positive" else -1
    for index, token in enumerate(answer["evidence"]["tokens"]):
        weight = f"{sign * token['weight']:+.2f}".replace("-", "−")
        told = page.locator(".evidence .token").nth(index).get_attribute("aria-label")
        assert told.startswith(f"{expected[index]}: {weight} ") or weight in ("+0.00", "−0.00")
    superb = page.locator(".evidence .token", has_text="superb")
    superb.hover()
    assert page.locator(".evidence .tip").inner_text() in superb.get_attribute("aria-label")
    assert page.locator(".buildup .caption").inner_text().startswith("superb: ")


def test_strongest_words_lead_to_the_text(page: Any, url: str) -> None:
    open_view(page, url)
    write(page, MIXED)
    row = page.locator(".evidence .lists li").first
    row.locator("button").click()
    focused = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert f": {row.locator('.number').inner_text()} " in focused


def test_a_word_that_is_clicked_is_left_out(page: Any, url: str) -> None:
    open_view(page, url)
    write(page, MIXED)
    page.locator(".evidence .token", has_text="superb").click()
    without = ask(url, MIXED.replace("superb", ""))
    becomes = f"{without['label']}, {shown_percent(without['score'])}"
    page.locator(".evidence .becomes", has_text=becomes).wait_for()
    assert page.locator(".evidence .outcome").inner_text().startswith("Without “superb”: ")
    page.locator(".evidence .token", has_text="mess").click()
    without = ask(url, MIXED.replace("superb", "").replace("mess", ""))
    page.locator(".evidence .becomes", has_text=f"{without['label']}, {shown_percent(without['score'])}").wait_for()
    page.get_by_role("button", name="Take all back").click()
    assert page.locator(".evidence .token[aria-pressed=true]").count() == 0
    assert page.locator(".evidence .outcome").inner_text() == ""
    write(page, "Dull")
    page.locator(".evidence .token").click()
    assert "nothing is left to read" in page.locator(".evidence .outcome").inner_text()


def test_by_keyboard_alone(page: Any, url: str) -> None:
    open_view(page, url)
    page.get_by_label("Your text").focus()
    page.keyboard.press("Control+A")
    page.keyboard.type("Never dull.")
    settle(page)
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('token')"):
            break
    focused = "document.activeElement.textContent"
    assert page.evaluate(focused) == "Never"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.locator(".evidence .becomes").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "false"
    page.keyboard.press("End")
    assert page.evaluate(focused) == "."
    page.keyboard.press("Home")
    assert page.evaluate(focused) == "Never"


def test_each_sentence_has_its_verdict(page: Any, url: str) -> None:
    open_view(page, url)
    write(page, MIXED)
    answer = ask(url, MIXED, sentences=True)
    rows = page.locator(".sentences li").all_inner_texts()
    assert len(rows) == len(answer["sentences"]) == page.locator(".ribbon span").count()
    for row, sentence in zip(rows, answer["sentences"], strict=True):
        assert MIXED[sentence["start"] : sentence["end"]] in row
        assert sentence["label"] in row
        assert shown_percent(sentence["score"]) in row
    expected = "Mixed: its sentences disagree." if answer["mixed"] else "Its sentences do not disagree."
    assert page.locator(".sentences .summary").inner_text() == expected
    page.allowed.append("status of 422")  # it is refused with sentences, and asked for without
    write(page, "Fine. " * 201)
    assert page.locator(".sentences .summary").inner_text() == "Too many sentences to judge each."


def test_the_chart_and_the_words_point_at_each_other(page: Any, url: str) -> None:
    open_view(page, url)
    write(page, MIXED)
    chart = page.locator(".buildup .plot")
    answer = ask(url, MIXED)
    assert (
        chart.locator("svg")
        .get_attribute("aria-label")
        .endswith(f"to {shown_percent(answer['probabilities']['positive'])} positive after the last.")
    )
    chart.scroll_into_view_if_needed()
    chart.hover(position={"x": chart.bounding_box()["width"] - 14, "y": 80})
    assert page.locator(".evidence .token.marked").inner_text() == "."
    assert page.locator(".buildup .cursor").get_attribute("visibility") == "visible"
    page.mouse.move(0, 0)
    assert page.locator(".evidence .token.marked").count() == 0


def test_the_calls_give_this_answer(page: Any, url: str) -> None:
    open_view(page, url)
    text = 'It\'s "fine" & $HOME `id` \\ 100 %\nand 😀 more. Dull!'
    write(page, text)
    expected = ask(url, text, evidence=True, sentences=True)
    code = page.locator(".calls code")
    done = subprocess.run(["sh", "-c", code.inner_text()], capture_output=True, check=True)
    assert json.loads(done.stdout) == expected
    page.get_by_label("Python").check()
    done = subprocess.run([sys.executable, "-c", code.inner_text()], capture_output=True, check=True)
    assert done.stdout.decode().strip() == str(expected)


def test_a_call_is_copied(page: Any, url: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_view(page, url)
    page.locator(".calls .copy").click()
    page.locator(".calls .copy", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator(".calls code").inner_text()


# Answers come back with delays that let later ones overtake earlier ones, though their callers are gone.
DELAYS = """
const real = window.fetch;
let asked = 0;
window.fetch = async (...parts) => {
  const response = await real(...parts);
  await new Promise((resolve) => setTimeout(resolve, [5, 240, 40, 150, 0, 90][asked++ % 6]));
  return response;
};
"""
WATCH = """() => {
  window.seen = [];
  const [box, verdict] = [document.querySelector('#text'), document.querySelector('.verdict')];
  const look = () => window.seen.push([
    box.value, verdict.dataset.state,
    ...['.word', '.score', '.meaning'].map((part) => verdict.querySelector(part).textContent)]);
  new MutationObserver(look).observe(verdict, {subtree: true, childList: true, attributes: true});
  const frame = () => { look(); requestAnimationFrame(frame); };
  frame();
}"""


@pytest.mark.parametrize("delays", ["", DELAYS], ids=["at once", "out of order"])
def test_typing_never_shows_a_stale_verdict(page: Any, url: str, delays: str) -> None:
    if delays:
        page.add_init_script(delays)
    open_view(page, url)
    page.get_by_label("Your text").fill("")
    page.evaluate(WATCH)
    page.get_by_label("Your text").press_sequentially("Not bad, dull", delay=100)
    settle(page)
    seen = page.evaluate("window.seen")
    answers: dict[str, dict[str, Any]] = {}
    judged = set()
    for text, state, word, score, meaning in seen:
        if state in ("waiting", "empty"):
            assert (score, word) in (("", "Reading …"), ("", "Nothing to read yet"))
            continue
        judged.add(text)
        answer = answers.setdefault(text, ask(url, text))
        percent = shown_percent(answer["score"])
        if answer["uncertain"]:
            assert word == "Not sure"
            assert (f"{answer['label']}, at {percent}" in meaning) or answer["unknown_share"] == 1
        else:
            assert (word, score) == (answer["label"], percent)
    assert "Not bad, dull" in judged
    if not delays:
        assert len(judged) > 3  # the answer follows the typing
