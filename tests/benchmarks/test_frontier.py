"""Accuracy against speed: what is measured, what is refused, and how it is told."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import frontier
from benchmarks.frontier import __main__ as command
from benchmarks.frontier import bundles, compiled, linear, plot
from benchmarks.frontier.contestant import Contestant, Split
from benchmarks.load.servers import Unavailable
from service.model import bundle
from service.model.classifier import Classifier
from tests.conftest import train
from tests.training.data.test_sources import write_imdb


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_imdb(tmp_path_factory.mktemp("imdb"))[1]


@pytest.fixture(scope="module")
def trained(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the archive, by the command that trains one."""
    out = tmp_path_factory.mktemp("models") / "reviews-bilstm"
    done = train("run", "--data", archive, "--out", out, "--epochs", "1", "--skip-test", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def split(archive: Path) -> Split:
    return command.read(archive, 1.0, timed=3)[0]


def without_compiled(*_: Any) -> None:
    raise Unavailable("expected a network, found none")


def test_the_command_measures_a_bundle_beside_linear_models(
    archive: Path, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "environment", without_compiled)
    arguments = ["--data", archive, "--timed", "3", "--rounds", "2", "--out", tmp_path / "out", trained]
    done = CliRunner().invoke(command.main, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "frontier.json").read_text())["found"]
    names = ["reviews-bilstm fp32", "reviews-bilstm int8", f"{linear.PIPELINE} fp32", f"{linear.TABLE} fp32"]
    assert [point["key"] for point in found["points"]] == names
    assert [sorted(part) for part in found["rounds"]] == [sorted(names)] * 2
    assert all(rate > 0 for part in found["rounds"] for rate in part.values())
    stated = bundle.read(trained).manifest.metrics["validation"]["accuracy"]
    together = ["reviews-bilstm fp32", f"{linear.PIPELINE} fp32"]
    assert [sorted(part) for part in found["together"]] == [sorted(together)] * 2
    assert all(rate > 0 for part in found["together"] for rate in part.values())
    assert found["points"][0]["accuracy"] == stated
    assert found["points"][2]["accuracy"] == found["points"][3]["accuracy"]
    assert "expected a network, found none" in " ".join(found["unavailable"].values())
    assert "reviews-bilstm : NB-weighted linear = " in done.output
    page = (tmp_path / "out" / "results.md").read_text()
    assert "![frontier](frontier.png)" in page
    assert (tmp_path / "out" / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_the_linear_model_and_its_table_agree_on_every_review(archive: Path, split: Split) -> None:
    corpus = command.read(archive, 1.0, timed=3)[1]
    predictors, together = linear.predictors(corpus, "words-and-marks")
    texts = [text for text, _ in split.reviews] + ["Dreadful, dull and boring.", "A brilliant, superb film!", "好"]
    answers = [[predict(text) for text in texts] for predict in predictors.values()]
    assert answers[0] == answers[1] == together(texts).argmax(axis=1).tolist()  # type: ignore[attr-defined]
    assert set(answers[0]) == {0, 1}


def test_int8_is_another_network_that_answers_alike(trained: Path) -> None:
    whole = bundle.read(trained)
    quantized = bundles.quantize(whole)
    assert b"DynamicQuantizeLSTM" in quantized.model
    texts = ["A superb film.", "A superb film, and never dull. " * 20]
    before, after = (Classifier(one, "cpu")(texts) for one in (whole, quantized))
    scores = [[one.probabilities["positive"] for one in answers] for answers in (before, after)]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


def test_what_cannot_be_quantized_is_told(trained: Path, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(bundles, "quantize_dynamic", refuse)
    found, problem = bundles.contestants(trained, split)
    assert [one.precision for one in found] == ["fp32"]
    assert problem == "RuntimeError: no such operator"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"digest": "0" * 64}, "expected a bundle trained on aclImdb.tar.gz"),
        ({"sample": 0.5}, "a share of 0.5 of it"),
        ({"share": 0.2}, "less at least 20% for validation"),
    ],
)
def test_a_bundle_that_may_have_seen_the_reviews_is_refused(
    trained: Path, split: Split, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        bundles.contestants(trained, dataclasses.replace(split, **change))


def test_a_bundle_must_be_as_accurate_as_it_says(trained: Path, split: Split, tmp_path: Path) -> None:
    found = bundle.read(trained)
    for metrics, message in (({"validation": {"accuracy": 0.123}}, "expected the 12.30% of"), ({}, "found none")):
        manifest = found.manifest.model_copy(update={"metrics": metrics})
        bundle.write(tmp_path / "other", manifest, found.model, found.tokenizer.vocabulary, force=True)
        with pytest.raises(Exception, match=message):
            bundles.contestants(tmp_path / "other", split)


def test_a_bundle_of_several_data_sets_is_held_to_its_film_reviews(trained: Path, split: Split, tmp_path: Path) -> None:
    found = bundle.read(trained)
    stated = found.manifest.metrics["validation"]
    metrics = {"validation": {"accuracy": 0.123, "by_source": {"imdb": {"accuracy": stated["accuracy"]}}}}
    manifest = found.manifest.model_copy(update={"metrics": metrics})
    bundle.write(tmp_path / "mixed", manifest, found.model, found.tokenizer.vocabulary)
    plain, *_ = bundles.contestants(tmp_path / "mixed", split)[0]
    assert plain.accuracy == stated["accuracy"]


def found_of(rates: dict[str, tuple[float, float]]) -> dict[str, Any]:
    """A result of these (accuracy, reviews/s), two rounds."""
    points = [
        Contestant(name, precision, accuracy, lambda: 0.0, about).described()
        for key, (accuracy, _) in rates.items()
        for name, precision in [key.rsplit(" ", 1)]
        for about in [
            {"implementation": "by hand"}
            if "linear" in key
            else {"bundle": key, "preset": key[:7], "hidden": 32 if "h32" in key else 64, "embedding": 64}
        ]
    ]
    rounds = [{key: rate * factor for key, (_, rate) in rates.items()} for factor in (1.0, 1.1)]
    return {
        "reviews": 1000,
        "timed": 10,
        "points": points,
        "rounds": rounds,
        "together": [{key: rate for key, rate in part.items() if key in TOGETHER} for part in rounds],
        "published": list(frontier.PUBLISHED),
        "unavailable": {"h32-d64, int8": "RuntimeError: no\nsuch operator"},
    }


TOGETHER = ("reviews-bilstm fp32", "NB-weighted linear fp32")
RATES = {
    "reviews-bilstm fp32": (0.92, 1500.0),
    "reviews-bilstm int8": (0.919, 2000.0),
    "h32-d64 fp32": (0.9, 2500.0),
    "article fp32": (0.82, 2100.0),
    "NB-weighted linear fp32": (0.91, 1000.0),
}


def test_the_table() -> None:
    text = frontier.table(found_of(RATES))
    rates = "1,575 (1,500 to 1,650) | 1.50 (1.50 to 1.50) | 1,575 (1,500 to 1,650)"
    assert f"| reviews-bilstm, fp32 | 92.00% (90.15% to 93.53%) | {rates} |" in text
    assert "| DistilBERT, published (Sanh et al. 2019) | 92.82% on test | not measured |  |  |" in text
    assert "- h32-d64, int8: unavailable: RuntimeError: no\n" in text
    assert text.endswith(
        "reviews-bilstm : NB-weighted linear = 1.50 (1.50 to 1.50) in reviews/s, 1.50 (1.50 to 1.50) with 64 reviews "
        "at once, at 92.00% and 91.00% on validation."
    )
    assert frontier.headline(found_of({"h32-d64 fp32": (0.9, 2500.0)})) is None


def test_what_lies_far_below_gets_a_strip_of_its_own(tmp_path: Path) -> None:
    published = list(frontier.PUBLISHED)
    assert len(plot.spans([0.92, 0.91, 0.9], published)) == 1
    upper, lower = plot.spans([0.92, 0.9, 0.82], published)
    assert upper[0] < 0.9 < published[-1]["accuracies"][-1] < upper[1]  # type: ignore[operator]
    assert lower[0] < 0.82 < lower[1] < upper[0]
    plot.draw(found_of(RATES), tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").read_bytes().startswith(b"\x89PNG")
