"""A browser, and the page of a real server with the bundle that ships."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.model import bundle
from service.model.classifier import Classifier
from tests.support.browser import find_chromium, launched, watched
from tests.support.server import make_app, serving

MODEL = Path(__file__).parents[3] / "models" / "reviews-bilstm"


@pytest.fixture(scope="session")
def shipped() -> Classifier:
    """The bundle that ships, ready to answer."""
    return Classifier(bundle.read(MODEL), "cpu")


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """A browser for all tests of the page."""
    with launched(find_chromium()) as found:
        yield found


@pytest.fixture(scope="package")
def url(browser: Any, shipped: Classifier) -> Iterator[str]:
    """A server; `browser` first, so that none starts where there is no browser."""
    with serving(make_app(shipped, timeout_seconds=60)) as found:
        yield found


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """An empty page that may open the server's."""
    with watched(browser, url, viewport={"width": 1280, "height": 900}) as found:
        yield found


def ask(url: str, text: str, **options: Any) -> dict[str, Any]:
    """What `/predict` answers."""
    answer = httpx.post(f"{url}/predict", json={"text": text, **options}, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def settle(page: Any) -> None:
    """Waits until the first view shows an answer."""
    page.locator(".verdict[aria-busy=false]").wait_for()


def open_view(page: Any, url: str, name: str = "try") -> None:
    """Opens a view, as a link to it does."""
    page.goto(f"{url}/#{name}")
    page.locator(f".view.{name}").wait_for()
    if name == "try":
        settle(page)


def write(page: Any, text: str) -> None:
    """Puts `text` into the box of the first view, and waits for the answer."""
    page.get_by_label("Your text").fill(text)
    settle(page)


def shown_percent(share: float) -> str:
    """A share as the page writes it."""
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{int(share * 100 + 0.5)}%"
