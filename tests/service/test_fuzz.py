"""A short run of `python -m tests.fuzz`: made-up requests to every route, and answers as OpenAPI tells them."""

from pathlib import Path

from tests.fuzz import fuzz, fuzzed


def test_made_up_requests_are_answered_as_documented(tiny_bundle_path: Path) -> None:
    with fuzzed(tiny_bundle_path) as running:
        run = fuzz(running.url, cases=300, seed=1)
        assert running.process.poll() is None
    assert run.passed, run.output
    assert run.cases >= 300
