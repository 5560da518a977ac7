"""Nothing that a person, a file, the service or a bundle says is ever run: 88 cases, text after place."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.model.classifier import Classifier
from tests.service.page.conftest import open_view, write
from tests.support.browser import watched
from tests.support.server import make_app, serving

PAYLOADS = [
    "<script>pwned()</script>",
    "</script><script>pwned()</script>",
    "<img src=x onerror=pwned()>",
    "<img src=//attacker.example/x.png>",
    "<svg onload=pwned()>",
    "<svg><script>pwned()</script></svg>",
    "<svg><animate onbegin=pwned() attributeName=x dur=1s>",
    "<iframe srcdoc='<script>parent.pwned()</script>'></iframe>",
    "<iframe src=javascript:pwned()></iframe>",
    "<body onload=pwned()>",
    "<details open ontoggle=pwned()>",
    "<input autofocus onfocus=pwned()>",
    "<video><source onerror=pwned()></video>",
    "<math><mtext></mtext><script>pwned()</script></math>",
    "<style>*{background:url(//attacker.example/css)}</style>",
    "<link rel=stylesheet href=//attacker.example/x.css>",
    "<base href=//attacker.example/>",
    "<meta http-equiv=refresh content='0;url=//attacker.example/'>",
    "<form action=//attacker.example><button>x</button></form>",
    "<a href='javascript:pwned()'>x</a>",
    "<textarea></textarea><img src=x onerror=pwned()>",
    "<template><script>pwned()</script></template>",
    "<!--><img src=x onerror=pwned()>-->",
    '"><img src=x onerror=pwned()>',
    "'><img src=x onerror=pwned()>",
    "` onmouseover=pwned() x=`",
    '" onfocus=pwned() autofocus="',
    "${pwned()} {{constructor.constructor('pwned()')()}}",
    "javascript:pwned()",
    "&lt;img src=x onerror=pwned()&gt;",
    "\\u003cimg src=x onerror=pwned()\\u003e",
    "<scr\u0000ipt>pwned()</scr\u0000ipt>",
    "\u202e<img src=x onerror=pwned()>",
    "__proto__",
    "constructor",
]
FORMULAS = [
    "=1+1", "+1+1", "-1+1", "@SUM(1)", "=cmd|'/C calc'!A0", '=HYPERLINK("//attacker.example","x")', "\t=1+1", "\r=1+1",
    "  =1+1", "＝1+1", "|calc", "%0A=1", '"=1+1', "-2+3+cmd|' /C calc'!D2",
]  # fmt: skip
WITHOUT_NUL = [payload for payload in PAYLOADS if "\x00" not in payload]

# Elements that the page itself never makes, and attributes that would run something.
COUNT = """() => [
  document.querySelectorAll('body script, iframe, img:not(.brand img), svg script, svg animate, style, body link,' +
    'base, video, math, template, object, embed, form[action]').length,
  [...document.querySelectorAll('*')].filter(node => [...node.attributes].some(({name, value}) =>
    name.startsWith('on') ||
    (['href', 'src', 'action', 'formaction'].includes(name) && /^\\s*javascript:/i.test(value)))).length,
  window.ran ?? false,
  ({}).polluted ?? false,
]"""


@pytest.fixture
def trapped(page: Any) -> Any:
    """A page in which `pwned` would tell."""
    page.add_init_script("window.pwned = () => { window.ran = true; }")
    return page


def check_inert(page: Any) -> None:
    assert page.evaluate(COUNT) == [0, 0, False, False]


def test_a_text_is_text(trapped: Any, url: str) -> None:
    open_view(trapped, url)
    for payload in WITHOUT_NUL:
        write(trapped, f"Dull. {payload} Fine.")
        assert trapped.locator(".evidence .words").inner_text().replace("\xa0", " ") == f"Dull. {payload} Fine."
        trapped.locator(".evidence .token").nth(2).dispatch_event(
            "click"
        )  # its name is said, too; it may have no width
        check_inert(trapped)
    trapped.get_by_role("link", name="Inside the LSTM").click()
    trapped.locator(".maps canvas").nth(5).wait_for()
    check_inert(trapped)


def test_cells_names_of_columns_and_of_files_are_text(trapped: Any, url: str, tmp_path: Path) -> None:
    open_view(trapped, url, "many")
    table = io.StringIO()
    csv.writer(table).writerows([["text", *PAYLOADS], *([payload, *PAYLOADS] for payload in PAYLOADS)])
    path = tmp_path / "<img src=x onerror=pwned()>.csv"
    path.write_text(table.getvalue(), encoding="utf-8", newline="")
    trapped.locator("#file").set_input_files(path)
    trapped.get_by_text(f"{len(PAYLOADS)} rows, read as CSV.").wait_for()
    check_inert(trapped)
    trapped.get_by_role("button", name="Judge them").click()
    trapped.locator(".answers tbody tr").first.wait_for()
    shown = trapped.locator(".answers td.text").all_text_contents()
    assert sorted(shown) == sorted(PAYLOADS)
    check_inert(trapped)


def test_no_spreadsheet_takes_a_cell_for_a_formula(trapped: Any, url: str, tmp_path: Path) -> None:
    open_view(trapped, url, "many")
    table = io.StringIO()
    csv.writer(table).writerows([["text", "=1+1"], *([f"Fine {index}.", one] for index, one in enumerate(FORMULAS))])
    path = tmp_path / "rows.csv"
    path.write_text(table.getvalue(), encoding="utf-8", newline="")
    trapped.locator("#file").set_input_files(path)
    trapped.get_by_role("button", name="Judge them").click()
    trapped.locator(".work", has_text="judged in").wait_for()
    with trapped.expect_download() as waiting:
        trapped.get_by_role("button", name="Download as CSV").click()
    content = Path(waiting.value.path()).read_bytes().decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(content, newline="")))
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if cell.lstrip()[:1] in tuple("=+@＝|%") or cell[:1] in ("\t", "\r")]
    assert not [cell for cell in cells if cell.startswith("-") and not cell[1:].replace(".", "").isdigit()]
    told = {row[0]: row[1] for row in rows[1:]}
    for index, formula in enumerate(FORMULAS):  # nothing is lost but for the apostrophe
        assert told[f"Fine {index}."].removeprefix("'") == formula


@pytest.fixture
def hostile(browser: Any, shipped: Classifier) -> Iterator[str]:
    """A service whose bundle has these payloads wherever a bundle has text."""
    figures = {"texts": 100, "accuracy": 0.9, "interval": [0.8, 0.95]}
    named = dict.fromkeys(PAYLOADS, figures)
    metrics = {
        "test": {"accuracy": 0.9, "reviews": PAYLOADS[0], "by_source": named, "by_length": named, "by_rating": named},
        "__proto__": {"polluted": True},
    }
    update = {"labels": (PAYLOADS[2], PAYLOADS[4]), "metrics": metrics, "version": PAYLOADS[0]}
    manifest = shipped.manifest.model_copy(update=update)
    with serving(make_app(Classifier(replace(shipped.bundle, manifest=manifest), "cpu"))) as found:
        yield found


def test_what_a_bundle_says_is_text(browser: Any, hostile: str) -> None:
    with watched(browser, hostile) as page:
        page.add_init_script("window.pwned = () => { window.ran = true; }")
        open_view(page, hostile)
        check_inert(page)
        assert PAYLOADS[2] in page.locator(".two .ends").inner_text()
        for name in ("model", "service", "many", "lstm"):
            open_view(page, hostile, name)
            check_inert(page)
        open_view(page, hostile, "model")
        told = page.locator(".model").text_content()
        assert [payload for payload in WITHOUT_NUL if payload not in told] == []
        page.goto(f"{hostile}/#many")
        page.get_by_role("button", name="Use an example").click()
        page.get_by_role("button", name="Judge them").click()
        page.locator(".answers tbody tr").first.wait_for()
        check_inert(page)


def test_what_the_service_says_is_text(trapped: Any, url: str) -> None:
    trapped.allowed.append("Failed to load resource")
    open_view(trapped, url)
    details = iter(WITHOUT_NUL)

    def refuse(route: Any) -> None:
        route.fulfill(status=422, json={"status": 422, "error_type": "teapot", "detail": next(details)})

    trapped.route("**/predict", refuse)
    for payload in WITHOUT_NUL:
        write(trapped, f"Fine {len(payload)}.")
        assert payload in trapped.get_by_role("alert").text_content()
        check_inert(trapped)
