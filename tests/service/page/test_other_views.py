"""The model, the service, the LSTM and /docs."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from service.model.classifier import Classifier
from tests.service.page.conftest import ask, open_view, write
from tests.support.browser import watched
from tests.support.server import make_app, serving

SOURCES = {
    "films": {
        "reviews": 25_000, "accuracy": 0.931, "accuracy_interval_95": [0.928, 0.934],
        "unflagged": {"share": 0.8, "accuracy": 0.974}, "expected_calibration_error": 0.008,
    },
    "kitchens": {"reviews": 400, "accuracy": 0.87, "accuracy_interval_95": [0.834, 0.899]},
    "bare": {"accuracy": 0.9},
}  # fmt: skip
METRICS: dict[str, Any] = {
    "test": {
        "reviews": 25_000,
        "accuracy": 0.92,
        "by_source": SOURCES,
        "reliability": [[100, 0.6, 0.58], [100, 0.8, 0.82], [100, 0.95, 0.96]],
        "coverage": [[0.1, 0.99], [0.5, 0.97], [1.0, 0.92]],
        "unflagged": {"share": 0.78, "accuracy": 0.97},
    },
}
ODD = [
    {},
    {"test": None},
    {"test": {"by_source": []}},
    {"test": {"by_source": {"a": 1, "b": {"accuracy": "x"}}}},
    {"test": {"coverage": [[1]]}},
]


def with_metrics(classifier: Classifier, metrics: dict[str, Any]) -> Classifier:
    manifest = classifier.manifest.model_copy(update={"metrics": metrics})
    return Classifier(replace(classifier.bundle, manifest=manifest), "cpu")


def test_the_model_shows_the_figures_of_its_manifest(page: Any, url: str, shipped: Classifier) -> None:
    open_view(page, url, "model")
    shown = page.locator(".model").inner_text()
    test = shipped.manifest.metrics["test"]
    low, high = test["accuracy_interval_95"]
    for figure in (f"{test['accuracy']:.1%}", f"{low:.2%} to {high:.2%}", f"{test['unflagged']['share']:.1%}"):
        assert figure in shown
    assert shipped.name in shown
    weakest = min(one["accuracy"] for one in [*test["by_length"].values(), *test["by_rating"].values()])
    assert f"{weakest:.1%}" in page.locator(".model .list").inner_text()


def test_another_bundle_shows_its_own(browser: Any, shipped: Classifier) -> None:
    with serving(make_app(with_metrics(shipped, METRICS))) as url, watched(browser, url) as page:
        open_view(page, url, "model")
        rows = page.locator(".accuracies tbody tr").all_inner_texts()
        assert [row.split("\t")[0].strip() for row in rows] == list(SOURCES)
        assert "93.1%" in rows[0]
        assert "sure of 80%, 97.4% of those right, ECE 0.8%" in rows[0]
        assert page.locator(".chart .dot").count() == 3
        assert page.locator(".chart .threshold").count() == 1
        limits = page.locator(".model .list").inner_text()
        assert "kitchens: 87.0%" in limits


@pytest.mark.parametrize("metrics", ODD, ids=str)
def test_what_a_manifest_lacks_is_passed_over(browser: Any, shipped: Classifier, metrics: dict[str, Any]) -> None:
    with serving(make_app(with_metrics(shipped, metrics))) as url, watched(browser, url) as page:
        open_view(page, url, "model")
        assert shipped.name in page.locator(".model").inner_text()


def test_the_service_is_shown_at_work(page: Any, url: str) -> None:
    ask(url, "fine")
    open_view(page, url, "service")
    page.locator(".ready[data-ready=true]", has_text="Ready").wait_for()
    page.locator(".service tbody tr", has_text="native").first.wait_for()
    for _ in range(10):
        ask(url, "fine")
    page.locator(".tile").first.locator(".value", has_text=re.compile("[1-9]")).wait_for()
    page.locator(".tile").nth(2).locator(".value", has_text=re.compile("s$")).wait_for()


@pytest.fixture
def off(browser: Any, shipped: Classifier) -> Iterator[str]:
    with serving(make_app(shipped, inspect="off")) as found:
        yield found


def test_the_lstm_is_shown_with_the_numbers_of_the_api(page: Any, url: str) -> None:
    open_view(page, url)
    text = "Never boring 😀, never slow."
    write(page, text)
    page.get_by_role("link", name="Inside the LSTM").click()
    page.locator(".maps canvas").nth(5).wait_for()
    assert page.get_by_label("The text").input_value() == text
    for direction, label in (("backward", "last to first"), ("forward", "first to last")):
        with page.expect_response("**/inspect"):
            page.get_by_label(label).check()
        answer = httpx.post(f"{url}/inspect", json={"text": text, "direction": direction}).json()
        page.wait_for_function(  # until the equations are of this direction
            "(c) => document.querySelectorAll('.equations .value')[4].textContent.endsWith('= ' + c)",
            arg=two_digits(max((value for row in answer["cell"] for value in row), key=abs)),
        )
    sliders = page.locator(".sliders input")
    sliders.nth(0).focus()
    page.keyboard.press("Home")
    assert page.locator(".sliders output").first.inner_text() == "Never"
    page.keyboard.press("ArrowRight")
    assert page.locator(".sliders output").first.inner_text() == "boring"
    unit = int(page.locator(".sliders output").nth(1).inner_text().split()[0]) - 1
    shown = page.locator(".equations .value").all_inner_texts()
    expected = [answer[name][1][unit] for name in ("input_gate", "forget_gate", "output_gate", "candidate")]
    assert shown[:4] == [two_digits(value) for value in expected]
    page.locator(".maps .surface").first.hover(position={"x": 2, "y": 2})
    assert page.locator(".sliders output").first.inner_text() == "Never"
    colours = "new Set(document.querySelector('canvas').getContext('2d').getImageData(0, 0, 6, 40).data).size"
    assert page.evaluate(colours) > 20


def two_digits(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def test_where_it_is_off_the_equations_stay(browser: Any, off: str) -> None:
    with watched(browser, off) as page:
        open_view(page, off, "lstm")
        assert "OVATION_INSPECT is off" in page.locator(".lstm").inner_text()
        assert page.locator(".equations tr").count() == 6
        assert page.locator("canvas").count() == 0


def test_docs_need_no_other_origin(page: Any, url: str) -> None:
    page.goto(f"{url}/docs")
    page.locator("#operations-predict-predict_predict_post").wait_for()
    page.locator("#operations-predict-predict_predict_post button").first.click()
    page.get_by_role("button", name="Try it out").wait_for()
