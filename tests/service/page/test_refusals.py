"""What the service refuses, as sentences with a remedy; the key, which is asked for once."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from service.model.classifier import Classifier
from tests.service.page.conftest import open_view, settle, write
from tests.support.browser import watched
from tests.support.server import make_app, serving

KEY = "ov-right-key"


def problem(status: int, kind: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """An answer of the service, for `route.fulfill`."""
    body = {"status": status, "error_type": kind, "detail": "expected this, found that"}
    return {
        "status": status,
        "headers": {"Content-Type": "application/problem+json", **(headers or {})},
        "body": json.dumps(body),
    }


SENTENCES = {
    (408, "slow_body"): "did not reach the service in time",
    (413, "body_too_large"): "more than the service takes",
    (422, "invalid"): "cannot take this text. expected this, found that",
    (422, "no_evidence"): "gives no evidence",
    (403, "forbidden_origin"): "OVATION_CORS_ORIGINS",
    (403, "scope"): "refused this page or this key: expected this",
    (500, "internal"): "Something in the service failed",
    (503, "not_ready"): "starting or stopping",
    (504, "timeout"): "longer than the service allows",
    (418, "teapot"): "answered 418",
}


@pytest.mark.parametrize(("status", "kind"), SENTENCES)
def test_a_refusal_is_a_sentence(page: Any, url: str, status: int, kind: str) -> None:
    page.allowed.append("Failed to load resource")
    open_view(page, url)
    page.route("**/predict", lambda route: route.fulfill(**problem(status, kind)))
    write(page, "Fine.")
    assert SENTENCES[status, kind] in page.get_by_role("alert").inner_text()
    assert page.locator(".verdict .word").inner_text() == "–"
    assert page.locator(".evidence").is_hidden()


def test_nobody_answers(page: Any, url: str) -> None:
    page.allowed.append("Failed to load resource")
    open_view(page, url)
    page.route("**/predict", lambda route: route.abort())
    write(page, "Fine.")
    assert "Is the service still running?" in page.get_by_role("alert").inner_text()


def test_a_busy_service_is_asked_again_when_it_said(page: Any, url: str) -> None:
    page.allowed.append("Failed to load resource")
    open_view(page, url)
    page.route("**/predict", once(problem(429, "overloaded", {"Retry-After": "1"})))
    write(page, "Fine.")
    assert "take this again in 1 second" in page.get_by_role("alert").inner_text()
    page.locator(".verdict:not([data-state=failed]):not([data-state=waiting])").wait_for()
    assert page.get_by_role("alert").count() == 0  # it is hidden


@pytest.mark.parametrize(("seconds", "when"), [("1", "back in 1 second;"), ("1000", "back in 17 minutes;")])
def test_a_spent_key_is_told_apart_from_a_busy_service(page: Any, url: str, seconds: str, when: str) -> None:
    page.allowed.append("Failed to load resource")
    open_view(page, url)
    page.route("**/predict", once(problem(429, "rate_limited", {"Retry-After": seconds})))
    write(page, "Fine.")
    told = page.get_by_role("alert").inner_text()
    assert "allowance is spent" in told
    assert when in told
    assert "busy" not in told
    if seconds == "1":
        page.locator(".verdict:not([data-state=failed]):not([data-state=waiting])").wait_for()
        assert page.get_by_role("alert").count() == 0  # it is hidden


def test_a_service_tells_a_spent_key_when_it_is_back(browser: Any, shipped: Classifier) -> None:
    app = make_app(shipped, api_keys=KEY, key_tokens_per_second=1, timeout_seconds=60)
    with serving(app) as url, watched(browser, url) as page:
        page.allowed.append("Failed to load resource")
        page.goto(url)
        page.get_by_label("API key").fill(KEY)
        page.keyboard.press("Enter")
        settle(page)
        write(page, "Fine, and so on. " * 10)
        write(page, "Fine.")
        assert re.search(r"allowance is spent\. It is back in \d+ seconds", page.get_by_role("alert").inner_text())


def once(answer: dict[str, Any]) -> Callable[[Any], None]:
    """A handler of routes that gives `answer` to the first request alone."""
    answers = [answer]

    def handle(route: Any) -> None:
        route.fulfill(**answers.pop()) if answers else route.continue_()

    return handle


def demand_key(route: Any) -> None:
    """Refuses what does not carry KEY."""
    if route.request.headers.get("authorization") == f"Bearer {KEY}":
        route.continue_()
    else:
        route.fulfill(**problem(401, "unauthorized", {"WWW-Authenticate": "Bearer"}))


@pytest.fixture
def guarded(page: Any) -> Any:
    page.allowed.append("Failed to load resource")
    for path in ("model", "predict", "inspect", "metrics", "predict/stream"):
        page.route(f"**/{path}", demand_key)
    return page


def test_the_key_is_asked_for_once_and_kept_in_the_tab(guarded: Any, url: str) -> None:
    guarded.goto(url)
    guarded.get_by_label("API key").fill(KEY)
    guarded.get_by_role("button", name="Use this key").click()
    settle(guarded)
    assert "$OVATION_API_KEY" in guarded.locator(".calls code").inner_text()
    assert KEY not in guarded.content()
    guarded.reload()
    settle(guarded)
    assert guarded.get_by_role("dialog").count() == 0
    assert guarded.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    assert guarded.evaluate("Object.values(sessionStorage)") == [KEY]


def test_a_wrong_key_is_told_and_who_declines_is_left_alone(guarded: Any, url: str) -> None:
    guarded.goto(url)
    guarded.get_by_label("API key").fill("wrong")
    guarded.keyboard.press("Enter")
    guarded.get_by_role("alert", include_hidden=False).wait_for()
    assert "wants an API key" in guarded.get_by_role("alert").inner_text()
    guarded.get_by_role("button", name="Enter an API key").click()
    assert "The key was refused" in guarded.get_by_role("dialog").inner_text()
    guarded.keyboard.press("Escape")
    assert guarded.get_by_role("dialog").count() == 0
    guarded.get_by_role("button", name="Enter an API key").click()
    guarded.get_by_label("API key").fill("no key é")
    guarded.keyboard.press("Enter")
    assert guarded.get_by_role("dialog").count() == 1  # a header takes no such characters
    guarded.get_by_label("API key").fill(KEY)
    guarded.keyboard.press("Enter")
    settle(guarded)
