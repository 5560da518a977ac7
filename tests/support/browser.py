"""A browser that opens the page, and watches over what no page of ours may do."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

_TELL_VIOLATIONS = (
    "addEventListener('securitypolicyviolation', (e) => console.error(e.violatedDirective, e.blockedURI))"
)
AXE = Path(__file__).parents[1] / "browser" / "node_modules" / "axe-core" / "axe.min.js"


def find_chromium() -> str:
    """Its path; skips the test where Chromium, playwright or axe-core is not there, and fails it in CI."""
    chromium = shutil.which("chromium")
    if chromium and find_spec("playwright") and AXE.exists():
        return chromium
    reason = "expected chromium on the PATH, playwright and axe-core, found not all: install chromium, run make browser"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def launched(chromium: str) -> Iterator[Any]:
    """A browser of playwright, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def watched(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """A page in a context of its own. At the end it has written no error to the console, violated no policy, opened no
    dialog and asked no other origin than that of `url`; what it may write is in `page.allowed`, parts of messages."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.allowed = []
    page.set_default_timeout(20_000)
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))

    def dismiss(dialog: Any) -> None:
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("request", lambda request: faults.extend(_foreign(request.url, url)))
    page.add_init_script(_TELL_VIOLATIONS)
    try:
        yield page
        page.evaluate("() => new Promise(requestAnimationFrame)")  # what is queued has run
        forbidden = [fault for fault in faults if not any(part in fault for part in page.allowed)]
        assert not forbidden, forbidden
    finally:
        context.close()


def _foreign(asked: str, url: str) -> list[str]:
    own = asked.startswith((f"{url}/", f"blob:{url}/", "data:"))
    return [] if own else [f"asked {asked}"]
