"""axe-core finds nothing in any view, light or dark; what it cannot see is looked at here."""

import json
from typing import Any

import pytest

from tests.service.page.conftest import ask, open_view, write
from tests.support.browser import AXE, watched

VIEWS = ("try", "many", "model", "service", "lstm")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def prepare(page: Any, name: str) -> None:
    """Shows what is only there after work."""
    if name == "try":
        page.locator(".evidence .token").first.click()
        page.locator(".evidence .outcome button").wait_for()
    if name == "many":
        page.get_by_role("button", name="Use an example").click()
        page.get_by_role("button", name="Judge them").click()
        page.locator(".answers tbody tr").first.wait_for()
    if name == "service":
        page.locator(".ready[data-ready=true]").wait_for()
        page.locator(".service tbody tr").first.wait_for()
    if name == "lstm":
        page.locator(".maps canvas").nth(5).wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, url: str, scheme: str) -> None:
    ask(url, "fine")
    found = {}
    with watched(browser, url, color_scheme=scheme, reduced_motion="reduce") as page:
        page.add_init_script(path=str(AXE))
        page.goto(url)
        for name in VIEWS:
            open_view(page, url, name)
            prepare(page, name)
            result = page.evaluate(f"axe.run(document, {json.dumps(RULES)})")
            assert len(result["passes"]) > 10
            found[name] = [
                (one["id"], [node["html"][:200] for node in one["nodes"]][:3], one["nodes"][0]["failureSummary"])
                for one in result["violations"]
            ]
    assert found == {name: [] for name in VIEWS}


def test_the_dialog_for_the_key(browser: Any, url: str) -> None:
    with watched(browser, url) as page:
        page.allowed.append("Failed to load resource")
        page.add_init_script(path=str(AXE))
        page.route("**/model", lambda route: route.fulfill(status=401, body="{}"))
        page.goto(url)
        page.get_by_role("dialog").wait_for()
        assert page.evaluate(f"axe.run(document, {json.dumps(RULES)}).then(r => r.violations.map(v => v.id))") == []


@pytest.mark.parametrize("width", [320, 820])
def test_nothing_is_wider_than_the_screen(browser: Any, url: str, width: int) -> None:
    with watched(browser, url, viewport={"width": width, "height": 800}) as page:
        for name in VIEWS:
            open_view(page, url, name)
            prepare(page, name)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_the_verdict_is_spoken_once_it_stands(page: Any, url: str) -> None:
    open_view(page, url)
    write(page, "A joy.")
    answer = ask(url, "A joy.")
    page.locator(".verdict [role=status]", has_text=answer["label"]).wait_for(state="attached")


def test_the_views_are_links_with_a_current_one(page: Any, url: str) -> None:
    open_view(page, url)
    for name, title in (("The model", "The model · Ovation"), ("Try it", "Ovation")):
        page.get_by_role("link", name=name).click()
        page.wait_for_function("(title) => document.title === title", arg=title)
        assert page.locator("nav [aria-current=page]").all_inner_texts() == [name]
    page.go_back()
    page.locator(".view.model").wait_for()
    page.keyboard.press("Control+Home")
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"
