"""The figures of the model card, measured again by the command."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from service.model import bundle
from service.model.classifier import Classifier
from tests.conftest import made_up_reviews, train, write_csv
from training.data.corpus import Labelled
from training.evaluation import calibration
from training.release import card, report


@pytest.fixture
def copy(tiny_bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle_path, tmp_path / "tiny"))


def measured(folder: Path) -> dict[str, Any]:
    found = dict(json.loads((folder / "figures" / "report.json").read_text()))
    return found | {"splits": {name: timeless(split) for name, split in found["splits"].items()}}


def timeless(split: dict[str, Any]) -> dict[str, Any]:
    """What was found of a split, without the times that it took."""
    for of_kind in split["evidence"].values():
        for order in of_kind["orders"].values():
            del order["seconds_a_text"]
    return split


def test_a_run_leaves_every_figure_of_its_card(tiny_bundle_path: Path) -> None:
    found, manifest = measured(tiny_bundle_path), bundle.read(tiny_bundle_path).manifest
    assert {name: split["figures"] for name, split in found["splits"].items()} == manifest.metrics
    assert found["model"] == manifest.files["model.onnx"].sha256
    assert manifest.training["stated_rate"] == calibration.STATED_RATE
    assert not manifest.training["stated_rate_shown"]  # by 18 reviews
    text = (tiny_bundle_path / "README.md").read_text()
    validation, test = found["splits"].values()
    for split, pairs in ((validation, 270), (test, 275)):
        assert split["negation"]["pairs"] == pairs
        assert f"{split['negation']['both_right']:.1%} (" in text
        [evidence] = split["evidence"].values()
        assert split["robustness"]["reviews"] == evidence["texts"] == 18
        assert f"{evidence['orders']['evidence']['area']:.3f} (" in text
        fall = split["robustness"]["perturbations"]["one sentence of it"]
        assert f"{100 * fall['fall']:.1f} (" in text or not fall["other_label"]
    for section in ("Calibration", "Robustness", "Negation", "Evidence"):
        assert f"\n## {section}\n" in text
    for picture in ("curves", "reliability", "coverage", "evidence"):
        assert f"](figures/{picture}.png)" in text
        assert (tiny_bundle_path / "figures" / f"{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_one_command_makes_every_figure_again(copy: Path, reviews_csv: Path) -> None:
    before, name = measured(copy), bundle.read(copy).name
    pictures = {path.name: path.read_bytes() for path in copy.glob("figures/*.png")}
    text, log = (copy / "README.md").read_text().split("\n## Readings of the test split\n")
    for path in (copy / "figures" / "report.json", *copy.glob("figures/[!c]*.png"), copy / "figures" / "coverage.png"):
        path.unlink()
    done = train("report", "--bundle", copy, "--data", reviews_csv, "--split", "test")
    assert done.returncode == 0, done.stderr
    assert measured(copy) == before
    assert {path.name: path.read_bytes() for path in copy.glob("figures/*.png")} == pictures
    again, log_again = (copy / "README.md").read_text().split("\n## Readings of the test split\n")
    timed = [line.split(" | ")[:-1] for line in text.splitlines()]  # a table of seconds ends in them
    assert [line.split(" | ")[:-1] for line in again.splitlines()] == timed
    assert log_again.startswith(log.rstrip())
    assert log_again.count("`training report` on reviews.csv") == 1
    assert bundle.read(copy).name == name


def test_validation_alone_reads_no_test(copy: Path, reviews_csv: Path) -> None:
    before, readings = measured(copy), card.readings(copy)
    done = train("report", "--bundle", copy, "--data", reviews_csv)
    assert done.returncode == 0, done.stderr
    assert card.readings(copy) == readings
    assert measured(copy) == before  # what was known of test stays

    (copy / "figures" / "report.json").unlink()
    assert train("report", "--bundle", copy, "--data", reviews_csv).returncode == 0
    assert list(measured(copy)["splits"]) == ["validation"]
    assert "held-out set, " not in (copy / "README.md").read_text()
    assert "and on 18 test reviews" in (copy / "README.md").read_text()  # from the manifest


def test_other_data_is_refused(copy: Path, tmp_path: Path) -> None:
    few = write_csv(tmp_path / "few.csv", made_up_reviews()[::3])
    before = measured(copy)
    done = train("report", "--bundle", copy, "--data", few)
    assert done.returncode == 1
    assert "expected the data that" in done.stderr
    assert "Traceback" not in done.stderr
    assert measured(copy) == before


def test_the_reviews_that_are_measured_are_the_same_in_any_order(tiny_classifier: Classifier) -> None:
    labels = tiny_classifier.manifest.labels
    reviews = [Labelled(text, labels.index(label), 0, "") for text, label in made_up_reviews()[::3]]
    found = [timeless(report.measure(tiny_classifier, order, "validation")) for order in (reviews, reviews[::-1])]
    assert found[0]["figures"]["reviews"] == 60
    assert found[0]["evidence"]["reviews"]["texts"] == 20  # the same 20, too
    for part in ("robustness", "negation", "evidence"):
        assert found[0][part] == found[1][part]


def test_each_data_set_and_neutral_texts_are_measured(tiny_classifier: Classifier) -> None:
    labels = tiny_classifier.manifest.labels
    sources = ("imdb", "fdu-mtl: books", "fdu-mtl: toys")
    reviews = [
        Labelled(text, labels.index(label), 0, sources[row % 3])
        for row, (text, label) in enumerate(made_up_reviews()[::4])
    ]
    neutral = ["It is a film.", "unheard-of words alone"]
    found = report.measure(tiny_classifier, reviews, "test", neutral)
    flagged = [answer.uncertain for answer in tiny_classifier(neutral)]
    assert found["neutral"] == {"texts": 2, "flagged": sum(flagged) / 2}
    assert {kind: of["texts"] for kind, of in found["evidence"].items()} == {"imdb": 15, "fdu-mtl": 20}
    assert found["robustness"]["reviews"] == 15  # on the first data set alone
    assert list(found["figures"]["by_source"]) == ["imdb", "fdu-mtl", "fdu-mtl: books", "fdu-mtl: toys"]
