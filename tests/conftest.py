"""What several tests share: made-up reviews, and a tiny bundle that the real training command made of them."""

import csv
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from service.model import bundle
from service.model.bundle import Bundle
from service.model.classifier import Classifier

_SUBJECTS = ("The film", "This story", "Her performance", "The ending", "Every scene", "The music")
_WORDS = {
    "positive": ("wonderful", "a joy to watch", "brilliant and moving", "superb", "charming", "not bad at all"),
    "negative": ("dreadful", "a waste of time", "dull and clumsy", "awful", "boring", "not good at all"),
}


def made_up_reviews() -> list[tuple[str, str]]:
    """180 short (text, label) pairs, no two alike."""
    return [
        (f"{first} was {word}. {second}, I thought, was {words[index - 1]}!", label)
        for label, words in _WORDS.items()
        for first, second in itertools.combinations(_SUBJECTS, 2)
        for index, word in enumerate(words)
    ]


def write_csv(path: Path, rows: list[tuple[str, str]], header: tuple[str, str] = ("text", "label")) -> Path:
    """A table of reviews."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """What a command sets up for its process does not outlive the test that ran it in this one."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def reviews_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up reviews in a file."""
    return write_csv(tmp_path_factory.mktemp("data") / "reviews.csv", made_up_reviews())


def train(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs the training command to its end."""
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="session")
def tiny_bundle_path(reviews_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle made by the real command from the made-up reviews."""
    out = tmp_path_factory.mktemp("models") / "tiny"
    done = train("run", "--data", reviews_csv, "--out", out, "--epochs", "4", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def tiny_bundle(tiny_bundle_path: Path) -> Bundle:
    """The same, read."""
    return bundle.read(tiny_bundle_path)


@pytest.fixture(scope="session")
def tiny_classifier(tiny_bundle: Bundle) -> Classifier:
    """The same, ready to answer."""
    return Classifier(tiny_bundle, "cpu")
