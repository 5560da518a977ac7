"""Short runs of what `tests/fuzz` runs for long."""

from pathlib import Path

from tests.fuzz import batcher, bundles, fuzz, fuzzed, tokenizer


def test_made_up_requests_are_answered_as_documented(tiny_bundle_path: Path) -> None:
    with fuzzed(tiny_bundle_path) as running:
        run = fuzz(running.url, cases=300, seed=1)
        assert running.process.poll() is None
    assert run.passed, run.output
    assert run.cases >= 300


def test_made_up_texts_are_read_as_promised() -> None:
    tokenizer.fuzz(cases=2_000, seed=1)


def test_damaged_bundles_are_refused_or_harmless() -> None:
    report = bundles.fuzz(bundles.small_files(), cases=150, seed=1)
    assert report.failures == []
    assert report.outcomes["refused"] > 100


def test_a_batcher_answers_everybody_once_and_leaves_nothing() -> None:
    batcher.fuzz(cases=50, steps=30)
